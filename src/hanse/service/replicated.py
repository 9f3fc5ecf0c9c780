"""The rows of a replica, as the service reads them: in its own store, and as fresh as a read asks for.

How far the copy has come is a row beside it, which every instance of the service sees, whichever of them keeps the copy
up to date. What a read has to wait for is asked of the owner: the last change that the copy lacks at that moment.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar, final

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.closing import closing
from hanse.kernel.codec import canonical
from hanse.kernel.faults import DeadlineExceeded, Overloaded, Unavailable, UnknownOperation
from hanse.service.change import Change, Followed, parts_of
from hanse.service.collection import Page
from hanse.service.local import LocalCollection
from hanse.service.log_reader import CursorLost
from hanse.service.replica import STATES, AtLeast, Copied, ReplicaBehind, Wanted
from hanse.service.rows import Rows
from hanse.service.shape import Shape, schema_of, shape_of
from hanse.store.base import CollectionSchema, Store
from hanse.store.query import Where

R = TypeVar("R", bound=Resource)

FRESH_SECONDS = 10.0
"""How long a read waits for what must be in it at most; the deadline of the call that it belongs to may be sooner."""

SOON_SECONDS = 0.05
"""How long a read waits for the feed to bring what it needs, before it asks the owner what that is."""

ASK_SECONDS = 0.5
"""How long a read that waits leaves an owner alone that was away."""


class ReplicaShape(Shape[R]):
    """How rows of a replica are read: with the revision that their owner gave them, which their value tells."""

    def __init__(self, kind: type[R], collection: str) -> None:
        super().__init__(kind)
        self.collection: str = collection

    def read(self, value: bytes, id: str, rev: int) -> R:
        """A row of its JSON value."""
        del id, rev  # the revision is that of the copy
        return self._codec.decode_json(value)


def copy_id(name: str, wanted: Wanted) -> str:
    """Names the copy that a field stands for: one that is made by other rules, or of other fields, is another copy."""
    told = canonical([collection_of(wanted.source), schema_of(wanted.kind), wanted.where])
    return f"{name}.{hashlib.sha256(told).hexdigest()[:8]}"


def replica_schemas(name: str, wanted: Wanted) -> list[CollectionSchema]:
    """What the store of a service has to keep for a replica: its rows, and how far it has come."""
    rows = msgspec.structs.replace(schema_of(wanted.kind), name=f"replica.{copy_id(name, wanted)}")
    return [rows, schema_of(Copied)]


@final
class ReplicaOf(Generic[R]):
    """`Replica` over the service's own store.

    Attributes:
        name: Of the field.
        wanted: What the field says.
        store: Where the copy is.
        source: The owner's rows, by calls.
        id: Of the copy.
        shape: How its rows are read.
        trouble: What keeps it from following its owner; empty where nothing does. Kept by whoever copies.
    """

    def __init__(self, name: str, wanted: Wanted, kind: type[R], store: Store, source: Rows) -> None:
        self.name: str = name
        self.wanted: Wanted = wanted
        self.store: Store = store
        self.source: Rows = source
        self.id: str = copy_id(name, wanted)
        self.trouble: str = ""
        [schema, _] = replica_schemas(name, wanted)
        self.shape: ReplicaShape[R] = ReplicaShape(kind, schema.name)
        self._rows: LocalCollection[R] = LocalCollection(kind, store, shape=self.shape, schema=schema)
        self._covered: tuple[str, int] = ("", 0)

    async def get(self, id: str, /, *, at_least: AtLeast = None) -> R:
        """See `Replica.get`."""
        await self._fresh(at_least)
        return self._rows.there(id, await self._rows.stored(id))

    async def find(
        self,
        where: Callable[[R], bool] | Where | None = None,
        /,
        *,
        sort: Callable[[R], object] | None = None,
        limit: int = 50,
        cursor: str | None = None,
        at_least: AtLeast = None,
    ) -> Page[R]:
        """See `Replica.find`."""
        await self._fresh(at_least)
        return await self._rows.find(where, sort=sort, limit=limit, cursor=cursor)

    def scan(
        self, where: Callable[[R], bool] | Where | None = None, /, *, sort: Callable[[R], object] | None = None
    ) -> AsyncIterator[R]:
        """See `Replica.scan`."""
        return self._rows.scan(where, sort=sort)

    async def count(self, where: Callable[[R], bool] | Where | None = None, /) -> int:
        """See `Replica.count`."""
        return await self._rows.count(where)

    def changes(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Change[R]]:
        """See `Replica.changes`."""
        return self._rows.changes(where, after=after)

    def follow(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Followed[R]]:
        """See `Replica.follow`."""
        return self._rows.follow(where, after=after)

    async def cursor(self) -> str:
        """See `Replica.cursor`."""
        return (await self.state()).cursor

    async def caught_up(self, timeout: float = 30.0) -> None:
        """See `Replica.caught_up`."""
        await self._within(timeout, self._reach_now)

    async def state(self) -> Copied:
        """How far it has come."""
        row = await self.store.load(STATES, self.id)
        return Copied(id=self.id) if row is None else shape_of(Copied).read(row.value, row.id, row.rev)

    async def lag(self) -> int:
        """Positions of the owner's log that it is behind, whatever they tell of; 0 where it cannot be told."""
        state = await self.state()
        log, head = parts_of(await self.source.cursor())
        mine, seq = parts_of(state.cursor) if state.cursor else (log, 0)
        return max(0, head - seq) if mine == log else head

    async def _fresh(self, at_least: AtLeast) -> None:
        if at_least is None or await self._has(at_least):
            return
        await self._within(FRESH_SECONDS, partial(self._reach, at_least))

    async def _has(self, wanted: str | int) -> bool:
        state = await self.state()
        if not state.cursor:
            return False
        log, seq = parts_of(state.cursor)
        seq = max(seq, self._covered[1]) if self._covered[0] == log else seq
        if isinstance(wanted, int):
            return seq >= wanted
        asked, position = parts_of(wanted)
        return asked == log and seq >= position

    async def _reach(self, wanted: str | int) -> None:
        try:
            async with asyncio.timeout(SOON_SECONDS):
                await self._until(partial(self._has, wanted))
        except TimeoutError:
            await self._reach_now()
        if not await self._has(wanted):
            raise CursorLost(str(wanted))

    async def _reach_now(self) -> None:
        """Wait until the copy has what the owner's log tells by now; an owner that is away is asked again."""
        while True:
            try:
                return await self._catch_up()
            except (Unavailable, Overloaded, UnknownOperation, DeadlineExceeded):
                await asyncio.sleep(ASK_SECONDS)

    async def _catch_up(self) -> None:
        while True:
            # Not while a snapshot is read: then there is no cursor.
            await self._until(partial(self._has_left, ""))
            cursor = await self.cursor()
            needed, head = await self._lacking(cursor)
            if head is not None:
                await self._until(partial(self._has, needed))
                self._covered = max(self._covered, head) if head[0] == self._covered[0] else head
                return
            # The log does not reach back to there any more: the copy is made anew, and stands elsewhere then.
            await self._until(partial(self._has_left, cursor))

    async def _has_left(self, cursor: str) -> bool:
        return await self.cursor() != cursor

    async def _lacking(self, cursor: str) -> tuple[str, tuple[str, int] | None]:
        """The cursor of the last change that the copy lacks, and where the owner's log is; None for a cursor lost."""
        needed = cursor
        feed = self.source.follow(self.wanted.where, cursor, snapshot=False, caught_up=True)
        async with closing(feed) as lines:
            async for line in lines:
                if line.event == "reset":
                    break
                if line.event == "ready":
                    return needed, parts_of(line.cursor)
                needed = line.cursor
        return needed, None

    async def _until(self, true: Callable[[], Awaitable[bool]]) -> None:
        """Wait for the copy to come to where something is so."""
        wake = asyncio.Event()
        stop = self.store.listen(wake.set, names=[STATES])
        try:
            while True:
                wake.clear()
                if await true():
                    return
                _ = await wake.wait()
        finally:
            stop()

    async def _within(self, seconds: float, reach: Callable[[], Awaitable[None]]) -> None:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await reach()
        except TimeoutError:
            if not limit.expired():
                raise
            why = self.trouble or "changes come faster than they are copied, or another instance copies and is stuck"
            problem = f"the replica {self.name} did not come as far as asked for in {seconds:g} s: {why}"
            raise ReplicaBehind(problem) from None
