"""What a shell knows by name of a running system: the same words as beside an app, over HTTP, with plain data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote, urlencode

import msgspec

from hanse.cli.call import JSON_LINES, stream_problem, suggestion
from hanse.cli.emit import emit_into
from hanse.cli.problem import Problem, problem_in
from hanse.cli.remote import Remote
from hanse.cli.running import Document, Fed, with_operations
from hanse.cli.shell_names import Rows, identifier
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import RemoteFault, UnknownOperation

Json = dict[str, object]

MERGE_PATCH = "application/merge-patch+json"


class Signature(msgspec.Struct, frozen=True):
    """How an operation is called: its address, its arguments in order, and whether it streams."""

    service: str
    name: str
    arguments: tuple[str, ...] = ()
    stream: bool = False
    doc: str = ""

    @property
    def address(self) -> str:
        """What is called."""
        return f"{self.service}.{self.name}"


def names_at(remote: Remote, document: Document) -> dict[str, object]:
    """What code in the shell of a running system may use."""
    signatures = signatures_of(document)
    caller = RemoteCaller(remote, signatures)
    found: dict[str, object] = {
        identifier(service.name): RemoteClient(service.name, signatures, caller) for service in document.services
    }
    rows = Rows(**{identifier(name): RemoteRows(name, fed, remote) for name, fed in document.collections.items()})

    async def emit(topic: str, /, *, id: str = "", **fields: object) -> object:
        """What comes of telling of an event, by its topic and fields; under an `id` it is told once."""
        return await asyncio.to_thread(emit_into, remote, document.topics, topic, fields, id)

    return {**found, "rows": rows, "call": caller.call, "emit": emit}


def signatures_of(document: Document) -> dict[str, Signature]:
    """The operations that a document tells of, by address."""
    served = with_operations(document.services, document.paths)
    return {f"{one.name}.{name}": _signature(one.name, name, document) for one in served for name in one.operations}


def _signature(service: str, name: str, document: Document) -> Signature:
    path = next(path for path in document.paths if path.endswith(f"/rpc/{service}/{name}"))
    entry = _inside(document.paths, path, "post")
    body = _inside(entry, "requestBody", "content", "application/json", "schema")
    reference = str(body.get("$ref", "")).rpartition("/")[2]
    schema = _inside(document.components, "schemas", reference) if reference else body
    answer = _inside(entry, "responses", "200", "content")
    arguments = tuple(cast("Json", schema.get("properties", {})))
    return Signature(service, name, arguments, JSON_LINES in answer, str(entry.get("summary", "")))


def _inside(value: object, *names: str) -> Json:
    """The table at the end of a path through tables; an empty one where there is none."""
    found = cast("Json", value) if isinstance(value, dict) else {}
    return _inside(found.get(names[0]), *names[1:]) if names else found


class RemoteCaller:
    """Calls operations over HTTP."""

    def __init__(self, remote: Remote, signatures: Mapping[str, Signature]) -> None:
        self._remote = remote
        self._signatures = signatures

    async def call(self, address: str, /, **arguments: object) -> object:
        """Answer of the operation at an address; the items of a stream as a list.

        Such as `await call("orders.place", sku="tea")`.

        Raises:
            UnknownOperation: There is none.
            RemoteFault: It failed.
        """
        signature = self._signatures.get(address)
        if signature is None:
            hint = suggestion(address, list(self._signatures))
            raise UnknownOperation(f"expected an operation that {self._remote.base} has, got {address!r}{hint}")
        if signature.stream:
            return [item async for item in self.stream(signature, arguments)]
        return await self.ask(signature, arguments)

    async def ask(self, signature: Signature, arguments: Json) -> object:
        """The answer of an operation."""
        return await asked(self._remote, f"/rpc/{signature.service}/{signature.name}", arguments)

    async def stream(self, signature: Signature, arguments: Json) -> AsyncIterator[object]:
        """The items of an operation, one after the other."""
        headers = {"Accept": JSON_LINES}
        path = f"/rpc/{signature.service}/{signature.name}"
        answer = await asyncio.to_thread(self._remote.ask, path, body=encode_json(arguments), headers=headers)
        with answer:
            if (problem := problem_in(answer)) is not None:
                raise fault_of(problem)
            lines = answer.lines()
            while (line := await asyncio.to_thread(next, lines, None)) is not None:
                if (problem := stream_problem(line)) is not None:
                    raise fault_of(problem)
                yield msgspec.json.decode(line)


class RemoteClient:
    """The operations of one contract as methods."""

    def __init__(self, name: str, signatures: Mapping[str, Signature], caller: RemoteCaller) -> None:
        self._name = name
        for one in signatures.values():
            if one.service == name:
                setattr(self, one.name, _method(one, caller))

    def __repr__(self) -> str:
        return f"<client of {self._name}>"


def _method(signature: Signature, caller: RemoteCaller) -> Callable[..., object]:
    def bound(args: Sequence[object], kwargs: Json) -> Json:
        if len(args) > len(signature.arguments):
            known = ", ".join(signature.arguments) or "none"
            raise TypeError(f"{signature.address} takes {known}, got {len(args)} arguments")
        given = dict(zip(signature.arguments, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"{signature.address} got {min(twice)} twice")
        return {**given, **kwargs}

    def method(*args: object, **kwargs: object) -> Awaitable[object] | AsyncIterator[object]:
        arguments = bound(args, kwargs)
        return caller.stream(signature, arguments) if signature.stream else caller.ask(signature, arguments)

    method.__name__, method.__doc__ = signature.name, signature.doc
    return method


class RemoteRows:
    """A collection over REST. Rows are attributes: `(await rows.orders.get("42")).sku`."""

    def __init__(self, name: str, fed: Fed, remote: Remote) -> None:
        self._name = name
        self._path = fed.path
        self._remote = remote

    def __repr__(self) -> str:
        return f"<collection {self._name}>"

    async def get(self, id: str, /) -> object:
        """One row."""
        return await self._ask("GET", self._at(id))

    async def find(self, *, sort: str = "", limit: int = 50, cursor: str = "", **where: object) -> object:
        """A page of rows whose fields have these values: `await rows.orders.find(status="paid")`."""
        page = {"sort": sort, "limit": str(limit), "cursor": cursor}
        query = urlencode([*_texts(where), *((name, text) for name, text in page.items() if text)])
        return await self._ask("GET", f"{self._path}?{query}")

    async def count(self, **where: object) -> int:
        """How many rows have these values."""
        page = await self._ask("GET", f"{self._path}?{urlencode([*_texts(where), ('limit', '1'), ('total', 'true')])}")
        return int(getattr(page, "total", 0))

    async def create(self, **fields: object) -> object:
        """A new row."""
        return await self._ask("POST", self._path, fields)

    async def patch(self, id: str, /, **changes: object) -> object:
        """Some fields of a row."""
        return await self._ask("PATCH", self._at(id), changes, type=MERGE_PATCH)

    async def delete(self, id: str, /) -> None:
        """No row any more."""
        _ = await self._ask("DELETE", self._at(id))

    def _at(self, id: str) -> str:
        return f"{self._path}/{quote(id, safe='')}"

    async def _ask(self, method: str, path: str, body: object = None, type: str = "") -> object:  # noqa: A002
        return attributes(await asked(self._remote, path, body, method=method, type=type))


def _texts(where: Json) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else encode_json(value).decode()) for name, value in where.items()]


async def asked(remote: Remote, path: str, body: object = None, *, method: str = "", type: str = "") -> object:  # noqa: A002
    """The answer of a running system as plain data, without holding up the loop.

    Raises:
        RemoteFault: It was a problem.
    """

    def work() -> object:
        sent = None if body is None else encode_json(body)
        with remote.ask(path, body=sent, method=method, headers={"Content-Type": type} if type else None) as answer:
            if (problem := problem_in(answer)) is not None:
                raise fault_of(problem)
            return answer.json() if answer.type else None

    return await asyncio.to_thread(work)


def fault_of(problem: Problem) -> RemoteFault:
    """A problem as the fault that it tells of."""
    said = "; ".join([f"{flaw.get('pointer', '')}: {flaw.get('detail', '')}" for flaw in problem.errors])
    return RemoteFault(problem.code, said or problem.detail or problem.title, {"status": problem.status})


def attributes(value: object) -> object:
    """JSON data whose objects have attributes.

    Example:
        >>> attributes({"items": [{"sku": "tea"}]}).items[0].sku
        'tea'
    """
    if isinstance(value, dict):
        table = cast("Json", value)
        return SimpleNamespace(**{name: attributes(inner) for name, inner in table.items()})
    return [attributes(inner) for inner in cast("list[object]", value)] if isinstance(value, list) else value
