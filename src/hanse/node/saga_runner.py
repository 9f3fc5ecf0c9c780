"""Works on the sagas of one service while this node has the duty: takes up what is begun, and what others left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import final

from hanse.delivery.pause import pause
from hanse.delivery.retry import next_delay
from hanse.delivery.saga_machine import SILENT
from hanse.delivery.saga_rows import (
    ENDED,
    LIVE,
    NEVER,
    SAGA_EVENTS,
    SAGA_STEPS,
    SAGAS,
    SagaRow,
    event_in,
    saga_in,
    step_in,
)
from hanse.kernel.faults import Fault, Overloaded
from hanse.kernel.tasks import Tasks
from hanse.node.saga_journal import SagaJournal, SagaLost, SagaPlace
from hanse.node.saga_mail import Mail
from hanse.node.saga_run import SagaRun
from hanse.service.leases import LeaseLost
from hanse.service.saga_method import Pinned
from hanse.store.base import CHANGES_MAX, Batch, Delete, Entry, Row
from hanse.store.query import PAGE_MAX, And, Compare, OneOf, Query, Where

_log = logging.getLogger("hanse.sagas")

SAGAS_MAX = 10_000
"""Sagas of one service that are worked on at once; more may begin, and wait for a place."""

SWEEP_SECONDS = 60.0
"""How often it looks for sagas that nobody told it of, and forgets what is old."""

LOOK_SECONDS = 0.05
"""How often a runner that stops looks whether all that it works on waits."""

FORGOTTEN_MAX = 500
"""Rows that are forgotten in one commit."""

Told = tuple[Mapping[tuple[str, int], Pinned], Callable[[str, SagaRow | None], None], float]
"""The code by name and version; whom to tell of a saga that is over, or worked on here no more; seconds to keep it."""


@final
class SagaRunner:
    """Works on the sagas of one service."""

    def __init__(self, place: SagaPlace, told: Told) -> None:
        self.name: str = f"sagas of {place.service}"
        self._place = place
        self._store = place.store
        self._host = place.host
        self._pinned, self._ended, self._retention = told
        self._mail = Mail()
        self._runs: dict[str, SagaRun | None] = {}
        self._tasks: Tasks | None = None
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._at = 0

    @property
    def idle(self) -> bool:
        """Whether every saga waits for a moment or an event."""
        return all(run is not None and run.idle for run in self._runs.values())

    def works_on(self, id: str) -> bool:
        """Whether a saga is worked on here."""
        return id in self._runs

    def take(self, row: SagaRow, *, fresh: bool = False) -> None:
        """Work on a saga, unless that is done already.

        Args:
            row: Its row.
            fresh: Whether it has just begun, so that nothing is known of it.
        """
        if self._tasks is None or self._stopping.is_set() or row.id in self._runs or len(self._runs) >= SAGAS_MAX:
            return  # the next sweep finds it
        self._runs[row.id] = None
        try:
            _ = self._tasks.start(self._work(row, fresh=fresh), name=f"saga {row.name} {row.id} is seen to")
        except Overloaded:
            del self._runs[row.id]

    async def run(self) -> None:
        """Work until `stop`."""
        stop_listening = self._store.listen(self._wake.set, names=(SAGAS, SAGA_EVENTS))
        try:
            async with Tasks(self._broke, limit=SAGAS_MAX + 1) as tasks:
                self._tasks = tasks
                while not await self._followed():
                    pass
                self._tasks = None
        finally:
            self._tasks = None
            self._over.set()
            stop_listening()
            for id in list(self._runs):
                self._ended(id, None)
            self._runs.clear()

    async def stop(self, grace: float) -> None:
        """Take up nothing new, and let what is under way go on within the grace; the rest is taken up elsewhere."""
        self._stopping.set()
        try:
            async with asyncio.timeout(grace):
                while not self.idle and not await pause(self._over, LOOK_SECONDS):
                    pass
        except TimeoutError:
            _log.warning("%d sagas were under way at the end of the grace; they go on elsewhere", len(self._runs))
        self._wake.set()

    async def _followed(self) -> bool:
        """Take up what there is and what comes, until the next sweep; whether it has to stop."""
        try:
            self._at = await self._store.head()
            async for row in self._rows(SAGA_EVENTS, None):
                self._mail.add(event_in(row))
            await self._sweep()
            until = self._host.monotonic() + SWEEP_SECONDS
            while (left := until - self._host.monotonic()) > 0:
                if self._stopping.is_set():
                    return True
                await self._tell_changes()
                try:
                    async with asyncio.timeout(left):
                        _ = await self._wake.wait()
                except TimeoutError:
                    break
                self._wake.clear()
        except LeaseLost:
            raise
        except Fault as fault:
            _log.warning("the %s cannot see their store: %s; they try again", self.name, fault)
            return await pause(self._stopping, 1.0)
        return self._stopping.is_set()

    async def _tell_changes(self) -> None:
        more = True
        while more:
            changes = await self._store.changes(self._at, limit=CHANGES_MAX, names=(SAGAS, SAGA_EVENTS))
            for entry in changes.entries:
                await self._look_at(entry)
            self._at, more = changes.upto, changes.more

    async def _look_at(self, entry: Entry) -> None:
        if entry.after is None:
            return
        row = Row(entry.id, entry.seq, entry.after)
        if entry.name == SAGA_EVENTS:
            self._mail.add(event_in(row))
            return
        saga = saga_in(row)
        if saga.state not in LIVE:
            return
        if entry.id not in self._runs:
            # The log tells of what was; it may be over by now.
            now = await self._store.load(SAGAS, entry.id)
            if now is None or (saga := saga_in(now)).state not in LIVE:
                return
        self._see_to(saga)

    def _see_to(self, saga: SagaRow) -> None:
        """Work on a saga that goes on, or have it turn back where somebody wants that of one that is worked on."""
        if saga.id not in self._runs:
            self.take(saga)
        elif saga.abort and (run := self._runs[saga.id]) is not None:
            run.abort()

    async def _work(self, row: SagaRow, *, fresh: bool) -> None:
        """See to a saga until it is over or stuck, however often its store is away."""
        tries, ended = 0, None
        try:
            while ended is None:
                try:
                    ended = await self._one_run(row, fresh=fresh)
                except SILENT as fault:
                    tries, fresh = tries + 1, False
                    _log.warning("the saga %s %s cannot go on: %s; it tries again", row.name, row.id, fault)
                    await asyncio.sleep(max(0.1, next_delay(tries, fault, self._host.chance.random())))
                    row = await self._read_again(row)
        except (SagaLost, LeaseLost) as lost:
            _log.info("the saga %s %s is not worked on here any more: %s", row.name, row.id, lost)
        finally:
            _ = self._runs.pop(row.id, None)
            self._ended(row.id, ended)

    async def _one_run(self, row: SagaRow, *, fresh: bool) -> SagaRow:
        journal = SagaJournal(row, self._place, fresh=fresh)
        run = SagaRun(journal, self._pinned.get((row.name, row.version)), self._mail)
        self._runs[row.id] = run
        ended = await run.run()
        if ended.state == "stuck":
            _log.error("the saga %s %s is stuck at %s: %s", row.name, row.id, ended.step or "its code", ended.why)
        return ended

    async def _read_again(self, row: SagaRow) -> SagaRow:
        found = await self._store.load(SAGAS, row.id)
        if found is None or (now := saga_in(found)).state not in LIVE:
            raise SagaLost
        return now

    async def _sweep(self) -> None:
        """Take up what is left by others, and forget what is old."""
        oldest = self._at
        async for row in self._rows(SAGAS, OneOf(("state",), (*LIVE, "stuck"))):
            saga = saga_in(row)
            oldest = min(oldest, oldest if saga.since == NEVER else saga.since)
            if saga.state in LIVE:
                self._see_to(saga)
        await self._forget([(SAGA_EVENTS, id) for id in self._mail.forget(oldest)])
        over = And((OneOf(("state",), ENDED), Compare("lt", ("ended_at",), self._host.now() - self._retention)))
        async for row in self._rows(SAGAS, over):
            of_saga = Compare("eq", ("saga",), row.id)
            steps = [(SAGA_STEPS, step_in(step).id) async for step in self._rows(SAGA_STEPS, of_saga)]
            await self._forget([*steps, (SAGAS, row.id)])

    async def _forget(self, rows: list[tuple[str, str]]) -> None:
        duty = self._place.duty
        expects = () if duty is None else (duty.rests_on,)
        for start in range(0, len(rows), FORGOTTEN_MAX):
            writes = tuple(Delete(name, id, self._host.new_id()) for name, id in rows[start : start + FORGOTTEN_MAX])
            _ = await self._store.commit(Batch(self._host.now(), writes=writes, expects=expects))

    async def _rows(self, collection: str, where: Where | None) -> AsyncIterator[Row]:
        cursor: str | None = None
        while True:
            found = await self._store.find(collection, Query(where, limit=PAGE_MAX, cursor=cursor))
            for row in found.rows:
                yield row
            cursor = found.next
            if cursor is None:
                return

    def _broke(self, error: BaseException) -> None:
        _log.error("the %s broke; the next sweep takes up what is left", self.name, exc_info=error)
