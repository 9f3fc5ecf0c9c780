"""What work under the shadow mark promises, on any store: nothing of it lasts, and it is answered as its original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from hypothesis import HealthCheck, given, settings as tuned, strategies as st

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.context import current
from hanse.kernel.faults import Fault, NotFound
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.stores import open_store
from hanse.service.cluster import Lock
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.dump import Dumpable, Entries, Marks, Positions, Rows

MARKED = Headers(shadow=True)


class Book(Resource):
    title: str
    copies: int = 1


class Loan(Resource):
    book: str


class Lent(Event):
    book: str


class Shelf(Service, events=(Lent,), owns=(Book,)):
    books: Collection[Book]
    lock: Lock

    @rpc
    async def add(self, id: str, title: str) -> Book:
        return await self.books.create(Book(id=id, title=title))

    @rpc
    async def retitle(self, id: str, title: str, rev: int | None) -> Book:
        return await self.books.patch(id, title=title, if_match=rev)

    @rpc
    async def remove(self, id: str) -> None:
        await self.books.delete(id)

    @rpc
    async def take(self, id: str) -> int:
        """One copy less, alone, and told to whoever wants to know."""
        async with self.lock.hold(id, lease="10s", wait="1m"):
            book = await self.books.get(id)
            await self.books.put(msgspec.structs.replace(book, copies=book.copies - 1))
            await self.emit(Lent(book=id))
            return book.copies - 1

    @rpc
    async def fill(self, ids: list[str]) -> AsyncIterator[str]:
        """Each write of a stream is one of its own, and those after it see it."""
        for id in ids:
            _ = await self.books.put(Book(id=id, title="filled"))
            changed = await self.books.patch(id, copies=7)
            yield f"{changed.title} {changed.copies}"

    @rpc
    async def marked(self) -> bool:
        return current().shadow

    @rpc
    @saga
    async def bind(self, s: Saga, id: str) -> str:
        return id


class Desk(Service):
    """Another service, which has rows of its own and calls the first one."""

    loans: Collection[Loan]
    books: Collection[Book]
    shelf: Shelf

    @rpc
    async def lend(self, id: str) -> int:
        left = await policy(self.shelf, idempotency_key=f"lend {id}").take(id)
        _ = await self.loans.put(Loan(id=id, book=id))
        return left

    @rpc
    async def order(self, id: str) -> Book:
        """Writes rows of somebody else."""
        return await self.books.put(Book(id=id, title="ordered"))

    @rpc
    async def leave(self, id: str) -> None:
        """What it leaves to a task, or does in a story that it begins by itself, is marked as well."""
        await asyncio.create_task(self._lend_later(id))  # noqa: TID251 - as users do

    async def _lend_later(self, id: str) -> None:
        _ = await self.loans.put(Loan(id=id, book=id))

    @rpc
    async def is_marked(self) -> bool:
        return await self.shelf.marked()

    @on(Lent)
    async def note(self, lent: Lent) -> None:
        _ = await self.loans.put(Loan(id=f"noted {lent.book}", book=lent.book))


APP = App("library", Shelf, Desk)

_ids = st.sampled_from(("a", "b", "c"))
_OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(("take", "remove", "lend", "order", "leave", "write")), _ids),
    st.tuples(st.sampled_from(("add", "retitle", "keyed", "renamed")), _ids),
    st.tuples(st.just("fill"), st.lists(_ids, max_size=3)),
)


@asynccontextmanager
async def libraries(urls: Sequence[str]) -> AsyncGenerator[tuple[Node, tuple[Store, Store]]]:
    """A node with both services, whose stores are at these URLs."""
    stores = dict(zip(("shelf", "desk"), map(open_store, urls), strict=True))
    left = iter(stores.values())
    settings = Settings(node=NodeSettings(grace=10.0))
    async with Node(APP, settings, stores=lambda _: next(left)) as node:
        assert [one.store for one in node.hosted] == list(stores.values())
        yield node, (stores["shelf"], stores["desk"])


async def kept(store: Store) -> dict[str, object]:
    """All that a store keeps. Of positions, where locks are: those of relays and of duties move by themselves."""
    assert isinstance(store, Dumpable)
    found: dict[str, object] = {"locks": [], "log": [], "marks": []}
    async with store.dump() as dump:
        async for piece in dump.pieces:
            match piece:
                case Rows(collection, rows):
                    found[f"rows/{collection}"] = list(rows)
                case Entries(entries):
                    found["log"] = [found["log"], *entries]
                case Marks(marks):
                    found["marks"] = [found["marks"], *sorted((one.mark.scope, one.mark.key) for one in marks)]
                case Positions(positions):
                    found["locks"] = [one for one in positions if one.name.startswith("lease/lock/")]
    return found


async def answer(node: Node, headers: Headers, operation: str, argument: str | list[str]) -> object:
    """What an operation is answered with, by whoever serves it; the code of its fault where it has one."""
    try:
        with node.context(headers, timeout=60.0):
            return await _asked(node, operation, argument)
    except Fault as fault:
        return fault.code


async def _asked(node: Node, operation: str, argument: str | list[str]) -> object:
    shelf, desk = node.client(Shelf), node.client(Desk)
    if isinstance(argument, list):
        return [item async for item in shelf.fill(argument)]
    asked: dict[str, Callable[[str], Awaitable[object]]] = {
        "add": lambda id: shelf.add(id, "new"),
        "keyed": lambda id: policy(shelf, idempotency_key=f"add {id}").add(id, "keyed"),
        "retitle": lambda id: shelf.retitle(id, "other", None),
        "renamed": lambda id: shelf.retitle(id, "other", 1),
        "take": shelf.take,
        "remove": shelf.remove,
        "lend": desk.lend,
        "order": desk.order,
        "leave": desk.leave,
        "write": lambda id: node.collection(Book).put(Book(id=id, title="written")),
    }
    return await asked[operation](argument)


class ShadowTests:
    """Inherited by each store's tests, which say where there are two of it."""

    async def urls(self) -> Sequence[str]:
        raise NotImplementedError

    # One property, of several stores: each class that inherits it has one of its own.
    @tuned(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(script=st.lists(_OPERATIONS, min_size=1, max_size=6))
    async def test_a_copy_is_answered_as_its_original_and_leaves_nothing(
        self, script: list[tuple[str, str | list[str]]]
    ) -> None:
        async with libraries(await self.urls()) as (node, stores):
            _ = await node.collection(Book).create(Book(id="a", title="first", copies=3))
            for operation, argument in script:
                await node.settle()
                before = [await kept(store) for store in stores]
                copied = await answer(node, MARKED, operation, argument)
                await node.settle()
                assert [await kept(store) for store in stores] == before
                assert copied == await answer(node, NO_HEADERS, operation, argument)

    async def test_a_saga_is_not_begun_for_a_copy_and_its_caller_is_told(self) -> None:
        async with libraries(await self.urls()) as (node, stores):
            before = [await kept(store) for store in stores]
            with node.context(MARKED, timeout=60.0):
                told = await _code(node)
            assert told == "not_in_shadow"
            assert [await kept(store) for store in stores] == before

    async def test_the_mark_goes_where_the_request_goes_and_no_further(self) -> None:
        async with libraries(await self.urls()) as (node, _):
            with node.context(MARKED, timeout=60.0):
                assert await node.client(Desk).is_marked()
                with node.context(Headers(), timeout=60.0):
                    assert await node.client(Desk).is_marked()
            with node.context(timeout=60.0):
                assert not await node.client(Desk).is_marked()

    async def test_a_copy_does_not_keep_its_original_from_a_lock(self) -> None:
        async with libraries(await self.urls()) as (node, stores):
            _ = await node.collection(Book).create(Book(id="a", title="first", copies=3))
            with node.context(MARKED, timeout=60.0):
                assert await node.client(Shelf).take("a") == 2
            assert await stores[0].position("lease/lock/lock/a") == 0
            with node.context(timeout=60.0):
                assert await node.client(Shelf).take("a") == 2
            with node.context(MARKED, timeout=60.0):
                assert await node.client(Shelf).take("a") == 1

    async def test_a_job_that_was_asked_for_by_a_copy_is_not_there(self) -> None:
        async with libraries(await self.urls()) as (node, stores):
            before = [await kept(store) for store in stores]
            with node.context(MARKED, timeout=60.0):
                standing = await node.jobs("shelf").start("shelf.remove", msgspec.msgpack.encode({"id": "a"}))
            with node.context(timeout=60.0):
                try:
                    found: object = await node.jobs("shelf").get(standing.id)
                except NotFound:
                    found = None
            assert (standing.state, found) == ("waiting", None)
            assert [await kept(store) for store in stores] == before


async def _code(node: Node) -> str:
    try:
        return await node.client(Shelf).bind("a")
    except Fault as fault:
        return fault.code
