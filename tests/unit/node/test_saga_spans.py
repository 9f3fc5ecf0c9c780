"""Whoever follows a story sees each step of its sagas, with the calls that it makes below it."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from hanse.contract.declare import rpc
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.telemetry import Tracer
from hanse.mesh.client import policy
from hanse.mesh.watch import Watch
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time


class Full(Fault, status=409): ...


class Rooms(Service):
    away: int = 0

    @rpc
    async def take(self, floor: int) -> str:
        if Rooms.away:
            Rooms.away -= 1
            raise Unavailable("the desk is closed")
        if floor > 9:
            raise Full
        return f"room {floor}"

    @rpc
    async def free(self, room: str) -> None: ...


class Trips(Service):
    rooms: Rooms

    @rpc
    @saga
    async def book(self, s: Saga, floors: list[int]) -> int:
        left = s.branch("left")
        for floor in floors:
            _ = await left.step(self.rooms.take, floor).undo(self.rooms.free)
        return len(floors)


class Seen:
    """What the spans of one node tell."""

    def __init__(self, host: Host) -> None:
        self._spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.node = Node(App("trips", Rooms, Trips), host=host, watch=Watch(host, tracer=Tracer(provider)))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    def steps(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is SpanKind.INTERNAL]

    def below(self, parent: ReadableSpan) -> list[str]:
        assert parent.context is not None
        return [
            f"{span.kind.name} {span.name}"
            for span in self.spans
            if span.parent is not None and span.parent.span_id == parent.context.span_id
        ]


@pytest.fixture
async def seen(host: Host) -> Seen:
    return Seen(host)


async def test_a_step_is_a_span_with_its_calls_below_it_in_the_trace_of_who_began_the_saga(seen: Seen) -> None:
    async with seen.node as node:
        _ = await node.client(Trips).book([1, 2])
    first, second = seen.steps()
    assert (first.name, second.name) == ("step rooms.take", "step rooms.take")
    assert seen.below(first) == ["CLIENT rooms.take"]
    begun = next(span for span in seen.spans if span.name == "trips.book" and span.kind is SpanKind.SERVER)
    assert seen.below(begun) == ["INTERNAL step rooms.take"] * 2
    assert len({span.context.trace_id for span in seen.spans if span.context is not None}) == 1
    assert first.attributes is not None
    assert second.attributes is not None
    assert first.attributes["hanse.saga.name"] == "trips.book"
    assert first.attributes["hanse.saga.step"] == "left/rooms.take"
    assert second.attributes["hanse.saga.step"] == "left/rooms.take#2"
    assert first.attributes["hanse.saga.id"] == second.attributes["hanse.saga.id"]


async def test_an_undo_and_a_step_that_fails_are_told(seen: Seen) -> None:
    async with seen.node as node:
        with pytest.raises(Full):
            _ = await node.client(Trips).book([1, 10])
    assert [span.name for span in seen.steps()] == ["step rooms.take", "step rooms.take", "undo rooms.take"]
    failed = seen.steps()[1]
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "full"
    assert not failed.status.is_ok


async def test_each_attempt_is_a_span_with_its_number(seen: Seen) -> None:
    Rooms.away = 10
    async with seen.node as node:
        _ = await policy(node.client(Trips), timeout="1h").book([1])
    tries = [span.attributes["hanse.saga.attempt"] for span in seen.steps() if span.attributes is not None]
    assert tries == list(range(1, len(tries) + 1))
    assert len(tries) > 1
