"""What a WebSocket may ask for: everything that is exposed over HTTP, by collection and by operation.

What is done is `ExposedRows`, as for HTTP; what a message says is taken apart here, and answers are put together. What
is wrong with a message is told with pointers into it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import assert_never

import msgspec

from hanse.contract.derive import Operation
from hanse.contract.model import collection_of, topic_of
from hanse.contract.openapi import OperationPath
from hanse.contract.openapi_topics import TopicPath
from hanse.gateway.arguments import arguments_codec
from hanse.gateway.context import checked_key
from hanse.gateway.exposed import WHOLE, ExposedRows
from hanse.gateway.feeds import Source
from hanse.gateway.filters import asked_in, where_in
from hanse.gateway.problem import LISTING, moved
from hanse.gateway.socket_protocol import (
    Ask,
    Call,
    Create,
    Delete,
    Get,
    List,
    Listen,
    Patch,
    Put,
    Subscribe,
    Writing,
)
from hanse.gateway.sse import checked_cursor
from hanse.kernel.closing import closing
from hanse.kernel.codec import encode_json
from hanse.kernel.context import current
from hanse.kernel.faults import (
    Fault,
    Flaw,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    UnknownOperation,
)
from hanse.kernel.finite import checked_arguments
from hanse.node.node import Node
from hanse.service.rows import Written

_METHODS: Mapping[type, str] = {Call: "POST", Create: "POST", Put: "PUT", Patch: "PATCH", Delete: "DELETE"}


class Live:
    """Does what sockets ask for.

    Attributes:
        streaming: Addresses of the operations that answer with a stream.
        faults: Those that an operation lists: what they carry is public.
    """

    def __init__(
        self,
        resources: Iterable[ExposedRows],
        operations: Iterable[OperationPath],
        node: Node,
        topics: Iterable[TopicPath] = (),
    ) -> None:
        """See what a gateway exposes.

        Args:
            resources: The rows.
            operations: What may be called.
            node: Reaches whoever serves it.
            topics: The events; those that may be followed are.
        """
        self._node = node
        self._collections = {collection_of(one.kind): one for one in resources}
        self._operations: dict[str, Operation] = {}
        self._paths: dict[str, str] = {name: one.resource.path for name, one in self._collections.items()}
        for one in operations:
            address = one.operation.address
            self._operations[address] = one.operation
            if not one.own:
                self._paths[address] = one.path
        self._topics = {topic_of(one.kind): one.kind for one in topics if one.live}
        self.faults: frozenset[type[Fault]] = frozenset(
            fault for one in self._operations.values() for fault in one.options.faults
        )
        self.streaming: frozenset[str] = frozenset(name for name, one in self._operations.items() if one.stream)

    def place(self, ask: Ask | Subscribe | Listen) -> tuple[str, str]:
        """The method and path by which HTTP would ask for the same, as rates know it."""
        name = ask.address if isinstance(ask, Call) else "" if isinstance(ask, Listen) else ask.collection
        path = self._paths.get(name, "/live")
        if isinstance(ask, (Get, Put, Patch)) or (isinstance(ask, Delete) and ask.key is not msgspec.UNSET):
            path = f"{path}/{ask.key}"
        return _METHODS.get(type(ask), "GET"), path

    @contextmanager
    def keyed(self, ask: Ask) -> Generator[None]:
        """What is done within is done once under the idempotency key of the message, if it has one.

        Raises:
            Malformed: It is none that can be kept.
        """
        if not isinstance(ask, (Call, Writing)) or not ask.idempotency_key:
            yield
            return
        key = checked_key(ask.idempotency_key)
        with self._node.context(msgspec.structs.replace(current().headers, idempotency_key=key)):
            yield

    def source(self, ask: Subscribe | Listen) -> Source:
        """What is subscribed to, or listened to.

        Raises:
            NotFound: The collection or the topic is not exposed.
            Forbidden: The changes of the collection are not.
            Invalid, Malformed: The filter, the fields or the cursor cannot be.
        """
        _ = checked_cursor(ask.after)
        if isinstance(ask, Listen):
            kind = self._topics.get(ask.topic)
            if kind is None:
                raise NotFound("topic", ask.topic[:200])
            return Source(kind, where_in(kind, ask.where))
        exposed = self._exposed(ask.collection)
        if not exposed.resource.live:
            raise Forbidden(f"the changes of {ask.collection} are not exposed; list it instead")
        asked = asked_in(exposed.kind, {"where": ask.where, "fields": ask.fields})
        return Source(exposed.kind, asked.query.where, asked.project)

    async def items(self, ask: Call | List) -> AsyncGenerator[bytes, None]:
        """What is told item by item, as JSON: by an operation that streams, or all rows of a list."""
        if isinstance(ask, Call):
            async with closing(self._node.stream(*self._called(ask))) as items:
                async for item in items:
                    yield encode_json(item)
            return
        exposed = self._exposed(ask.collection)
        async with closing(exposed.lines(asked_in(exposed.kind, _document(ask)))) as pieces:
            async for piece in pieces:
                for row in piece.splitlines():
                    yield row

    async def answer(self, ask: Ask) -> bytes:
        """The answer as JSON."""
        if isinstance(ask, Call):
            return encode_json(await self._node.invoke(*self._called(ask)))
        rows = self._exposed(ask.collection)
        if isinstance(ask, Get):
            return await _get(rows, ask)
        if isinstance(ask, List):
            return (await rows.page(asked_in(rows.kind, _document(ask))))[0]
        return await _write(rows, ask)

    def _called(self, ask: Call) -> tuple[Operation, msgspec.Struct]:
        operation = self._operations.get(ask.address)
        if operation is None:
            raise UnknownOperation(f"there is no operation {ask.address[:200]}; openapi.json lists those that are")
        arguments = b"{}" if ask.arguments is msgspec.UNSET else bytes(ask.arguments)
        with _pointing("/arguments"):
            codec = arguments_codec(operation.arguments, strict=ask.strict)
            return operation, checked_arguments(codec.decode_json(arguments))

    def _exposed(self, collection: str) -> ExposedRows:
        exposed = self._collections.get(collection)
        if exposed is None:
            raise NotFound("collection", collection[:200])
        return exposed


def _document(ask: List) -> dict[str, object]:
    """What a message asks of a list, as the document of a QUERY does."""
    members: dict[str, object] = {
        "where": ask.where,
        "sort": ask.sort,
        "cursor": ask.cursor,
        "fields": ask.fields,
        "expand": ask.expand,
        "total": ask.total,
    }
    return members if ask.limit is None else members | {"limit": ask.limit}


async def _get(rows: ExposedRows, ask: Get) -> bytes:
    shown = WHOLE
    if ask.fields or ask.expand:
        asked = asked_in(rows.kind, {"fields": ask.fields, "expand": ask.expand})
        shown = rows.shown(asked.project, asked.expand)
    row = await rows.get(ask.key, shown)
    if ask.rev is not None and ask.rev != row.rev:
        raise PreconditionFailed(topic_of(rows.kind), ask.key, str(ask.rev), str(row.rev))
    return _row(row.id, row.rev, row.value)


async def _write(rows: ExposedRows, ask: Create | Put | Patch | Delete) -> bytes:
    match ask:
        case Create():
            return await _create(rows, ask)
        case Delete():
            await _delete(rows, ask)
            return b"null"
        case Put():
            with _pointing("/value"):
                written = await _put(rows, ask)
        case Patch():
            with _pointing("/value"):
                written = await rows.patch(ask.key, bytes(ask.value), ask.rev, form=ask.form, strict=ask.strict)
        case _:
            assert_never(ask)
    return _written(written, minimal=ask.minimal)


async def _put(rows: ExposedRows, ask: Put) -> Written:
    if ask.rev == "*":
        return await rows.replace(ask.key, bytes(ask.value), strict=ask.strict)
    return await rows.put(ask.key, bytes(ask.value), ask.rev, strict=ask.strict)


async def _create(rows: ExposedRows, ask: Create) -> bytes:
    if ask.values is msgspec.UNSET:
        if ask.value is msgspec.UNSET:
            raise _wrong("/value", "missing", "expected a row as value, or several as values")
        with _pointing("/value"):
            written = await rows.create(bytes(ask.value), id=ask.key, strict=ask.strict)
        return _written(written, minimal=ask.minimal)
    if ask.value is not msgspec.UNSET:
        raise _wrong("/values", "choice", "expected a row as value, or several as values, got both")
    if ask.key:
        raise _wrong("/key", "choice", "several rows have no key in common; give each its id in its value")
    with _pointing("/values"):
        several = await rows.create_many(b"[%b]" % b",".join(map(bytes, ask.values)), strict=ask.strict)
    return b'{"items":[%b]}' % b",".join(_written(one, minimal=ask.minimal) for one in several)


async def _delete(rows: ExposedRows, ask: Delete) -> None:
    if ask.keys is msgspec.UNSET:
        if ask.key is msgspec.UNSET:
            raise _wrong("/key", "missing", "expected the key of a row, or several as keys")
        await rows.delete(ask.key, ask.rev)
        return
    if ask.key is not msgspec.UNSET:
        raise _wrong("/keys", "choice", "expected the key of a row, or several as keys, got both")
    if ask.rev is not None:
        raise _wrong("/rev", "choice", "several rows have no revision in common; delete each by its key")
    with _pointing("/keys"):
        await rows.delete_many(ask.keys, at="")


@contextmanager
def _pointing(at: str) -> Generator[None]:
    """What is wrong with a part of the message is told with pointers into the message."""
    try:
        yield
    except LISTING as fault:
        raise moved(fault, at) from None


def _wrong(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(detail, [Flaw(pointer, code, detail)])


def _written(written: Written, *, minimal: bool) -> bytes:
    if minimal:
        return b'{"key":%b,"rev":%d}' % (encode_json(written.id), written.rev)
    return _row(written.id, written.rev, written.value)


def _row(id: str, rev: int, value: bytes) -> bytes:
    return b'{"key":%b,"rev":%d,"value":%b}' % (encode_json(id), rev, value)
