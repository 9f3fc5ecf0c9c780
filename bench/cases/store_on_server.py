"""What a store on a server costs, beside its driver by hand: the cases of `store_postgresql.py` and its kin.

Each case has a server of its own. What is counted of the processor is the client's.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

import meter

from hanse.store.base import Batch, CollectionSchema, FieldSchema, Put, Store
from hanse.store.query import Compare, Order, Query

PAGE = 20
FILL = 500
_TYPES = {"number": "integer", "customer": "string", "tags": "array", "amount": "number"}

numbers = itertools.count()

S = TypeVar("S")


def value(number: int) -> bytes:
    """A row."""
    return b'{"number":%d,"customer":"Ada Lovelace, London","tags":["tea","gift","fragile"],"amount":1234.56}' % number


class ByHand(Protocol):
    """The same with the driver alone."""

    async def write(self, rows: int) -> None:
        """Rows, and a line of a log for each, in one transaction: what whoever wants a change feed writes at least."""
        ...

    async def load(self, id: str) -> object:
        """One row."""
        ...

    async def find(self, least: int) -> Sized:
        """A page of rows whose number is at least that."""
        ...


class OnServer(NamedTuple, Generic[S]):
    """One kind of stores.

    Attributes:
        why_not: Why no server can be started here; empty where one can.
        running: A server, as long as it is wanted.
        store: A store on it, not open yet.
        by_hand: Its driver, made ready.
        rows: That there are to be looked among.
        order: In which they are wanted.
    """

    why_not: Callable[[], str]
    running: Callable[[], AbstractContextManager[S]]
    store: Callable[[S], Store]
    by_hand: Callable[[S], AbstractAsyncContextManager[ByHand]]
    rows: int = 10_000
    order: tuple[Order, ...] = ()


async def opened(on: OnServer[S], server: S, rows: int) -> Store:
    """A store with so many rows."""
    store = on.store(server)
    fields = {name: FieldSchema(kind, required=True) for name, kind in _TYPES.items()}
    await store.open([CollectionSchema("sales", fields, indexed=("number",))])
    for _ in range(0, rows, FILL):
        await store.commit(_batch(FILL))
    return store


def _batch(rows: int) -> Batch:
    some = [next(numbers) for _ in range(rows)]
    return Batch(at=1.0, writes=tuple(Put("sales", str(n), value(n), f"m{n}", expected=0) for n in some))


async def commit(on: OnServer[S], server: S, seconds: float, at_once: int = 1) -> None:
    store = await opened(on, server, 0)
    await meter.at_once(lambda: store.commit(_batch(1)), seconds, at_once)
    await store.close()


async def commit_64(on: OnServer[S], server: S, seconds: float) -> None:
    await commit(on, server, seconds, 64)


async def load(on: OnServer[S], server: S, seconds: float) -> None:
    store, ids = await opened(on, server, on.rows), _ids(on.rows)
    await meter.at_once(lambda: store.load("sales", next(ids)), seconds, 1)
    await store.close()


async def find(on: OnServer[S], server: S, seconds: float) -> None:
    store, least = await opened(on, server, on.rows), itertools.cycle(range(on.rows - PAGE))

    async def ask() -> None:
        query = Query(where=Compare("ge", ("number",), next(least)), order=on.order, limit=PAGE)
        assert len((await store.find("sales", query)).rows) == PAGE

    await meter.at_once(ask, seconds, 1)
    await store.close()


async def raw_commit(on: OnServer[S], server: S, seconds: float, at_once: int = 1) -> None:
    async with on.by_hand(server) as hand:
        await meter.at_once(lambda: hand.write(1), seconds, at_once)


async def raw_commit_64(on: OnServer[S], server: S, seconds: float) -> None:
    await raw_commit(on, server, seconds, 64)


async def raw_load(on: OnServer[S], server: S, seconds: float) -> None:
    async with on.by_hand(server) as hand:
        await hand.write(on.rows)
        ids = _ids(on.rows)
        await meter.at_once(lambda: hand.load(next(ids)), seconds, 1)


async def raw_find(on: OnServer[S], server: S, seconds: float) -> None:
    async with on.by_hand(server) as hand:
        await hand.write(on.rows)
        least = itertools.cycle(range(on.rows - PAGE))

        async def ask() -> None:
            assert len(await hand.find(next(least))) == PAGE

        await meter.at_once(ask, seconds, 1)


def _ids(rows: int) -> Iterator[str]:
    return itertools.cycle([str(number) for number in range(rows)])


CASES = {
    case.__name__: case
    for case in (commit, commit_64, load, find, raw_commit, raw_commit_64, raw_load, raw_find)
}  # fmt: skip


def main(on: OnServer[S]) -> None:
    """Run the case that the command line names, for as many seconds as it says."""
    if why := on.why_not():
        meter.tell(skipped=why)
        return
    with on.running() as server:
        meter.run(CASES[sys.argv[1]](on, server, float(sys.argv[2])))
