"""Spans and figures of calls, through OpenTelemetry where somebody records them, and for nothing where nobody does.

OpenTelemetry is imported only where its SDK has been, or where `start` finds that OTEL_* asks for it. Without it a span
costs a look-up, and `traceparent` is carried on untouched, so that a story keeps its trace across nodes that do not
record. Only dispatchers open spans (client, server, consumer, gateway, journals of sagas); names follow the semantic
conventions.
"""

from __future__ import annotations

import enum
import sys
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from hanse.kernel.faults import Fault, Misconfigured
from hanse.kernel.message import Headers
from hanse.kernel.traceparent import Trace, parse_traceparent

if TYPE_CHECKING:  # the import costs more than a small service's start
    from opentelemetry import context, metrics, trace

OPERATIONS_MAX = 10_000
"""Operations that figures are kept of; what comes after is counted under `OTHER`."""
OTHER = "other"

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of the histogram of durations, in seconds, as the semantic conventions advise."""

_SDK = "opentelemetry.sdk"
_SERVER_ERROR = 500
Attributes = Mapping[str, str | int]


class Side(enum.Enum):
    """Which end of an exchange a span or a figure is about."""

    CLIENT = "client"
    SERVER = "server"
    PRODUCER = "producer"
    CONSUMER = "consumer"
    INTERNAL = "internal"
    """No end of any: a part of a story that stays within its process."""


_OUTGOING = frozenset({Side.CLIENT, Side.PRODUCER})


def call_attributes(address: str) -> dict[str, str | int]:
    """The attributes of a call's span, for `service.operation`."""
    return {"rpc.system.name": "hanse", "rpc.method": address}


def event_attributes(topic: str, message_id: str, side: Side, *, group: str = "") -> dict[str, str | int]:
    """The attributes of the span of an event that is sent or processed (by a group of subscribers)."""
    step = "process" if side is Side.CONSUMER else "send"
    return {
        "messaging.system": "hanse",
        "messaging.destination.name": topic,
        "messaging.operation.name": step,
        "messaging.operation.type": step,
        "messaging.message.id": message_id,
        **({"messaging.consumer.group.name": group} if group else {}),
    }


class Span:
    """A step of a story, recorded or not; use it as a context manager around the step.

    Attributes:
        headers: What the messages sent in this step carry: theirs is this step's `traceparent`.
    """

    __slots__ = ("_side", "_span", "_token", "headers")

    def __init__(self, headers: Headers, side: Side, span: trace.Span | None = None) -> None:
        self.headers: Headers = headers
        self._side = side
        self._span = span
        self._token: object = None

    def fail(self, error: BaseException) -> None:
        """Record what went wrong, where it is known from a reply rather than raised."""
        if self._span is not None:
            _record(self._span, error, self._side)

    @contextmanager
    def inside(self) -> Generator[None]:
        """A part of a step that is done in parts, such as one item of a stream; `end` ends the step."""
        if self._span is None:
            yield
            return
        from opentelemetry import context, trace

        token = context.attach(trace.set_span_in_context(self._span))
        try:
            yield
        finally:
            context.detach(token)

    def end(self) -> None:
        """The step that was done in parts is over."""
        if self._span is not None:
            self._span.end()

    def __enter__(self) -> Self:
        if self._span is not None:
            from opentelemetry import context, trace

            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        from opentelemetry import context

        if error is not None and not isinstance(error, GeneratorExit):
            self.fail(error)
        context.detach(self._token)  # type: ignore[arg-type]  # what attach() gave
        self._span.end()


