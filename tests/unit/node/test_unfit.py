"""What no message can hold is told with its field: to who asked with it, or by a fault of the one who answered it."""

from collections.abc import AsyncIterator

import pytest

from hanse import App, Collection, Model, Node, Resource, Service, rpc
from hanse.kernel.faults import CannotTell, Internal, Invalid
from hanse.kernel.message import Headers

pytestmark = pytest.mark.virtual_time

WIDE = 2**64
SAYS = "/seats/1: Expected an integer within 64 bits, got one of 65 bits; a text takes any"


class Hall(Model):
    name: str
    seats: list[int]


class Visit(Resource):
    hall: str


class Halls(Service):
    visits: Collection[Visit]

    @rpc
    async def hall(self, name: str) -> Hall:
        await self.visits.create(Visit(hall=name))
        return Hall(name=name, seats=[1, WIDE])

    @rpc
    async def all(self) -> dict[str, Hall]:
        return {"a/b": Hall(name="one", seats=[-WIDE]), "c": Hall(name="two", seats=[WIDE, 2 * WIDE])}

    @rpc
    async def halls(self) -> AsyncIterator[Hall]:
        yield Hall(name="small", seats=[1])
        yield Hall(name="wide", seats=[1, -WIDE])

    @rpc
    async def count(self, hall: Hall) -> int:
        return sum(hall.seats)

    @rpc
    async def fails(self) -> int:
        msg = "of the handler's own"
        raise OverflowError(msg)


@pytest.mark.parametrize("key", ["", "once"])
async def test_an_answer_names_what_it_cannot_tell_and_nothing_is_done(key: str) -> None:
    async with Node(App("halls", Halls)) as node:
        with node.context(Headers(idempotency_key=key)), pytest.raises(CannotTell) as caught:
            await node.client(Halls).hall("wide")
        assert str(caught.value) == f"the answer of halls.hall cannot be told: {SAYS}"
        assert [one async for one in node.collection(Visit).scan()] == []


async def test_each_place_that_cannot_be_told_is_named() -> None:
    async with Node(App("halls", Halls)) as node:
        with pytest.raises(CannotTell) as caught:
            await node.client(Halls).all()
        assert caught.value.problem.count("65 bits") == 2
        assert "/a~1b/seats/0: " in caught.value.problem
        assert "/c/seats/1: Expected an integer within 64 bits, got one of 66 bits" in caught.value.problem


async def test_an_item_that_cannot_be_told_ends_its_stream() -> None:
    async with Node(App("halls", Halls)) as node:
        came: list[str] = []

        async def follow() -> None:
            async for hall in node.client(Halls).halls():
                came.append(hall.name)  # noqa: PERF401 - those that came before the fault count

        with pytest.raises(CannotTell, match="/seats/1"):
            await follow()
        assert came == ["small"]


async def test_an_argument_that_cannot_be_sent_is_named_as_what_came_is() -> None:
    async with Node(App("halls", Halls)) as node:
        with pytest.raises(Invalid, match=r"an argument of halls\.count is out of range: /hall/seats/1") as caught:
            await node.client(Halls).count(Hall(name="wide", seats=[1, WIDE]))
        assert [(flaw.pointer, flaw.code) for flaw in caught.value.errors] == [("/hall/seats/1", "range")]


async def test_an_overflow_of_the_handlers_own_stays_inside() -> None:
    async with Node(App("halls", Halls)) as node:
        with pytest.raises(Internal):
            await node.client(Halls).fails()
