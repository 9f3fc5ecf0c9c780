"""Operations over HTTP: `POST /rpc/{service}/{operation}`, and routes of their own."""

from __future__ import annotations

import typing
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import cast
from urllib.parse import parse_qs

import msgspec

from hanse.contract.derive import Operation
from hanse.gateway.arguments import arguments_codec
from hanse.gateway.asgi import EVENT_STREAM, Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.context import READING
from hanse.gateway.fields import plain
from hanse.gateway.jobs import JobRoutes
from hanse.gateway.limits import Limits
from hanse.gateway.lines import LINES, STOPPING
from hanse.gateway.once import twice_in
from hanse.gateway.prefer import preferences_in
from hanse.gateway.sse import sse_form
from hanse.gateway.streams import HttpStream, Streams
from hanse.kernel.closing import closing
from hanse.kernel.codec import Codec, codec_for, encode_json, to_builtin
from hanse.kernel.faults import Flaw, Invalid
from hanse.kernel.finite import checked_arguments
from hanse.kernel.validate import FLAWS_MAX
from hanse.node.node import Node

_LISTS = (list, tuple, set, frozenset)
_object = codec_for(dict[str, object])


class Items:
    """Answers with items until an end: as events where the client asks for them, else as JSON Lines.

    Args of the constructor:
        streams: Where streams are counted.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        events = sse_form(streams.limits.retry_seconds, end=b"event: end\ndata: {}\n\n")
        # A call cannot be resumed: who reads its items has to know that they are not all.
        self._events = msgspec.structs.replace(events, farewell=events.fault(STOPPING))

    async def send(self, request: Request, items: AsyncIterator[object]) -> None:
        """Send all items; none for HEAD.

        Raises:
            Fault: They failed before the first.
        """
        sse = request.accepts(EVENT_STREAM)
        form = self._events if sse else LINES
        if request.method == "HEAD":
            await _begin_only(request, form.type, items)
            return
        pieces = _encoded(items, b"data: %b\n\n" if sse else b"%b\n")
        await HttpStream(request, self._streams, form, ((b"vary", b"accept"),)).run(pieces)


class OperationRoute:
    """The handler of one operation.

    Args of the constructor:
        operation: What is called.
        node: Reaches whoever serves it.
        streams: Where its streams are counted.
        jobs: Where calls go that are answered later.
    """

    def __init__(self, operation: Operation, node: Node, streams: Streams, jobs: JobRoutes) -> None:
        self._operation = operation
        self._jobs = jobs
        self._node = node
        self._limits: Limits = streams.limits
        self._items = Items(streams)
        self._texts: Mapping[str, object] = {
            field.encode_name: field.type for field in msgspec.structs.fields(operation.arguments)
        }

    async def post(self, request: Request) -> Response | None:
        """Call it with the JSON object in the body as arguments.

        Raises:
            Invalid: They are not its own; one that it does not have is passed over with `Prefer: handling=lenient`.
        """
        body = await read_body(request, self._limits)
        return await self.answer(request, self._codec(request).decode_json(body or b"{}"))

    async def routed(self, request: Request) -> Response | None:
        """Call it with arguments from the path, the query and the body."""
        body = b"" if request.method in {"GET", "HEAD", "DELETE"} else await read_body(request, self._limits)
        given = _object.decode_json(body) if body else {}
        path = {name: self._typed(name, [text]) for name, text in request.parameters.items()}
        values = {**given, **self._from_query(request.query), **path}
        return await self.answer(request, self._codec(request).convert(values))

    async def answer(self, request: Request, arguments: msgspec.Struct) -> Response | None:
        """Call it, and answer with its result or its stream."""
        arguments = checked_arguments(arguments)
        if not self._operation.stream:
            if not request.plain and request.method not in READING:
                preferences = preferences_in(request.header(b"prefer"))
                if self._jobs.takes(self._operation, preferences):
                    return await self._jobs.start(request, preferences, self._operation, arguments)
            return Response(200, encode_json(await self._node.invoke(self._operation, arguments)))
        await self._items.send(request, self._node.stream(self._operation, arguments))
        return None

    def _codec(self, request: Request) -> Codec[msgspec.Struct]:
        strict = None if request.plain else preferences_in(request.header(b"prefer")).strict
        return arguments_codec(self._operation.arguments, strict=strict)

    def _from_query(self, query: str) -> dict[str, object]:
        pairs = parse_qs(query, keep_blank_values=True) if query else {}
        if unknown := sorted(pairs.keys() - self._texts.keys()):
            known = ", ".join(self._texts) or "none"
            flaws = [
                Flaw(f"/{name[:100]}", "unknown_field", f"expected one of {known}") for name in unknown[:FLAWS_MAX]
            ]
            raise Invalid(f"unknown parameter {unknown[0][:100]!r}; expected one of {known}", flaws)
        if flaws := twice_in(pairs, lambda name: _is_list(self._texts[name])):
            raise Invalid(flaws[0].detail, flaws)
        return {name: self._typed(name, values) for name, values in pairs.items()}

    def _typed(self, name: str, texts: list[str]) -> object:
        """What text stands for, as plain data; left as it is where it cannot, so that validation names its pointer."""
        hint = self._texts[name]
        many = _is_list(hint)
        try:
            value = msgspec.convert(texts if many else texts[-1], cast("type[object]", hint), strict=False)
        except msgspec.ValidationError:
            return texts if many else texts[-1]
        return msgspec.to_builtins(value, enc_hook=to_builtin)


def _is_list(hint: object) -> bool:
    return typing.get_origin(plain(hint)) in _LISTS


async def _encoded(items: AsyncIterator[object], template: bytes) -> AsyncGenerator[bytes, None]:
    async with closing(items) as opened:
        async for item in opened:
            yield template % encode_json(item)


async def _begin_only(request: Request, media_type: str, items: AsyncIterator[object]) -> None:
    async with closing(items):
        headers = [(b"content-type", media_type.encode()), (b"vary", b"accept")]
        request.begun = 200
        await request.send({"type": "http.response.start", "status": 200, "headers": headers})
        await request.send({"type": "http.response.body", "body": b""})
