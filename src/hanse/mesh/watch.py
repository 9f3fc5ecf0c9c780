"""Spans and figures around calls and events, where somebody records; a node that nobody watches has none of this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from hanse.kernel import telemetry
from hanse.kernel.closing import closing
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.kernel.telemetry import Meter, Side, Span, Tracer, call_attributes, event_attributes
from hanse.mesh.fault import fault_in
from hanse.transport.base import service_of

Handler = Callable[[Message], Awaitable[Message]]
Streaming = Callable[[Message], AsyncIterator[Message]]


class Watch:
    """Watches the calls of one node: those that it makes, and those that it serves."""

    def __init__(self, host: Host, *, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
        """Watch with what the process has set up, or with what is given.

        Args:
            host: Its clock.
            tracer: Opens the spans.
            meter: Keeps the figures.
        """
        self._host = host
        self._tracer = tracer or Tracer()
        self._meter = meter or Meter()

    async def call(self, side: Side, handler: Handler, message: Message) -> Message:
        """Have a message handled within a span, and count how it ended."""
        side, name, attributes = _named(side, message)
        begun = self._host.monotonic()
        with self._tracer.span(name, side, message.headers, attributes) as span:
            reply = await handler(message.with_headers(span.headers))
            failed = reply.kind is Kind.FAULT
            if failed:
                span.fail(fault_in(reply))
        code = reply.headers.type if failed else ""
        self._meter.record(side, message.address, self._host.monotonic() - begun, code=code)
        return reply

    def step(self, name: str, headers: Headers, attributes: Mapping[str, str | int]) -> Span:
        """A part of a story that is no call and no event, such as a step of a saga; enter it with `with`.

        Args:
            name: Of low cardinality.
            headers: Of the story; what is sent in the step carries those of the span.
            attributes: What else is known of it.
        """
        return self._tracer.span(name, Side.INTERNAL, headers, attributes)

    async def stream(self, side: Side, handler: Streaming, message: Message) -> AsyncIterator[Message]:
        """Have a stream made within a span, and count how it ended and how long it lasted.

        The span is around the making of each item, and not around what its reader does in between.
        """
        side, name, attributes = _named(side, message)
        begun, code = self._host.monotonic(), ""
        span = self._tracer.span(name, side, message.headers, attributes)
        try:
            async with closing(handler(message.with_headers(span.headers))) as replies:
                while True:
                    with span.inside():
                        reply = await anext(replies, None)
                    if reply is None:
                        return
                    if reply.kind is Kind.FAULT:
                        code = reply.headers.type
                        span.fail(fault_in(reply))
                    yield reply
        except GeneratorExit:
            raise
        except BaseException as error:
            code = error.code if isinstance(error, Fault) else type(error).__qualname__
            span.fail(error)
            raise
        finally:
            span.end()
            self._meter.record(side, message.address, self._host.monotonic() - begun, code=code)


def watch_of(host: Host) -> Watch | None:
    """What a node watches its calls with; None where nobody records."""
    return Watch(host) if telemetry.active() or telemetry.measuring() else None


def _named(side: Side, message: Message) -> tuple[Side, str, dict[str, str | int]]:
    if message.kind is not Kind.EVENT:
        return side, message.address, call_attributes(message.address)
    topic, group = message.headers.type, service_of(message.address).removeprefix("on/")
    return Side.CONSUMER, f"process {topic}", event_attributes(topic, message.id, Side.CONSUMER, group=group)
