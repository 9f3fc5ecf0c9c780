"""What a node knows about itself in numbers."""

import asyncio

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.mesh.breaker import CALLS_MIN, State
from hanse.node.app import App
from hanse.node.figures import NodeFigures, RelayFigures
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time


class Note(Resource):
    text: str


class Said(Event):
    text: str


class Speaker(Service, events=(Said,)):
    notes: Collection[Note]

    @rpc
    async def note(self, text: str) -> None:
        await self.notes.create(Note(text=text))

    @rpc
    async def say(self, text: str) -> None:
        await self.emit(Said(text=text))

    @rpc
    async def stumble(self) -> None:
        raise Unavailable("not now")


class Hearer(Service):
    free = asyncio.Event()

    @on(Said)
    async def hear(self, event: Said) -> None:
        if event.text == "nonsense":
            raise ValueError(event.text)
        await self.free.wait()


def relay_of(figures: NodeFigures) -> RelayFigures:
    [relay] = next(one for one in figures.stores if one.service == "speaker").relays
    return relay


@pytest.fixture
async def node(host: Host) -> Node:
    Hearer.free = asyncio.Event()
    return Node(App("talk", Speaker, Hearer), host=host)


async def test_a_breaker_that_opened_is_told_of(node: Node) -> None:
    async with node:
        for _ in range(CALLS_MIN):
            with pytest.raises(Unavailable):
                await node.client(Speaker).stumble()

        figures = await node.figures()

    assert figures.breakers["speaker.stumble"] is State.OPEN
    assert figures.calls["speaker.stumble", "unavailable"] == CALLS_MIN


async def test_what_is_not_handled_yet_is_the_lag(node: Node) -> None:
    async with node:
        await node.client(Speaker).say("hello")
        await node.client(Speaker).say("again")
        await asyncio.sleep(1)
        before = relay_of(await node.figures())
        Hearer.free.set()
        await node.settle()
        after = relay_of(await node.figures())

    assert (before.name, before.lag, after.lag) == ("hearer.hear", 2, 0)


async def test_what_nobody_wants_is_no_lag(node: Node) -> None:
    async with node:
        await asyncio.sleep(1)
        await node.client(Speaker).note("for me")

        assert relay_of(await node.figures()).lag == 0


async def test_a_message_that_cannot_be_handled_is_a_dead_letter(node: Node) -> None:
    async with node:
        await node.client(Speaker).say("nonsense")
        await node.settle()
        figures = await node.figures()

    hearer = next(one for one in figures.stores if one.service == "hearer")
    assert hearer.dead_letters == 1
    assert relay_of(figures).retries > 0
    assert relay_of(figures).lag == 0
