"""Works on the sagas of one service while this node has the duty: takes up what is begun, and what others left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
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
    SagaEvent,
    SagaRow,
    event_in,
    saga_in,
    step_in,
)
from hanse.kernel.faults import Fault, Overloaded
from hanse.kernel.settings import NodeSettings
from hanse.kernel.tasks import Tasks
from hanse.node.saga_journal import SagaJournal, SagaLost, SagaPlace
from hanse.node.saga_mail import Mail
from hanse.node.saga_rest import AtRest, Rest, Resting
from hanse.node.saga_run import SagaRun
from hanse.service.leases import LeaseLost
from hanse.service.saga_method import Pinned
from hanse.store.base import CHANGES_MAX, Batch, Delete, Entry, Row
from hanse.store.query import PAGE_MAX, And, Compare, OneOf, Query, Where

_log = logging.getLogger("hanse.sagas")

SAGAS_MAX = 10_000
"""Sagas of one service that are worked on at once; more may begin, and wait for a place."""

RESTING_MAX = 1_000_000
"""Sagas that rest. At the limit no more are put to rest."""

READING_MAX = 64
"""Journals that are read at once, where many sagas are taken up."""

TIDY_SECONDS = 1.0
"""How often it puts sagas to rest; only those rest that waited this long."""

SWEEP_SECONDS = 60.0
"""How often it looks for sagas that nobody told it of, and forgets what is old."""

SWEEP_SHARE = 0.02
"""Part of the time that it may take to look: where there is much to look at, it looks less often."""

LOOK_SECONDS = 0.05
"""How often a runner that stops looks whether all that it works on waits."""

FORGOTTEN_MAX = 500
"""Rows that are forgotten in one commit."""

Ended = Callable[[str, SagaRow | None], None]
"""Is told of a saga that is over, by its row, or worked on here no more."""


@final
class SagaRunner:
    """Works on the sagas of one service."""

    def __init__(
        self, place: SagaPlace, pinned: Mapping[tuple[str, int], Pinned], ended: Ended, settings: NodeSettings
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            place: Where they are worked on.
            pinned: The code, by name and version.
            ended: Is told of a saga that is over, or worked on here no more.
            settings: How long those which are over are kept, and how many that wait are in memory.
        """
        self.name: str = f"sagas of {place.service}"
        self._place = place
        self._store = place.store
        self._host = place.host
        self._pinned = pinned
        self._ended = ended
        self._settings = settings
        self._mail = Mail()
        self._runs: dict[str, SagaRun | None] = {}
        self._resting = Resting()
        # Of those that are about to rest; those that only waited a moment ago; whether somebody found no place.
        self._rests: dict[str, Rest] = {}
        self._waited: set[str] = set()
        self._full = False
        self._reading = asyncio.Semaphore(READING_MAX)
        self._tasks: Tasks | None = None
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._at = 0

    @property
    def idle(self) -> bool:
        """Whether every saga waits for a moment or an event."""
        return all(run is not None and run.idle for run in self._runs.values())

    @property
    def resting(self) -> int:
        """How many sagas only wait, and are not in memory."""
        return len(self._resting)

    def works_on(self, id: str) -> bool:
        """Whether a saga is worked on here, or rests."""
        return id in self._runs or id in self._resting

    def take(self, row: SagaRow, *, fresh: bool = False) -> None:
        """Work on a saga, unless that is done already.

        Args:
            row: Its row.
            fresh: Whether it has just begun, so that nothing is known of it.
        """
        if self._tasks is None or self._stopping.is_set() or self.works_on(row.id):
            return
        if len(self._runs) >= SAGAS_MAX:
            self._full = True
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
                _ = tasks.start(self._tidy(), name=f"{self.name} are put to rest")
                while not await self._followed():
                    pass
                self._tasks = None
        finally:
            self._tasks = None
            self._over.set()
            stop_listening()
            for id in (*self._runs, *self._resting):
                self._ended(id, None)
            self._runs.clear()
            self._resting.clear()

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
        """Take up what there is and what comes, for as long as the store can be seen; whether it has to stop."""
        try:
            await self._read_mail()
            while not self._stopping.is_set():
                begun = self._host.monotonic()
                await self._sweep()
                swept = self._host.monotonic()
                await self._follow(swept + max(SWEEP_SECONDS, (swept - begun) / SWEEP_SHARE))
        except LeaseLost:
            raise
        except Fault as fault:
            _log.warning("the %s cannot see their store: %s; they try again", self.name, fault)
            return await pause(self._stopping, 1.0)
        return True

    async def _read_mail(self) -> None:
        """Learn what has come; what comes from now on, the log tells."""
        self._at = await self._store.head()
        events = [event_in(row) async for row in self._rows(SAGA_EVENTS, None)]
        for event in sorted(events, key=lambda event: event.rev):
            self._deliver(event)

    async def _follow(self, until: float) -> None:
        """Take up what comes, until a moment, or sooner where others wait for a place that is free now."""
        while (left := until - self._host.monotonic()) > 0 and not self._stopping.is_set():
            await self._tell_changes()
            while (id := self._resting.due(self._host.now())) is not None:
                await self._rouse(id)
            if self._full and len(self._runs) < SAGAS_MAX:
                return
            if (moment := self._resting.next) is not None:
                left = min(left, max(0.001, moment - self._host.now()))
            _ = await pause(self._wake, left)
            self._wake.clear()

    async def _tell_changes(self) -> None:
        more = True
        while more:
            changes = await self._store.changes(self._at, limit=CHANGES_MAX, names=(SAGAS, SAGA_EVENTS))
            if changes.trimmed:
                await self._read_mail()
                return
            for entry in changes.entries:
                await self._look_at(entry)
            self._at, more = changes.upto, changes.more

    async def _look_at(self, entry: Entry) -> None:
        if entry.after is None:
            return
        row = Row(entry.id, entry.seq, entry.after)
        if entry.name == SAGA_EVENTS:
            self._deliver(event_in(row))
        elif (saga := saga_in(row)).state in LIVE and not self._knows(saga):
            await self._rouse(entry.id)

    def _deliver(self, event: SagaEvent) -> None:
        for id in self._mail.add(event):
            if id in self._resting:
                self._resting.hurry(id)

    def _knows(self, saga: SagaRow) -> bool:
        """Whether a saga that goes on is worked on here, or rests; it is told of what was written of it."""
        if saga.id in self._resting:
            if not self._resting.knows(saga.id, saga.rev):
                self._resting.hurry(saga.id)
            return True
        if (rest := self._rests.get(saga.id)) is not None and rest.rev < saga.rev:
            self._rests[saga.id] = replace(rest, until=0.0)
        if saga.abort and (run := self._runs.get(saga.id)) is not None:
            run.abort()
        return saga.id in self._runs

    async def _rouse(self, id: str) -> None:
        """Work on a saga that rested, or that the log tells of, as it is now: it may be over."""
        found = await self._store.load(SAGAS, id)
        self._resting.end(id)
        if found is not None and (saga := saga_in(found)).state in LIVE:
            self.take(saga)

    async def _tidy(self) -> None:
        """Put to rest what only waits, where there is too much of it."""
        while not await pause(self._stopping, TIDY_SECONDS):
            waits = {id: run for id, run in self._runs.items() if run is not None and run.idle}
            surplus = min(len(self._runs) - self._settings.sagas_awake, RESTING_MAX - len(self._resting))
            for id in [id for id in waits if id in self._waited][: max(0, surplus)]:
                self._rests[id] = waits[id].rest()
            self._waited = set(waits)

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
        except AtRest:
            self._lay_down(row.id)
        except (SagaLost, LeaseLost) as lost:
            _log.info("the saga %s %s is not worked on here any more: %s", row.name, row.id, lost)
        finally:
            _ = self._runs.pop(row.id, None)
            if (rest := self._rests.pop(row.id, None)) is not None:
                rest.close()
            if row.id not in self._resting:
                self._ended(row.id, ended)

    def _lay_down(self, id: str) -> None:
        """Have a saga rest whose run was given up; what came meanwhile wakes it at once."""
        rest = self._rests.pop(id)
        self._resting.add(id, rest)
        if rest.stirred:
            self._resting.hurry(id)
        self._wake.set()

    async def _one_run(self, row: SagaRow, *, fresh: bool) -> SagaRow:
        journal = SagaJournal(row, self._place, fresh=fresh)
        async with self._reading:
            await journal.open()
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
        oldest, self._full = self._at, False
        async for row in self._rows(SAGAS, OneOf(("state",), (*LIVE, "stuck"))):
            saga = saga_in(row)
            oldest = min(oldest, oldest if saga.since == NEVER else saga.since)
            if saga.state in LIVE and not self._knows(saga):
                self.take(saga)
        await self._forget([(SAGA_EVENTS, id) for id in self._mail.forget(oldest)])
        over = And(
            (OneOf(("state",), ENDED), Compare("lt", ("ended_at",), self._host.now() - self._settings.retention))
        )
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
