"""Spans and figures of calls and events on one node."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.telemetry import Meter, Side, Tracer
from hanse.mesh.watch import Watch, watch_of
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.reaction import on
from hanse.service.service import Service


class Closed(Fault, status=409): ...


class Rang(Event):
    who: str


class Bell(Service):
    @rpc
    async def ring(self, who: str) -> None:
        if who == "nobody":
            raise Closed
        await self.emit(Rang(who=who))

    @rpc
    async def chime(self, strokes: int) -> AsyncIterator[str]:
        for _ in range(strokes):
            yield trace.get_current_span().get_span_context().span_id.to_bytes(8, "big").hex()
        raise Closed

    @rpc
    async def wait(self) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""


class Porter(Service):
    @on(Rang)
    async def open(self, event: Rang) -> None: ...


class Watched:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter = Meter(MeterProvider(shutdown_on_exit=False))
        self.host = Host.system()
        self.node = Node(
            App("gate", Bell, Porter), host=self.host, watch=Watch(self.host, tracer=Tracer(provider), meter=self.meter)
        )

    def spans(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.kind is kind]


async def test_a_story_is_one_trace_through_call_and_event() -> None:
    watched = Watched()
    async with watched.node as node:
        await node.client(Bell).ring("ada")
        await node.settle()

    [client], [server] = watched.spans(SpanKind.CLIENT), watched.spans(SpanKind.SERVER)
    [consumer] = watched.spans(SpanKind.CONSUMER)
    assert (client.name, server.name, consumer.name) == ("bell.ring", "bell.ring", "process rang")
    assert len({span.context.trace_id for span in (client, server, consumer) if span.context}) == 1
    assert (consumer.attributes or {})["messaging.consumer.group.name"] == "porter.open"


async def test_a_fault_is_counted_under_its_code_on_both_sides() -> None:
    watched = Watched()
    async with watched.node as node:
        with pytest.raises(Closed):
            await node.client(Bell).ring("nobody")

    for side in (Side.CLIENT, Side.SERVER):
        assert watched.meter.figures[side, "bell.ring"].faults == {"closed": 1}


async def test_a_stream_is_a_span_on_both_sides_that_its_reader_is_not_in() -> None:
    watched = Watched()
    inside, outside = set[str](), {trace.get_current_span()}
    async with watched.node as node:
        with suppress(Closed):
            async for seen in node.client(Bell).chime(2):
                inside.add(seen)
                outside.add(trace.get_current_span())

    assert outside == {trace.get_current_span()}
    [client], [server] = watched.spans(SpanKind.CLIENT), watched.spans(SpanKind.SERVER)
    assert client.name == server.name == "bell.chime"
    assert server.parent is not None
    assert client.context is not None
    assert server.parent.span_id == client.context.span_id
    assert server.context is not None
    assert inside == {server.context.span_id.to_bytes(8, "big").hex()}
    for side in (Side.CLIENT, Side.SERVER):
        figures = watched.meter.figures[side, "bell.chime"]
        assert (figures.count, figures.faults) == (1, {"closed": 1})


async def test_a_stream_whose_reader_leaves_has_gone_well() -> None:
    watched = Watched()
    async with watched.node as node:
        strokes = cast("AsyncGenerator[str]", node.client(Bell).chime(9))
        async with aclosing(strokes):
            assert await anext(strokes)

    for side in (Side.CLIENT, Side.SERVER):
        figures = watched.meter.figures[side, "bell.chime"]
        assert (figures.count, figures.faults) == (1, {})


async def test_a_stream_of_a_reader_that_is_cancelled_says_so() -> None:
    watched = Watched()
    async with watched.node as node:

        async def read() -> None:
            async for _ in node.client(Bell).wait():
                pass

        async with asyncio.TaskGroup() as group:
            task = group.create_task(read())
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel()

    for side in (Side.CLIENT, Side.SERVER):
        assert watched.meter.figures[side, "bell.wait"].faults == {"CancelledError": 1}


def test_nobody_is_watched_where_nobody_records() -> None:
    assert watch_of(Host.system()) is None
