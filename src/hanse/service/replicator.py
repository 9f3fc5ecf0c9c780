"""Keeps a replica up to date: reads its owner's feed, and commits rows together with how far the copy has come.

Each commit rests on the one before it: whoever else copies into the same store makes it fail, and is believed. So a
crash of either side costs nothing but what was not committed, which is told again after the cursor that was.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TypeVar, final

import msgspec

from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.kernel.codec import encode_json, stored_json
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, Fault, NotFound, PreconditionFailed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.service.agenda import rest_after
from hanse.service.copy import Copy, Step
from hanse.service.replica import STATES, Copied
from hanse.service.replicated import ReplicaOf
from hanse.service.rows import Line
from hanse.store.base import Batch, Delete, Put
from hanse.store.query import PAGE_MAX, Query

R = TypeVar("R", bound=Resource)

_log = logging.getLogger("hanse.replicas")

LINES_MAX = 500
"""Lines of a feed that one commit has at most, and that wait for one; past it the owner's feed waits as well."""

REST_SECONDS_MAX = 10.0
"""Longest rest before the owner is asked again."""


@final
class Replicator:
    """Copies for one replica.

    Example:
        >>> async def main(replica: ReplicaOf[R], tasks: Tasks) -> None:
        ...     replicator = Replicator("invoices.customers", replica, host=Host.system())
        ...     tasks.start(replicator.run())
        ...     await replicator.stop(1.0)
    """

    def __init__(self, name: str, replica: ReplicaOf[R], *, host: Host) -> None:
        """Get ready; `run` does the work.

        Args:
            name: For the log.
            replica: What is kept up to date.
            host: Clocks, chance and ids.
        """
        self.name: str = name
        self._replica = replica
        self._store = replica.store
        self._host = host
        self._tasks = Tasks(lambda error: _log.error("the replica %s broke", name, exc_info=error))
        self._ended = asyncio.Event()
        self._running = False
        self._waiting = 0

    @property
    def idle(self) -> bool:
        """Whether nothing that its owner told waits for a commit."""
        return not self._waiting

    async def run(self) -> None:
        """Work until `stop`; run it once, as a task of whoever owns the replicator."""
        self._running = True
        try:
            async with self._tasks:
                _ = self._tasks.start(self._keep(), name=f"replica {self.name}")
                _ = await self._ended.wait()
        finally:
            self._ended.set()

    async def stop(self, grace: float = 0.0) -> None:
        """Copy no more. What has not been committed is told again to whoever copies next."""
        del grace
        self._ended.set()
        if self._running:
            await self._tasks.cancel()

    async def _keep(self) -> None:
        """Copy for ever; after a failure, on from what is committed."""
        failures = 0
        while True:
            begun = self._host.monotonic()
            try:
                await self._copy()
            except (Conflict, PreconditionFailed, NotFound) as race:
                _log.info("the replica %s looks anew: another instance copies as well (%s)", self.name, race)
            except Exception as error:  # noqa: BLE001 - whatever is in the way, it is tried again
                self._replica.trouble = error.detail if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
                _log.warning("the replica %s stopped following: %s; it tries again", self.name, self._replica.trouble)
            failures = 1 if self._host.monotonic() - begun > REST_SECONDS_MAX else failures + 1
            await asyncio.sleep(min(REST_SECONDS_MAX, rest_after(failures, self._host.chance.random())))

    async def _copy(self) -> None:
        state = await self._replica.state()
        told: asyncio.Queue[Line | Exception] = asyncio.Queue(LINES_MAX)
        copy = Copy(state.cursor)
        async with Tasks(lambda error: told.put_nowait(Unavailable(repr(error)))) as readers:
            _ = readers.start(self._read(state.cursor, told), name=f"replica {self.name} reads")
            while True:
                lines = await self._lines(told)
                step = copy.take(lines)
                state = await self._commit(step, state)
                self._replica.trouble = ""
                self._waiting = 0

    async def _read(self, after: str, told: asyncio.Queue[Line | Exception]) -> None:
        feed = self._replica.source.follow(self._replica.wanted.where, after, caught_up=True)
        try:
            async with closing(feed) as lines:
                async for line in lines:
                    await told.put(line)
            await told.put(Unavailable("the feed of its owner ended"))
        except Exception as error:  # noqa: BLE001 - it is raised again where the lines are awaited
            await told.put(error)

    async def _lines(self, told: asyncio.Queue[Line | Exception]) -> list[Line]:
        """All lines that are there, at least one. What was told before a failure is copied before that is raised."""
        lines: list[Line] = []
        item = await told.get()
        with suppress(asyncio.QueueEmpty):
            while isinstance(item, Line):
                lines.append(item)
                self._waiting = len(lines)
                if len(lines) == LINES_MAX:
                    return lines
                item = told.get_nowait()
        if isinstance(item, Exception):
            if not lines:
                raise item
            told.put_nowait(item)
        return lines

    async def _commit(self, step: Step, state: Copied) -> Copied:
        """Write what a step comes to. The rows that a snapshot did not tell of go first, in pieces."""
        if step.keep is not None:
            state = await self._remove_others(step.keep, state)
        writes = [write for id, value in step.rows.items() if (write := await self._write(id, value)) is not None]
        whole = state.whole or step.keep is not None
        if not writes and (state.cursor, state.whole) == (step.cursor, whole) and state.rev:
            return state
        return await self._save(writes, msgspec.structs.replace(state, cursor=step.cursor, whole=whole))

    async def _remove_others(self, keep: frozenset[str], state: Copied) -> Copied:
        cursor: str | None = None
        while True:
            found = await self._store.find(self._replica.shape.collection, Query(limit=PAGE_MAX, cursor=cursor))
            gone: list[Put | Delete] = [self._gone(row.id) for row in found.rows if row.id not in keep]
            if gone:
                state = await self._save(gone, state)
            cursor = found.next
            if cursor is None:
                return state

    async def _write(self, id: str, value: bytes | None) -> Put | Delete | None:
        """The write that makes a row as its owner has it; None where it is so already."""
        shape = self._replica.shape
        row = await self._store.load(shape.collection, id)
        if value is None:
            return None if row is None else self._gone(id)
        copied = stored_json(shape.decode(value))
        if row is not None and row.value == copied:
            return None
        return Put(shape.collection, id, copied, self._host.new_id())

    def _gone(self, id: str) -> Delete:
        return Delete(self._replica.shape.collection, id, self._host.new_id())

    async def _save(self, writes: list[Put | Delete], state: Copied) -> Copied:
        """Commit, if the state is what it was after the last commit."""
        place = Put(STATES, state.id, encode_json(state), self._host.new_id(), expected=state.rev)
        fault_point("replica.before_commit")
        positions = await self._store.commit(Batch(self._host.now(), writes=(*writes, place)))
        fault_point("replica.after_commit")
        return msgspec.structs.replace(state, rev=positions[-1])
