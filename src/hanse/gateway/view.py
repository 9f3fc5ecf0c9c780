"""A view: what a feed tells, as many see it; one feed, however many follow it.

The shell round `handover`: reads the feed, writes what it tells to all readers who are level in one go, and what others
miss to each of them as fast as it takes it. What comes within one turn of the loop goes out together; where a round
takes long, the next one waits for as long, so that under load rounds get larger instead of more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol

import msgspec

from hanse.gateway.feeds import Feed
from hanse.gateway.handover import Budget, Handover
from hanse.gateway.limits import Limits
from hanse.gateway.outlet import Outlet
from hanse.gateway.place import Place, place_of
from hanse.gateway.told import Framing, Resumption, Told, together
from hanse.kernel.faults import Fault, Unavailable, UnknownOperation
from hanse.kernel.tasks import Tasks
from hanse.node.node import Node
from hanse.service.rows import Line

ROUND_BYTES = 256 * 1024
"""Told to everybody in one go; then who does not take it is left out."""

PIECE_BYTES = 64 * 1024
"""Told in one go to a reader that is behind."""

ROUND_SECONDS_MAX = 0.02
"""Between two rounds, under load."""

TRY_SECONDS, TRY_SECONDS_MAX = 0.05, 2.0
"""Before a feed that broke is opened again: at first, and at most; each try doubles it."""

AWAY_SECONDS_MAX = 30.0
"""That a feed may be away before readers are told."""


ENDED = "this feed has ended; come back and resume"

SERVING = frozenset({"ready", "draining"})


class Reader(Hashable, Protocol):
    """Somebody who follows a view."""

    @property
    def outlet(self) -> Outlet:
        """The way out to it, once it has begun."""
        ...

    @property
    def group(self) -> Framing:
        """How it is told."""
        ...

    async def begin(self) -> None:
        """Get ready to be told something; the answer begins now, if it has not."""

    def fell(self) -> None:
        """It was too slow, and has left: it has to come again, and resume."""

    def failed(self, fault: Fault) -> None:
        """The view is over, and so is its part in it."""


class Shared(msgspec.Struct, frozen=True):
    """What all views of a gateway have in common."""

    node: Node
    limits: Limits
    budget: Budget
    tasks: Tasks


class View:
    """See the module; whoever makes one has it `run`.

    Attributes:
        over: Why it has ended; None while it goes on.
        empty_since: Since when it has had no reader; None while it has some.
    """

    def __init__(self, feed: Feed, shared: Shared) -> None:
        self.over: Fault | None = None
        self._feed = feed
        self._node = shared.node
        self._tasks = shared.tasks
        self._now: Callable[[], float] = shared.node.host.monotonic
        self.empty_since: float | None = self._now()
        limits = shared.limits
        self._handover: Handover[Framing, Reader, Told] = Handover(
            lambda reader: reader.group, limits.view_changes, limits.view_bytes, shared.budget
        )
        self._resumption = Resumption(resumable=False)
        self._cursor = ""
        self._stale = False  # whether somebody may be at another cursor than the view's
        self._up = False
        self._away_since: float | None = None
        self._known = asyncio.Event()
        self._round: asyncio.Handle | None = None
        self._not_before = 0.0
        self._waiting = 0
        self._wrote = self._now()
        self._moving: dict[Reader, asyncio.Task[None]] = {}

    # Readers.

    def reserve(self) -> None:
        """Somebody is about to come."""
        if self.empty_since is not None:
            self.empty_since = self._now()

    async def admit(self, reader: Reader, after: str, *, snapshot: bool) -> None:
        """Bring a reader to where it is told together with all others: from a cursor, a snapshot, or now on.

        What it misses it reads by itself, as fast as it takes it; then it joins. Call `leave` when it goes.

        Args:
            reader: Whom.
            after: The cursor that it goes on from; empty for none.
            snapshot: Whether it gets the rows that are there, where it has no cursor.

        Raises:
            Fault: The feed failed.
        """
        self._waiting += 1
        self.empty_since = None
        try:
            tries = epoch = 0
            while not await self._joins(reader, after, epoch):
                if tries:
                    await asyncio.sleep(min(TRY_SECONDS * 2**tries, TRY_SECONDS_MAX))
                tries += 1
                epoch = self._handover.epoch
                after = await self._read(reader, after, snapshot=snapshot)
        finally:
            self._waiting -= 1
            self._note_empty()
        self.serve(reader)

    async def _joins(self, reader: Reader, after: str, epoch: int) -> bool:
        _ = await self._known.wait()
        if self.over is not None:
            raise self.over
        if not after:
            return False
        at = place_of(after)
        if not self._handover.may_join(at, epoch):
            return False
        await reader.begin()
        self._stale = self._stale or at != self._handover.place
        return self._handover.join(reader, at, epoch)

    async def _read(self, reader: Reader, after: str, *, snapshot: bool) -> str:
        """Tell a reader what it misses by a feed of its own; the cursor after it."""
        resumed = bool(after)
        resumption = Resumption(resumable=resumed)
        async with self._feed.followed(after, snapshot=snapshot) as lines:
            async for line in lines:
                told = Told(line, resumable=resumption.moves(line))
                resumed = resumed and line.event != "reset"
                if line.event != "ready" or not resumed:
                    await reader.begin()
                    await reader.outlet.room()
                    reader.outlet.write(told.encoded(reader.group))
                if line.event == "ready":
                    return line.cursor
        raise Unavailable(ENDED)

    def serve(self, reader: Reader) -> None:
        """Tell a reader that is behind what it misses, as far as it takes it."""
        while not reader.outlet.full and (due := self._handover.due(reader, PIECE_BYTES)):
            told = [one if own is None else one.at(own.cursor) for one, own in due]
            reader.outlet.write(together(told, reader.group))

    def rest(self, reader: Reader) -> None:
        """A reader takes nothing for now."""
        self._handover.rest(reader)

    def leave(self, reader: Reader) -> None:
        """A reader has gone."""
        self._handover.leave(reader)
        if (task := self._moving.pop(reader, None)) is not None:
            _ = task.cancel()
        self._note_empty()

    def _note_empty(self) -> None:
        if not self._waiting and not self._moving and not self._handover and self.empty_since is None:
            self.empty_since = self._now()

    async def _move(self, reader: Reader, after: str) -> None:
        """Admit a reader again, that has been told more than the feed goes on from."""
        try:
            await self.admit(reader, after, snapshot=True)
        except Fault as fault:
            reader.failed(fault)
        finally:
            _ = self._moving.pop(reader, None)

    # The feed.

    async def run(self) -> None:
        """Read the feed until the view is cancelled, or the feed is away for too long."""
        fault: Fault = Unavailable(ENDED)
        try:
            with self._node.context():
                await self._go_on()
        except Fault as error:
            fault = error
        finally:
            self._end(fault)

    def _end(self, fault: Fault) -> None:
        self.over = fault
        self._known.set()
        if self._round is not None:
            self._round.cancel()
        for reader, task in list(self._moving.items()):
            _ = task.cancel()
            reader.failed(fault)
        for reader in list(self._handover):
            self._handover.leave(reader)
            reader.failed(fault)
        self._handover.close()

    async def _go_on(self) -> None:
        tries = 0
        while True:
            self._up = False
            try:
                await self._follow()
                fault: Fault = Unavailable(ENDED)
            except Fault as error:
                fault = error
            tries = 0 if self._up else tries + 1
            if not self._may_wait(fault):
                raise fault
            chance = self._node.host.chance.uniform(0.5, 1.0)
            await asyncio.sleep(chance * min(TRY_SECONDS * 2**tries, TRY_SECONDS_MAX))

    def _may_wait(self, fault: Fault) -> bool:
        """Whether a feed that broke may be opened again without telling the readers."""
        now = self._now()
        if self._up or self._away_since is None:
            self._away_since = now
        # Whoever served it once is part of the app: what is unknown now is not there at the moment.
        passing = fault.retryable or isinstance(fault, UnknownOperation)
        hopeful = self._known.is_set() and passing and self._node.state in SERVING
        return hopeful and now - self._away_since <= AWAY_SECONDS_MAX

    async def _follow(self) -> None:
        known = self._known.is_set()
        if known and not self._cursor:  # it broke amid a snapshot
            self._hear(Line("reset"))
        async with self._feed.followed(self._cursor, snapshot=known) as lines:
            async for line in lines:
                if not self._up:
                    self._opened()
                self._hear(line)

    def _opened(self) -> None:
        self._up = True
        for reader, place in self._handover.opened():
            self._moving[reader] = self._tasks.start(self._move(reader, place.cursor))

    def _hear(self, line: Line) -> None:
        resumable = self._resumption.moves(line)
        self._cursor = line.cursor if resumable and line.cursor else "" if line.event == "reset" else self._cursor
        if line.event == "ready":
            self._arrive(line)
            return
        if line.event == "reset":
            self._handover.lost()
        self._tell(line, place_of(line.cursor) if line.cursor else None, resumable=resumable)

    def _arrive(self, line: Line) -> None:
        place = place_of(line.cursor)
        if self._handover.place is not None:
            self._stale = True
            self._handover.passed(place)
            return
        if self._known.is_set():
            self._tell(line, None, resumable=True)
        self._handover.arrived(place)
        self._known.set()

    def _tell(self, line: Line, place: Place | None, *, resumable: bool) -> None:
        for reader in self._handover.told(Told(line, resumable=resumable), place):
            reader.fell()
        if self._round is None:
            self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._not_before - self._now()
        self._round = loop.call_soon(self._out) if wait <= 0 else loop.call_later(wait, self._out)

    def _out(self) -> None:
        """A round: tell everybody what has come since the last."""
        began = self._wrote = self._now()
        while told := self._handover.out(ROUND_BYTES):
            for framing, readers in list(self._handover.level.items()):
                data = together(told, framing)
                for reader in list(readers):
                    reader.outlet.write(data)
        for reader in self._handover.late():
            self.serve(reader)
        for reader in self._handover.trim():
            reader.fell()
        # The bytes leave at the end of this turn of the loop: only the next one knows how long that took.
        self._round = asyncio.get_running_loop().call_soon(self._was_out, began)

    def _was_out(self, began: float) -> None:
        now = self._now()
        self._not_before = now + min(now - began, ROUND_SECONDS_MAX)
        self._round = None
        if self._handover.pending:
            self._schedule()

    def beat(self, now: float, seconds: float) -> None:
        """Give a sign of life to all who wait, where nothing was told for so many seconds.

        Where the logs have gone on, it carries the cursor: so nobody falls behind what is kept for want of news.
        """
        if now - self._wrote < seconds or self._handover.pending:
            return
        self._wrote = now
        place = self._handover.place
        cursor = place.cursor if self._stale and place is not None else ""
        self._stale = False
        for framing, readers in list(self._handover.level.items()):
            if beat := framing.beat(cursor):
                for reader in list(readers):
                    reader.outlet.write(beat)
        for reader, own in self._handover.ahead():
            if beat := reader.group.beat(own.cursor):
                reader.outlet.write(beat)
