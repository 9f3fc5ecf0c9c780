from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from hanse.kernel import telemetry
from hanse.kernel.faults import Conflict, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers
from hanse.kernel.telemetry import OTHER, Meter, Side, Tracer, call_attributes, event_attributes
from hanse.kernel.traceparent import Trace, new_trace, parse_traceparent

CAME = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass
class Recorded:
    tracer: Tracer
    exporter: InMemorySpanExporter
    provider: TracerProvider

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Recorded(Tracer(provider), exporter, provider)
    provider.shutdown()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        CAME.upper(),
        CAME + "-more",
        "ff" + CAME[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text(max_size=60))
def test_any_text_can_be_asked_for_a_trace(text: str) -> None:
    assert parse_traceparent(text) is None or text.count("-") >= 3


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_traceparent("01" + CAME[2:] + "-more") == parse_traceparent(CAME)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_what_is_written_can_be_read(trace_id: int, span_id: int, flags: int) -> None:
    trace = Trace(f"{trace_id:032x}", f"{span_id:016x}", flags)
    assert parse_traceparent(str(trace)) == trace


@given(st.integers())
def test_a_new_trace_is_valid_and_follows_the_seed(seed: int) -> None:
    first, again = (new_trace(Host.fixed(wall=0.0, seed=seed)) for _ in range(2))
    assert first == again
    assert parse_traceparent(first) is not None


def test_nothing_is_recorded_or_changed_where_nobody_records() -> None:
    headers = Headers(traceparent=CAME, tracestate="a=b")
    tracer = Tracer()
    with tracer.span("orders.place", Side.CLIENT, headers) as span:
        span.fail(ValueError())
        assert span.headers is headers
    assert not tracer.active()
    assert not telemetry.active()


def test_importing_telemetry_does_not_import_opentelemetry() -> None:
    code = "import sys, hanse.kernel.telemetry as t; t.active(); print('opentelemetry' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_server_span_hangs_below_the_step_that_the_message_names(recorded: Recorded) -> None:
    headers = Headers(traceparent=CAME, tracestate="a=b", tags={"booking_ref": "ABC"})
    with recorded.tracer.span("orders.place", Side.SERVER, headers, call_attributes("orders.place")) as span:
        onward = span.headers
    done = recorded.spans()["orders.place"]
    assert done.kind is SpanKind.SERVER
    assert done.parent is not None
    assert f"{done.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert done.attributes == {"booking_ref": "ABC", "rpc.system.name": "hanse", "rpc.method": "orders.place"}
    assert done.context is not None
    assert onward.traceparent == f"00-4bf92f3577b34da6a3ce929d0e0e4736-{done.context.span_id:016x}-01"
    assert (onward.tracestate, onward.tags) == ("a=b", headers.tags)


def test_a_client_span_hangs_below_what_user_code_opened_in_the_same_story(recorded: Recorded) -> None:
    tracer, own = recorded.tracer, recorded.provider.get_tracer("user")
    with (
        tracer.span("server", Side.SERVER, Headers()) as server,
        own.start_as_current_span("mine"),
        tracer.span("client", Side.CLIENT, server.headers),
    ):
        pass
    spans = recorded.spans()
    assert spans["client"].parent == spans["mine"].context


def test_a_client_span_of_another_story_keeps_to_its_own(recorded: Recorded) -> None:
    with (
        recorded.tracer.span("server", Side.SERVER, Headers()),
        recorded.tracer.span("client", Side.CLIENT, Headers(traceparent=CAME)) as client,
    ):
        assert client.headers.traceparent.split("-")[1] == CAME.split("-")[1]


def test_a_received_message_without_a_trace_starts_one_whatever_the_task_did_before(recorded: Recorded) -> None:
    with recorded.tracer.span("a", Side.SERVER, Headers()), recorded.tracer.span("b", Side.SERVER, Headers()):
        pass
    assert recorded.spans()["b"].parent is None


def test_a_consumer_span_links_to_the_producer_span(recorded: Recorded) -> None:
    attributes = event_attributes("order_placed", "m1", Side.CONSUMER, group="mailer")
    with recorded.tracer.span("process", Side.CONSUMER, Headers(traceparent=CAME), attributes):
        pass
    done = recorded.spans()["process"]
    assert [f"{link.context.span_id:016x}" for link in done.links] == ["00f067aa0ba902b7"]
    assert done.attributes is not None
    assert done.attributes["messaging.operation.type"] == "process"
    assert done.attributes["messaging.consumer.group.name"] == "mailer"