class Tracer:
    """Opens spans: with the provider that it is given, else with the one that the process has set up, if any.

    Example:
        >>> with Tracer().span("orders.place", Side.CLIENT, Headers(traceparent="kept")) as span:
        ...     span.headers.traceparent
        'kept'
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._given = provider
        self._made: tuple[object, trace.Tracer] | None = None

    def active(self) -> bool:
        """Whether somebody records; ask before you compute attributes."""
        return self._provider() is not None

    def span(self, name: str, side: Side, headers: Headers, attributes: Attributes | None = None) -> Span:
        """A step to enter with `with`; the messages sent in it carry its `headers`.

        Args:
            name: Of low cardinality: `service.operation`, `process order_placed`, `GET /orders/{id}`.
            side: On the receiving sides its parent is the sender's step, whatever this task did before.
            headers: What came, or what would be sent on; its business tags become attributes.
            attributes: More of them; see `call_attributes` and `event_attributes`.
        """
        provider = self._provider()
        if provider is None:
            return Span(headers, side)
        from opentelemetry import trace

        before = _parent(headers, side)
        remote = trace.get_current_span(before).get_span_context()
        span = self._tracer(provider).start_span(
            name,
            context=before,
            kind=trace.SpanKind[side.name],
            attributes={**headers.tags, **(attributes or {})},
            links=[trace.Link(remote)] if side is Side.CONSUMER and remote.is_valid else None,
        )
        return Span(_onward(headers, span.get_span_context()), side, span)

    def _provider(self) -> trace.TracerProvider | None:
        return self._given if self._given is not None else _configured_tracers()

    def _tracer(self, provider: trace.TracerProvider) -> trace.Tracer:
        if self._made is None or self._made[0] is not provider:
            self._made = (provider, provider.get_tracer("hanse"))
        return self._made[1]


def active() -> bool:
    """Whether this process has set up something that records spans."""
    return _configured_tracers() is not None


def measuring() -> bool:
    """Whether this process has set up something that records metrics."""
    return _configured_meters() is not None


class Figures:
    """How often one operation was called, how it ended, and how long it took.

    Attributes:
        count: Calls that have ended.
        faults: Of these, how many with which fault's code.
        seconds: Duration of all together.
        buckets: Calls of at most `BUCKETS[i]` seconds and more than the one before; the last holds the longer ones.
    """

    __slots__ = ("buckets", "count", "faults", "seconds")

    def __init__(self) -> None:
        self.count: int = 0
        self.faults: dict[str, int] = {}
        self.seconds: float = 0.0
        self.buckets: list[int] = [0] * (len(BUCKETS) + 1)

    def add(self, seconds: float, code: str) -> None:
        """Count one call; `code` is that of its fault, empty where it went well."""
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        if code:
            self.faults[code] = self.faults.get(code, 0) + 1


class Meter:
    """Keeps the figures of all calls of a node, and hands them to OpenTelemetry where it records metrics.

    Example:
        >>> meter = Meter()
        >>> meter.record(Side.SERVER, "orders.place", 0.02, code="out_of_stock")
        >>> meter.figures[Side.SERVER, "orders.place"].faults
        {'out_of_stock': 1}
    """

    def __init__(self, provider: metrics.MeterProvider | None = None) -> None:
        self.figures: dict[tuple[Side, str], Figures] = {}
        self._given = provider
        self._histograms: dict[tuple[object, Side], metrics.Histogram] = {}

    def record(self, side: Side, address: str, seconds: float, *, code: str = "") -> None:
        """Count a call of `service.operation` that took so long and ended with this fault, or with none."""
        key = (side, address)
        figures = self.figures.get(key)
        if figures is None:
            if len(self.figures) >= OPERATIONS_MAX:
                key = (side, OTHER)
            figures = self.figures.setdefault(key, Figures())
        figures.add(seconds, code)
        provider = self._given if self._given is not None else _configured_meters()
        if provider is not None:
            attributes = call_attributes(key[1]) | ({"error.type": code} if code else {})
            self._histogram(provider, side).record(seconds, attributes)

    def _histogram(self, provider: metrics.MeterProvider, side: Side) -> metrics.Histogram:
        histogram = self._histograms.get((provider, side))
        if histogram is None:
            histogram = provider.get_meter("hanse").create_histogram(
                f"rpc.{side.value}.call.duration",
                unit="s",
                description="How long calls took",
                explicit_bucket_boundaries_advisory=BUCKETS,
            )
            self._histograms[provider, side] = histogram
        return histogram


def start(environ: Mapping[str, str], labels: Mapping[str, str]) -> Callable[[], None]:
    """Set up OpenTelemetry's SDK where OTEL_* asks for it and nobody has; for the CLI, which owns the process.

    Args:
        environ: The process's environment.
        labels: What tells this process from others: `service.name`, `service.version`, `service.instance.id`.

    Returns:
        What sends off the rest and ends it.

    Raises:
        Misconfigured: It is asked for, but not installed.
    """
    wanted = {signal: _asks(environ, signal) for signal in ("TRACES", "METRICS")}
    if not any(wanted.values()) or active():
        return lambda: None
    try:
        return _start_sdk(environ, labels, wanted)
    except ImportError as error:
        raise Misconfigured(
            f"OTEL_EXPORTER_OTLP_ENDPOINT asks for telemetry, which needs {error.name}: pip install 'hanse[otel]'"
        ) from None


def _asks(environ: Mapping[str, str], signal: str) -> bool:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get(f"OTEL_{signal}_EXPORTER") == "none"
    return not off and any(environ.get(name) for name in names)


def _start_sdk(environ: Mapping[str, str], labels: Mapping[str, str], wanted: Mapping[str, bool]) -> Callable[[], None]:
    from opentelemetry import metrics, trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(unsaid(environ, labels))
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if wanted["METRICS"] else []
    meters = MeterProvider(readers, resource, shutdown_on_exit=False)
    if wanted["TRACES"]:
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracers)
    if wanted["METRICS"]:
        metrics.set_meter_provider(meters)

    def stop() -> None:
        tracers.shutdown()
        meters.shutdown()

    return stop


def unsaid(environ: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that the environment does not give itself, in OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES.

    Example:
        >>> unsaid({"OTEL_RESOURCE_ATTRIBUTES": "service.version=2"}, {"service.version": "1", "service.name": "shop"})
        {'service.name': 'shop'}
    """
    said = {pair.partition("=")[0].strip() for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    if environ.get("OTEL_SERVICE_NAME"):
        said.add("service.name")
    return {name: text for name, text in labels.items() if text and name not in said}


def _configured_tracers() -> trace.TracerProvider | None:
    if _SDK not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider


def _configured_meters() -> metrics.MeterProvider | None:
    if _SDK not in sys.modules:
        return None
    from opentelemetry import metrics

    provider = metrics.get_meter_provider()
    # The stand-in for a provider that nobody has set has no public name.
    return None if type(provider).__name__ == "_ProxyMeterProvider" else provider


def _parent(headers: Headers, side: Side) -> context.Context:
    """Where a step hangs: on the sending sides a span that user code opened within the same story is nearer."""
    from opentelemetry import context, trace

    ambient = trace.get_current_span().get_span_context()
    came = parse_traceparent(headers.traceparent)
    if side in _OUTGOING and ambient.is_valid and (came is None or int(came.trace_id, 16) == ambient.trace_id):
        return context.get_current()
    if came is None:
        return context.Context()
    remote = trace.SpanContext(
        int(came.trace_id, 16),
        int(came.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(came.flags),
        trace_state=trace.TraceState.from_header([headers.tracestate]),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), context.Context())


def _onward(headers: Headers, here: trace.SpanContext) -> Headers:
    if not here.is_valid:
        return headers
    traceparent = str(Trace(f"{here.trace_id:032x}", f"{here.span_id:016x}", here.trace_flags))
    return msgspec.structs.replace(headers, traceparent=traceparent, tracestate=here.trace_state.to_header())


def _record(span: trace.Span, error: BaseException, side: Side) -> None:
    """A fault that the contract allows is the caller's failure, not the server's."""
    from opentelemetry import trace

    code = error.code if isinstance(error, Fault) else type(error).__qualname__
    span.set_attribute("error.type", code)
    if not isinstance(error, Fault):
        span.record_exception(error)
    if side is not Side.SERVER or not isinstance(error, Fault) or error.status >= _SERVER_ERROR:
        span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
