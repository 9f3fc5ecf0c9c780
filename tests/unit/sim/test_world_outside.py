"""What stories look at and are from outside: the rows of a copy in its file, and somebody whom services know."""

import pytest

from hanse import (
    App,
    Collection,
    Forbidden,
    Headers,
    Identity,
    Replica,
    Resource,
    Service,
    current,
    replica,
    rpc,
    scope,
    simulate,
)
from hanse.kernel.faults import Misconfigured, Unauthenticated
from hanse.sim.run import run


class Item(Resource):
    left: int
    shown: bool = True


class Shown(Resource):
    left: int


class Shelf(Service, owns=(Item,)):
    items: Collection[Item]

    @rpc(allow=scope("shelf"))
    async def put(self, id: str, left: int) -> str:
        _ = await self.items.put(Item(id=id, left=left, shown=left > 0))
        return current().tags.get("story", "")


class Window(Service):
    items: Replica[Item]
    shown: Replica[Shown] = replica(Shown, of=Item, where=lambda item: item.shown)


app = App("mirror", Shelf, Window)
CLERK = Headers(identity=Identity("clerk", scopes=frozenset({"shelf"})), tags={"story": "s7"})


def test_who_is_nobody_may_not_and_who_is_somebody_else_neither() -> None:
    async def story() -> None:
        async with simulate(app) as world:
            with pytest.raises(Unauthenticated):
                await world.client(Shelf).put("tea", 1)
            with world.context(Headers(identity=Identity("guest"))), pytest.raises(Forbidden):
                await world.client(Shelf).put("tea", 1)

    run(story())


def test_who_asks_and_what_it_belongs_to_are_said_for_a_block() -> None:
    async def story() -> None:
        async with simulate(app) as world:
            with world.context(CLERK) as context:
                assert await world.client(Shelf).put("tea", 1) == "s7"
                assert current() is context
            with pytest.raises(Unauthenticated):
                await world.client(Shelf).put("tea", 1)

    run(story())


def test_the_rows_of_a_copy_are_those_of_its_file() -> None:
    async def story() -> None:
        async with simulate(app) as world:
            with world.context(CLERK):
                for id, left in (("tea", 3), ("cake", 0)):
                    await world.client(Shelf).put(id, left)
            await world.advance("1s")
            [cake, tea] = world.rows(Item)
            assert world.rows(Item, of=Window) == [cake, tea]
            assert world.rows(Shown, of=Window) == [Shown(id="tea", rev=tea.rev, left=3)]

    run(story())


def test_a_copy_that_a_service_has_not_cannot_be_looked_at() -> None:
    async def story() -> None:
        async with simulate(app) as world:
            with pytest.raises(Misconfigured, match=r"shelf has no Replica\[Shown\]"):
                _ = world.rows(Shown, of=Shelf)

    run(story())
