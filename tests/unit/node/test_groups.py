"""Methods that name one group share its work, and each is told of its own events only."""

import asyncio
from typing import ClassVar

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.reaction import on
from hanse.service.service import Service


class Placed(Event):
    number: int


class Paid(Event):
    sum: str


class Orders(Service):
    @rpc
    async def place(self, number: int) -> None:
        await self.emit(Placed(number=number), Paid(sum="3.50"))


class Audit(Service):
    seen: ClassVar[list[Event]] = []

    @on(Placed, group="audit")
    async def placed(self, event: Placed) -> None:
        self.seen.append(event)

    @on(Paid, group="audit")
    async def paid(self, event: Paid) -> None:
        self.seen.append(event)


class Twice(Service, name="twice"):
    seen: ClassVar[list[Event]] = []

    @on(Placed, group="once")
    async def one(self, event: Placed) -> None:
        self.seen.append(event)

    @on(Placed, group="once")
    async def other(self, event: Placed) -> None:
        self.seen.append(event)


async def heard_by(listener: type[Audit] | type[Twice]) -> list[Event]:
    async with Node(App("shop", Orders, listener)) as node:
        listener.seen.clear()
        await node.client(Orders).place(1)
        async with asyncio.timeout(10):
            await node.settle()
        return listener.seen


async def test_each_method_of_a_group_gets_its_own_events() -> None:
    assert sorted(map(repr, await heard_by(Audit))) == ["Paid(sum='3.50')", "Placed(number=1)"]


async def test_two_methods_of_a_group_for_one_event_take_effect_once() -> None:
    assert await heard_by(Twice) == [Placed(number=1)]
