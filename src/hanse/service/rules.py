"""Runs a rule: level-triggered, so that what counts is what the rows are, not what anybody said of them.

A feed tells at once which rows changed; a sweep finds every row that matches, however it was missed. Both only name
rows. What is done with one is decided by what it is when its turn comes: it is leased, read again, and the method runs
if it still matches. So a lost or repeated message changes nothing, and a rule that was down catches up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar, cast, final

from hanse.contract.model import Resource, collection_of
from hanse.kernel.context import current
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, DeadlineExceeded, NotFound, PreconditionFailed
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.kernel.tasks import Tasks
from hanse.service.agenda import LANE_WAITING_MAX, Agenda, rest_after
from hanse.service.change import Created, Existing, Followed, Reset, Updated
from hanse.service.collection import Collection
from hanse.service.held import Held, Lease, Leases
from hanse.service.reaction import Rule
from hanse.service.shape import schema_of, shape_of
from hanse.service.unit import Unit
from hanse.store.evaluate import predicate
from hanse.store.query import PAGE_MAX, And, Compare, Order, Path, Where

R = TypeVar("R", bound=Resource)
Call = Callable[[], Awaitable[None]]
Run = Callable[[Call], Awaitable[None]]

_log = logging.getLogger("hanse.rules")

WAITING_MAX = 10_000
"""Rows that wait for one rule at once; past it, feed and sweep wait as well."""

RACES_MAX = 2
"""Races in a row that a rule may lose over one row without an error in the log: more is no chance."""

GRACE_SECONDS = 10.0
"""How long a rule that stops waits for what is under way."""


@dataclass(frozen=True, slots=True)
class RuleJob(Generic[R]):
    """A rule as a node has it.

    Attributes:
        name: Such as `service.method`; first part of the leases' names.
        rule: What the decorator said.
        rows: The collection, here or elsewhere.
        method: The method of the service.
    """

    name: str
    rule: Rule
    rows: Collection[R]
    method: Callable[[Held[R]], Awaitable[None]]


@final
class RuleRunner(Generic[R]):
    """Runs one rule on one node.

    Example:
        >>> async def main(job: RuleJob[R], run: Run, leases: Leases, tasks: Tasks) -> None:
        ...     runner = RuleRunner(job, run, leases=leases, host=Host.system())
        ...     tasks.start(runner.run())
        ...     await runner.stop()
    """

    def __init__(
        self,
        job: RuleJob[R],
        run: Run,
        *,
        leases: Leases,
        host: Host,
        waiting_max: int = WAITING_MAX,
        on_duty: Callable[[], bool] = lambda: True,
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            job: What to do.
            run: Makes a context and a unit of work around what it is given, awaits it, and commits.
            leases: Who holds which rows; shared by all that run the same rule.
            host: Clocks and chance.
            waiting_max: Rows that wait at once.
            on_duty: Whether this instance of the service is still the one that runs the rule.
        """
        self.name: str = job.name
        self.failures: int = 0
        """Runs of the method that failed."""
        self._job = job
        self._run = run
        self._leases = leases
        self._host = host
        self._on_duty = on_duty
        self._matches = _matcher(job.rule)
        rule = job.rule
        self._agenda = Agenda(concurrency=rule.concurrency, limit=waiting_max, lane_concurrency=rule.per_concurrency)
        self._at = _reader(rule.kind, rule.at)
        self._lane = _reader(rule.kind, rule.per)
        self._tasks = Tasks(self._broke)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = asyncio.Event()
        self._grace = GRACE_SECONDS
        self._running = False
        self._stopping = False

    @property
    def idle(self) -> bool:
        """Whether no row waits, is worked on, or rests after a failure."""
        return self._agenda.idle

    async def run(self) -> None:
        """Work until `stop`; run it once, as a task of whoever owns the runner."""
        self._running = True
        try:
            async with Tasks(self._broke) as finders, self._tasks:
                finders.start(self._follow(), name=f"rule {self.name} follows")
                finders.start(self._sweep(), name=f"rule {self.name} sweeps")
                await self._work()
                await finders.cancel()
                await self._tasks.wait(self._grace)
        finally:
            self._ended.set()

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Begin no more rows, and wait up to `grace` seconds for those under way; then they are cancelled."""
        self._grace = grace
        self._stopping = True
        self._wake.set()
        if self._running:
            await self._ended.wait()

    async def _follow(self) -> None:
        """Offer each row that is there or changes, for ever; from where it was after the feed broke."""
        cursor: str | None = None
        failures = 0
        while True:
            told = False
            items = cast("AsyncGenerator[Followed[R], None]", self._job.rows.follow(self._job.rule.where, after=cursor))
            try:
                async with aclosing(items):
                    async for item in items:
                        told, failures = True, 0
                        cursor = cursor if isinstance(item, (Existing, Reset)) else item.cursor
                        await self._offer_of(item)
            except Exception as error:  # noqa: BLE001 - whatever is in the way of the owner, it is asked again
                _log.warning("the rule %s lost its feed: %s; it asks again", self.name, error)
            failures += 1
            # A cursor that leads nowhere is not tried again: then the feed begins anew, with all rows.
            cursor = cursor if told else None
            await asyncio.sleep(rest_after(failures, self._host.chance.random()))

    async def _offer_of(self, item: Followed[R]) -> None:
        match item:
            case Existing(value=row) | Created(after=row) | Updated(after=row):
                await self._offer(row, row.rev)
            case _:
                pass

    async def _sweep(self) -> None:
        """Offer every row that matches, so often; the feed begins with all of them, so the first waits its time."""
        while True:
            await asyncio.sleep(self._job.rule.every)
            try:
                await self._sweep_once()
            except Exception as error:  # noqa: BLE001 - the next sweep is the remedy
                _log.warning("the rule %s could not sweep: %s; it will with the next", self.name, error)

    async def _sweep_once(self) -> None:
        """Offer what is due before the next sweep; the rest is left to later ones."""
        cursor: str | None = None
        where = self._due_by(self._host.now() + self._job.rule.every)
        while True:
            page = await self._job.rows.find(where, limit=PAGE_MAX, cursor=cursor)
            for row in page.items:
                await self._offer(row, 0)
            cursor = page.next
            if cursor is None:
                return

    async def _refill(self, lane: str) -> None:
        """Offer rows of a lane that had more than could be remembered, those that are due for longest first."""
        rule = self._job.rule
        assert rule.per is not None
        of_lane = Compare("eq", rule.per, lane)
        due = self._due_by(self._host.now())
        where = of_lane if due is None else And((of_lane, due))
        sort = None if rule.at is None else _by(rule.at)
        try:
            page = await self._job.rows.find(
                where, sort=sort, limit=min(PAGE_MAX, LANE_WAITING_MAX + rule.per_concurrency)
            )
        except Exception as error:  # noqa: BLE001 - the next sweep is the remedy
            _log.warning("the rule %s could not look for more: %s; the next sweep will", self.name, error)
            return
        known = self._agenda.waits_in(lane)
        for row in page.items:
            await self._offer(row, 0)
        # Where all of them were known, or rest, to look again at once would find the same.
        if page.next is not None and self._agenda.waits_in(lane) > known:
            self._agenda.more_of(lane)

    def _due_by(self, second: float) -> Where | None:
        where, at = self._job.rule.where, self._job.rule.at
        if at is None:
            return where
        due = Compare("le", at, second)
        return due if where is None else And((where, due))

    async def _offer(self, row: Resource, rev: int) -> None:
        while self._agenda.full:
            self._room.clear()
            await self._room.wait()
        self._plan(row, rev)
        self._wake.set()

    def _plan(self, row: Resource, rev: int) -> None:
        """Have a row looked at: now or, where it says so, later. What is due after the next sweep is left to that."""
        lane = "" if self._lane is None else str(self._lane(row))
        wait = self._wait_of(row)
        if wait <= 0.0:
            self._agenda.offer(row.id, rev, lane)
        elif wait <= self._job.rule.every:
            self._agenda.plan(row.id, self._host.monotonic() + wait, rev, lane)

    def _wait_of(self, row: Resource) -> float:
        """Seconds until a row wants to be looked at; nothing and less for now."""
        return 0.0 if self._at is None else cast("float", self._at(row)) - self._host.now()

    async def _work(self) -> None:
        while not self._stopping:
            id = self._agenda.take(self._host.monotonic())
            if id is None:
                await self._rest()
            else:
                self._room.set()
                self._tasks.start(self._look_at(id), name=f"rule {self.name} holds {id}")
            if (lane := self._agenda.wanting()) is not None:
                self._tasks.start(self._refill(lane), name=f"rule {self.name} looks for more of {lane}")

    async def _rest(self) -> None:
        """Wait until there may be something to do."""
        self._wake.clear()
        due = self._agenda.due()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(TICK_SECONDS, due - self._host.monotonic())):
                await self._wake.wait()

    async def _look_at(self, id: str) -> None:
        """Have the method run for a row, if nobody holds it and it matches."""
        seconds = self._job.rule.lease
        now = self._host.monotonic()
        lease = self._leases.acquire(f"{self.name}/{id}", now=now, seconds=seconds)
        if lease is None:
            self._agenda.rest(id, now + seconds)
        else:
            fault_point("rule.leased")
            timer = asyncio.timeout(seconds)
            try:
                async with timer:
                    left = await self._hold(id, lease)
                self._agenda.done(id, 0 if left is None else left.rev)
                if left is not None and self._wait_of(left) > 0.0 and self._matches(left):
                    self._plan(left, 0)
            except Exception as error:  # noqa: BLE001 - whatever the method raises, its row is looked at again
                self._fail(id, DeadlineExceeded(f"the rule {self.name}") if timer.expired() else error)
            finally:
                self._leases.release(lease)
        self._wake.set()

    async def _hold(self, id: str, lease: Lease) -> Resource | None:
        """Run the method for a row that it holds; the row as it is left, None where there is nothing to do about it."""
        try:
            row = await self._job.rows.get(id)
        except NotFound:
            return None
        if not self._matches(row):
            return None
        if self._wait_of(row) > 0.0:
            return row
        held = Held(row, self._job.rows, lambda: self._holds(lease))

        left: list[Resource] = []

        async def call() -> None:
            await self._job.method(held)
            # What it wrote commits next: too late is too late, even if nobody noticed.
            held.check()
            left.append(self._staged(id) or held.value)

        fault_point("rule.before_run")
        await self._run(call)
        fault_point("rule.after_commit")
        # The commit gave the row that it wrote its revision.
        return left[0]

    def _holds(self, lease: Lease) -> bool:
        return self._on_duty() and self._leases.holds(lease, now=self._host.monotonic())

    def _staged(self, id: str) -> Resource | None:
        """The row as the method wrote it, whether through its `Held` or not."""
        work = current().work
        staged = work.staged(collection_of(self._job.rule.kind), id) if isinstance(work, Unit) else None
        return None if staged is None else staged.value

    def _fail(self, id: str, error: Exception) -> None:
        self.failures += 1
        before = self._agenda.failures(id)
        rest = self._agenda.failed(id, self._host.monotonic(), self._host.chance.random())
        if isinstance(error, (Conflict, PreconditionFailed)) and before < RACES_MAX:
            # The expected way of two who want the same row: whoever was second looks again.
            _log.info("%s looks at %s again: somebody changed it meanwhile (%s)", self.name, id, error)
            return
        _log.error("the rule %s failed for %s; it tries again in %.1f s", self.name, id, rest, exc_info=error)

    def _broke(self, error: BaseException) -> None:
        _log.error("the rule %s broke", self.name, exc_info=error)


def _matcher(rule: Rule) -> Callable[[Resource], bool]:
    if rule.where is None:
        return lambda row: True  # noqa: ARG005 - a test takes a row
    test = predicate(rule.where, schema_of(rule.kind))
    plain = shape_of(rule.kind).plain
    return lambda row: test(plain(row))


def _reader(kind: type[Resource], path: Path | None) -> Callable[[Resource], object] | None:
    """Reads the field that JSON has under a name."""
    if path is None:
        return None
    names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    return attrgetter(".".join((names[path[0]], *path[1:])))


def _by(path: Path) -> Callable[[Resource], object]:
    return lambda _: Order(path)
