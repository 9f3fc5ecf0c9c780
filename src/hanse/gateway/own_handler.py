"""Answers routes of one's own: reads what a function asks for from a request, calls it, and tells what it gave."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import cast
from urllib.parse import parse_qs

import msgspec

from hanse.contract.openapi_routes import NO_CONTENT
from hanse.gateway.asgi import Application, Request, Response
from hanse.gateway.body import ANYTHING, JSON_ONLY, read_body
from hanse.gateway.exchange import Exchange
from hanse.gateway.limits import Limits
from hanse.gateway.once import twice_in
from hanse.gateway.own_route import OwnRoute
from hanse.gateway.parameters import Needs, resource_of
from hanse.gateway.rpc import Items
from hanse.gateway.streams import Streams
from hanse.kernel.codec import SUMMARY_FLAWS, Codec, codec_for, encode_json
from hanse.kernel.context import ambient
from hanse.kernel.faults import DeadlineExceeded, Flaw, Forbidden, Invalid, Misconfigured, Unauthenticated
from hanse.kernel.finite import checked, checked_arguments, may_be_endless
from hanse.kernel.hints import bare
from hanse.kernel.message import Identity
from hanse.kernel.patience import OutOfTime, within
from hanse.kernel.validate import FLAWS_MAX
from hanse.node.node import Node
from hanse.service.threads import Threads

BYTES = "application/octet-stream"
_NOTHING = Response(NO_CONTENT, b"", (), "")
_EMPTY = inspect.Parameter.empty


class OwnHandler:
    """The handler of one route of one's own.

    Args of the constructor:
        route: What was declared.
        node: Where its clients and collections come from.
        streams: Where its streams are counted.
        threads: Where it runs if it blocks.
    """

    def __init__(self, route: OwnRoute, node: Node, streams: Streams, threads: Threads) -> None:
        self._route = route
        self._needs: Needs = route.needs
        self._call = _called(route, threads)
        self._streams = streams
        self._limits: Limits = streams.limits
        self._host = node.host
        self._timeout: float = route.timeout or node.settings.node.timeout
        self._status = route.about.status
        self._items = Items(streams)
        self._arguments: Codec[msgspec.Struct] = codec_for(route.needs.arguments)
        self._texts = frozenset(route.needs.arguments.__struct_fields__)
        self._asks = frozenset(route.needs.named("query"))
        self._open = bool(route.needs.named("request"))
        self._headers = tuple((name, header.encode()) for name, header in route.needs.headers.items())
        body = route.about.body
        self._body: Codec[object] | None = None if body in (None, bytes) else codec_for(cast("type[object]", body))
        self._endless = self._body is not None and may_be_endless(body)
        self._types: Iterable[str] = ANYTHING if body is bytes else JSON_ONLY
        self._given: dict[str, object] = _from_node(route, node)
        self._ambient = {"request": route.needs.named("request"), "context": route.needs.named("context")}

    async def __call__(self, request: Request) -> Response | None:
        """Answer a request."""
        context = ambient.get()
        self._check_guard(context.identity)
        if context.headers.idempotency_key:
            # It is this request's: handed on, it would make one call of all that the function calls.
            context.headers = msgspec.structs.replace(context.headers, idempotency_key="")
        values = await self._values(request)
        if self._needs.stream:
            await self._items.send(request, cast("AsyncIterator[object]", self._call(**values)))
            return None
        return await self._answer(request, await self._in_time(cast("Awaitable[object]", self._call(**values))))

    def _check_guard(self, identity: Identity) -> None:
        allow = self._route.allow
        if allow is None or allow.allows(identity):
            return
        if identity.anonymous:
            raise Unauthenticated
        raise Forbidden(f"{self._route.about.method} {self._route.about.path} needs {allow.wants}")

    async def _in_time(self, work: Awaitable[object]) -> object:
        context = ambient.get()
        context.deadline = min(context.deadline, self._host.monotonic() + self._timeout)
        try:
            return await within(self._timeout, work)
        except OutOfTime:
            raise DeadlineExceeded(f"{self._route.about.method} {self._route.about.path}") from None

    async def _values(self, request: Request) -> dict[str, object]:
        flaws: list[Flaw] = []
        values = dict(self._given)
        body = await self._read(request)
        values.update(self._from_text(request, flaws))
        if self._needs.body:
            try:
                values[self._needs.body] = self._decoded(body)
            except Invalid as fault:
                flaws += fault.errors
        if flaws:
            raise Invalid(_summary(flaws), flaws)
        for name in self._ambient["request"]:
            values[name] = request
        for name in self._ambient["context"]:
            values[name] = ambient.get()
        return values

    async def _read(self, request: Request) -> bytes:
        return await read_body(request, self._limits, self._types) if self._needs.body else b""

    def _decoded(self, body: bytes) -> object:
        if not body and self._needs.body_default is not _EMPTY:
            return self._needs.body_default
        if self._body is None:
            return body
        value = self._body.decode_json(body)
        return checked(value) if self._endless else value

    def _from_text(self, request: Request, flaws: list[Flaw]) -> dict[str, object]:
        if not self._texts and not request.query:
            return {}
        given: dict[str, object] = dict(request.parameters)
        if request.query:
            given.update(self._from_query(request.query, flaws))
        for name, header in self._headers:
            if value := request.header(header):
                given[name] = value
        try:
            return msgspec.structs.asdict(checked_arguments(self._arguments.convert(given, strict=False)))
        except Invalid as fault:
            flaws += fault.errors
            return {}

    def _from_query(self, query: str, flaws: list[Flaw]) -> dict[str, object]:
        pairs = parse_qs(query, keep_blank_values=True)
        unknown = pairs.keys() - self._asks
        if unknown and not self._open:
            known = ", ".join(sorted(self._asks)) or "none"
            flaws += [
                Flaw(f"/{name[:100]}", "unknown_field", f"expected one of {known}")
                for name in sorted(unknown)[:FLAWS_MAX]
            ]
        lists = self._needs.lists
        flaws += twice_in({name: texts for name, texts in pairs.items() if name in self._asks}, lists.__contains__)
        return {name: texts if name in lists else texts[-1] for name, texts in pairs.items() if name in self._asks}

    async def _answer(self, request: Request, result: object) -> Response | None:
        if isinstance(result, Response):
            return result
        if self._status == NO_CONTENT:
            return _NOTHING
        if callable(result):
            await Exchange(request, self._streams).run(cast("Application", result), request.scope)
            return None
        if isinstance(result, bytes):
            return Response(self._status, result, (), BYTES)
        return Response(self._status, encode_json(result))


def _summary(flaws: Sequence[Flaw]) -> str:
    told = [f"{flaw.pointer}: {flaw.detail}" if flaw.pointer else flaw.detail for flaw in flaws[:SUMMARY_FLAWS]]
    shown = "; ".join(told)
    more = len(flaws) - SUMMARY_FLAWS
    return f"{shown}; and {more} more" if more > 0 else shown


def _called(route: OwnRoute, threads: Threads) -> Callable[..., object]:
    if not route.needs.blocks:
        return route.function

    def in_thread(**values: object) -> Awaitable[object]:
        return threads.run(partial(route.function, **values))

    return in_thread


def _from_node(route: OwnRoute, node: Node) -> dict[str, object]:
    """Clients and collections, by parameter.

    Raises:
        Misconfigured: The app has nobody who provides one.
    """
    given: dict[str, object] = {}
    for name in route.needs.named("client"):
        given[name] = node.client(cast("type[object]", bare(route.needs.hints[name])))
    for name in route.needs.named("collection"):
        kind = resource_of(route.needs.hints[name])
        if kind not in node.app.owners:
            raise Misconfigured(
                f"{route.about.method} {route.about.path} takes Collection[{kind.__name__}], which no service of the "
                f"app {node.app.name!r} owns; add a service with a field `Collection[{kind.__name__}]`"
            )
        given[name] = node.collection(kind)
    return given
