"""What a store on a server does about dumps and loads that are cut short, held up or in each other's way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import pytest

from hanse.kernel.faults import Malformed, NotFound, Unavailable
from hanse.store.base import CollectionSchema, Mark, Position, Row, Store
from hanse.store.dump import Dumpable, Entries, MarkAt, Marks, Moment, Piece, Positions, Rows
from hanse.store.query import Query
from hanse.testing.store_hooks import NOTES, ORDERS

from .on_server import OnServer, handled

MOMENT = Moment("x", 9, 0)
ROW = Row("1", 9, b'{"sku":"tea"}')


class DumpableStore(Store, Dumpable, Protocol):
    """A store that can be dumped and loaded."""


D = TypeVar("D", bound=DumpableStore)


async def told(*pieces: Piece, then: Callable[[], Awaitable[object]] | None = None) -> AsyncGenerator[Piece]:
    """The pieces of a dump, and what happens before it ends."""
    for piece in pieces:
        yield piece
    if then is not None:
        _ = await then()


class DumpsOnServer(OnServer[D]):
    """Derive from it.

    Attributes:
        impossible: Pieces of dumps that cannot be, and what is said of them.
    """

    @abstractmethod
    async def lose(self, url: str) -> None:
        """Remove what says that there is a store."""

    @abstractmethod
    async def left(self, url: str) -> int:
        """How many things a load has left that did not take effect."""

    async def test_marks_and_entries_are_kept_while_a_dump_is_taken(self, url: str) -> None:
        async with self.opened(url) as store:
            await store.commit(handled("1"))
            async with store.dump() as dump:
                assert await store.trim(99.0, keep_after=99) == 0
                pieces = [piece async for piece in dump.pieces]
            assert [len(one.entries) for one in pieces if isinstance(one, Entries)] == [2]
            assert await store.trim(99.0, keep_after=99) == 2
            assert await store.marked("test", "1") is None

    async def test_of_two_dumps_the_first_is_told_that_another_one_began(self, url: str) -> None:
        async with self.opened(url) as store, store.dump() as first, store.dump() as second:
            with pytest.raises(Unavailable, match="another one began"):
                _ = [piece async for piece in first.pieces]
            assert [piece async for piece in second.pieces] == []

    async def test_a_store_that_is_gone_or_closed_is_not_dumped_or_loaded(self, url: str) -> None:
        async with self.opened(url) as store:
            await self.lose(url)
            with pytest.raises(Unavailable, match="is gone"):
                async with store.dump():
                    pass
        with pytest.raises(Unavailable, match="open it first"):
            async with store.dump():
                pass
        with pytest.raises(Unavailable, match="open it first"):
            await store.restore(MOMENT, told())

    @pytest.mark.parametrize(
        "pieces",
        [
            [Rows("orders", [ROW, ROW])],
            [Positions([Position("a", 1)]), Positions([Position("a", 2)])],
            [Marks([MarkAt(Mark("a", "b"), 1.0)]), Marks([MarkAt(Mark("a", "b"), 2.0)])],
            [Positions([Position("a", 2**63)])],
        ],
    )
    async def test_a_dump_that_cannot_be_is_refused_and_leaves_nothing(self, url: str, pieces: Sequence[Piece]) -> None:
        async with self.opened(url) as store:
            with pytest.raises(Malformed, match=r"twice|cannot be stored|64 bits"):
                await store.restore(MOMENT, told(*pieces))
            assert await self.left(url) == 0
            assert await store.marked("a", "b") is None
            await store.restore(MOMENT, told(Rows("orders", [ROW])))
            assert await store.load("orders", "1") == ROW

    async def test_of_two_loads_one_takes_effect(self, url: str) -> None:
        async with self.opened(url) as store, self.opened(url) as other:

            async def load() -> None:
                await other.restore(MOMENT, told(Rows("orders", [Row("2", 9, b"{}")])))

            with pytest.raises(Unavailable, match="nothing was loaded"):
                await store.restore(MOMENT, told(Rows("orders", [ROW]), then=load))
            assert [row.id for row in (await store.find("orders", Query())).rows] == ["2"]

    async def test_a_node_that_changes_the_collections_meanwhile_refuses_the_load(self, url: str) -> None:
        async with self.opened(url) as store:

            async def change() -> None:
                await self.opens(url, ORDERS, NOTES, CollectionSchema("others", {}))

            with pytest.raises(Unavailable, match="nothing was loaded"):
                await store.restore(MOMENT, told(Rows("orders", [ROW]), then=change))
            with pytest.raises(NotFound, match="others"):
                await store.restore(MOMENT, told(Rows("others", [ROW])))
            assert await store.count("orders", Query()) == 0
            await store.restore(MOMENT, told(Rows("orders", [ROW])))