def test_an_emitted_event_is_sent() -> None:
    assert event_attributes("order_placed", "m1", Side.PRODUCER)["messaging.operation.name"] == "send"


@pytest.mark.parametrize(
    ("side", "error", "kind", "status"),
    [
        (Side.CLIENT, Conflict("taken"), "conflict", StatusCode.ERROR),
        (Side.SERVER, Conflict("taken"), "conflict", StatusCode.UNSET),
        (Side.SERVER, Unavailable("gone"), "unavailable", StatusCode.ERROR),
        (Side.SERVER, ZeroDivisionError("x"), "ZeroDivisionError", StatusCode.ERROR),
    ],
)
def test_a_fault_is_recorded_as_the_failure_of_whom_it_is(
    recorded: Recorded, side: Side, error: Exception, kind: str, status: StatusCode
) -> None:
    with pytest.raises(type(error)), recorded.tracer.span("a", side, Headers()):
        raise error
    done = recorded.spans()["a"]
    assert done.attributes == {"error.type": kind}
    assert done.status.status_code is status
    assert len(done.events) == (kind == "ZeroDivisionError")


def test_a_stream_that_nobody_reads_on_has_not_failed(recorded: Recorded) -> None:
    def stream() -> Iterator[int]:
        with recorded.tracer.span("a", Side.SERVER, Headers()):
            yield 1

    reader = stream()
    next(reader)
    reader.close()  # type: ignore[attr-defined]  # generators have it
    assert recorded.spans()["a"].status.status_code is StatusCode.UNSET


def test_a_story_that_is_not_sampled_says_so_onward() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with Tracer(provider).span("a", Side.SERVER, Headers(traceparent=CAME)) as span:
        assert span.headers.traceparent.endswith("-00")


def test_a_disabled_sdk_leaves_the_headers_alone() -> None:
    from opentelemetry.trace import NoOpTracerProvider

    headers = Headers()
    with Tracer(NoOpTracerProvider()).span("a", Side.SERVER, headers) as span:
        assert span.headers is headers


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["", "conflict", "invalid"]))))
def test_every_call_is_counted_once(calls: list[tuple[float, str]]) -> None:
    meter = Meter()
    for seconds, code in calls:
        meter.record(Side.SERVER, "a.b", seconds, code=code)
    if calls:
        figures = meter.figures[Side.SERVER, "a.b"]
        assert figures.count == sum(figures.buckets) == len(calls)
        assert sum(figures.faults.values()) == len([code for _, code in calls if code])
        assert figures.seconds == pytest.approx(sum(seconds for seconds, _ in calls))


def test_figures_of_too_many_operations_are_kept_together() -> None:
    meter = Meter()
    for number in range(telemetry.OPERATIONS_MAX + 5):
        meter.record(Side.CLIENT, f"a.{number}", 0.0)
    assert len(meter.figures) == telemetry.OPERATIONS_MAX + 1
    assert meter.figures[Side.CLIENT, OTHER].count == 5


def test_durations_reach_opentelemetry_where_it_records() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = Meter(provider)
    meter.record(Side.SERVER, "a.b", 0.02)
    meter.record(Side.SERVER, "a.b", 0.03, code="conflict")
    printed = reader.get_metrics_data()
    provider.shutdown()
    assert printed is not None
    metric = printed.resource_metrics[0].scope_metrics[0].metrics[0]
    assert (metric.name, metric.unit) == ("rpc.server.call.duration", "s")
    assert [dict(point.attributes or {}).get("error.type") for point in metric.data.data_points] == [None, "conflict"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_the_sdk_is_not_set_up_unless_asked_for(environ: dict[str, str]) -> None:
    telemetry.start(environ, {})()
    assert not telemetry.active()


def test_asking_for_telemetry_that_is_not_installed_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry.sdk"] = None
from hanse.kernel import telemetry
try:
    telemetry.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, {})
except Exception as error:
    print(type(error).__name__, error)
"""
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.startswith(Misconfigured.__name__)
    assert "pip install 'hanse[otel]'" in told


def test_the_environment_names_the_service_before_we_do() -> None:
    labels = {"service.name": "a", "service.version": "1", "service.instance.id": ""}
    assert telemetry.unsaid({"OTEL_SERVICE_NAME": "b"}, labels) == {"service.version": "1"}
