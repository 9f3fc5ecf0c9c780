"""Writes what is committed: all that waits in one transaction, one group after the other, on one connection.

A group is looked up, planned and written, in two statements and as many turns to the server; where nothing is to be
looked up, in one. The second statement takes effect if nobody else has committed since the first. If somebody has, the
group is planned anew while the store is locked for others, and so is the next one, until it turns out that nobody else
writes: so that several processes get their turns, and one alone needs no lock.

A connection that breaks while a group is under way leaves open whether that was committed. That is found out as soon as
the server is back: first the version of the store is raised, so that what may still be on its way is refused, and then
the number of this process's last commit is read. Only where the server stays away is whoever waits told that nobody
knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast, final

from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.store.base import Batch, CollectionSchema
from hanse.store.group import Group, Known, Outcome, Wanted
from hanse.store.postgresql.failures import is_again, is_lost, is_of_value, meaning
from hanse.store.postgresql.group import Author, Look, State, Writing
from hanse.store.postgresql.link import IDLE_SECONDS, Dialer, Link, hang_up
from hanse.store.postgresql.tables import Opened, schemas_in
from hanse.store.waiting import Waiting

TRIES_MAX = 8
"""Of one group, against others who write and connections that break."""

DECIDE_SECONDS = 5.0
"""For which the server has the time to come back, and to tell whether a group was committed."""

Heard = Callable[[Sequence[Batch], int], None]
"""Told of the batches of a transaction that wrote entries, and of the newest position since."""


@final
class Committer:
    """Commits of one process to one store.

    Attributes:
        waiting: Who wants something committed.
    """

    def __init__(self, dialer: Dialer, place: str, opened: Opened, host: Host, heard: Heard) -> None:
        """Have nothing to do yet.

        Args:
            dialer: Makes connections.
            place: The schema of the tables, quoted.
            opened: What is there.
            host: Its clock, and ids.
            heard: Told of what was committed.
        """
        self.waiting: Waiting = Waiting(self._apply)
        self._dialer = dialer
        self._place = place
        self._schemas = opened.schemas
        self._shape = opened.shape
        self._keyed: dict[str, Sequence[CollectionSchema]] = {name: (one,) for name, one in opened.schemas.items()}
        self._host = host
        self._heard = heard
        self._author = Author(host.new_id(), 0)
        self._link: Link | None = None
        self._state: State | None = None
        self._alone = True
        self._sent: Group | None = None

    def use(self, link: Link) -> None:
        """Begin with a connection that is there already."""
        self._link = link

    async def close(self, running: asyncio.Task[None] | None) -> None:
        """Finish what waits, and let go.

        Args:
            running: The task that runs `waiting.run`.
        """
        await self.waiting.close(running)
        link, self._link = self._link, None
        if link is not None:
            with suppress(Exception):
                # At worst it stays for a day.
                _ = await link.fetch(f"DELETE FROM {self._place}.writers WHERE id = $1", self._author.id)
            with suppress(Exception):
                await hang_up(link)

    async def _apply(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """What becomes of some batches; raises nothing but cancellation."""
        try:
            return await self._written(batches)
        except Exception as error:  # noqa: BLE001 - each waiter is told, and the next group is written
            if len(batches) > 1 and is_of_value(error):
                # One of them holds what cannot be stored. It must not take its neighbours along.
                return [outcome for batch in batches for outcome in await self._apply((batch,))]
            meant = meaning(error, self._dialer.place)
            return [meant for _ in batches]

    async def _written(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        for _ in range(TRIES_MAX):
            self._sent = None
            try:
                outcomes = await (self._attempt(batches) if self._alone else self._attempt_locked(batches))
            except Exception as error:  # noqa: BLE001 - it is raised again, unless it is known what became of the group
                outcomes = await self._after(error)
            if outcomes is not None:
                return outcomes
            self._alone = False
        raise Unavailable(f"the store {self._dialer.place} did nothing: {TRIES_MAX} tries came to nothing; try again")

    async def _after(self, error: Exception) -> Sequence[Outcome] | None:
        """What became of a group of which an error came back; None if it is to be tried again."""
        self._state = None
        if is_again(error):
            return None
        link = self._link
        if link is None or not (link.is_closed() or is_lost(error)):
            raise error
        link.terminate()
        self._link = None
        sent = self._sent
        if sent is None:
            return None
        return self._done(sent, None) if await self._took_effect(error) else None

    async def _attempt(self, batches: Sequence[Batch]) -> Sequence[Outcome] | None:
        """Plan a group and write it; None if somebody else wrote in between."""
        link = await self._ready()
        planned, state = await self._planned(link, batches)
        if planned.nothing:
            return self._done(planned, state)
        fault_point("store.before_commit")
        if not await self._write(link, planned, state):
            self._state = None
            return None
        fault_point("store.after_commit")
        return self._done(planned, State(planned.head, state.version + 1, state.shape))

    async def _attempt_locked(self, batches: Sequence[Batch]) -> Sequence[Outcome] | None:
        """The same, while nobody else can write."""
        link, known = await self._ready(), self._state
        self._state = None
        _ = await link.execute(
            f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'; "
            f"SELECT 1 FROM {self._place}.state FOR UPDATE"
        )
        try:
            planned, state = await self._planned(link, batches)
            # Nobody has written since this process did: there may be nobody else.
            self._alone = known is not None and known.version == state.version
            if planned.nothing or not await self._write(link, planned, state):
                _ = await link.execute("ROLLBACK")
                return self._done(planned, state)
            fault_point("store.before_commit")
            _ = await link.execute("COMMIT")
        except BaseException:
            if not link.is_closed():
                with suppress(Exception):
                    _ = await link.execute("ROLLBACK")
            raise
        fault_point("store.after_commit")
        return self._done(planned, State(planned.head, state.version + 1, state.shape))

    def _done(self, planned: Group, state: State | None) -> Sequence[Outcome]:
        self._state = state
        told = [batch for batch, one in planned.accepted if one.entries]
        if told:
            self._heard(told, planned.head)
        return planned.outcomes

    async def _ready(self) -> Link:
        if self._link is None or self._link.is_closed():
            self._link = None
            self._link = await self._dialer.dial()
        return self._link

    async def _planned(self, link: Link, batches: Sequence[Batch]) -> tuple[Group, State]:
        known, wanted = Known(self._schemas), Wanted.of(batches, self._schemas)
        state = self._state
        if state is None or not wanted.nothing:
            look = Look(wanted)
            statement = look.sql(self._place)
            state = look.read(await link.fetch(statement.text, *statement.values), known)
        if state.shape != self._shape:
            await self._look_at_collections(link, state.shape)
        group = Group(known, state.head)
        group.plan(batches)
        return group, state

    async def _look_at_collections(self, link: Link, shape: int) -> None:
        """Another version of this service shares the store: rows get the keys that its queries compare, as well."""
        others: Mapping[str, CollectionSchema] = await schemas_in(link, self._place)
        self._keyed = {
            name: (schema,) if (other := others.get(name, schema)) == schema else (other, schema)
            for name, schema in self._schemas.items()
        }
        self._shape = shape

    async def _write(self, link: Link, planned: Group, state: State) -> bool:
        """Write it; whether it took effect."""
        self._author = Author(self._author.id, self._author.number + 1)
        writing = Writing(self._place, state, self._author, planned.head)
        writing.rows(planned.rows, self._keyed)
        writing.batches(planned.accepted)
        statement = writing.sql()
        self._sent = planned
        return bool(await link.fetch(statement.text, *statement.values))

    async def _took_effect(self, error: Exception) -> bool:
        """Whether the group that was sent last was committed.

        Raises:
            Unavailable: The server stays away.
        """
        until = self._host.monotonic() + DECIDE_SECONDS
        while self._host.monotonic() < until:
            try:
                link = await self._ready()
                _ = await link.execute(f"UPDATE {self._place}.state SET version = version + 1")
                found = await link.fetch(f"SELECT last FROM {self._place}.writers WHERE id = $1", self._author.id)
                return bool(found) and cast("int", found[0][0]) == self._author.number
            except Exception as again:  # noqa: BLE001 - the server is not back yet
                if isinstance(again, Unavailable):
                    await asyncio.sleep(max(self._dialer.pause(), 0.01))
                elif self._link is not None:
                    self._link.terminate()
        raise Unavailable(
            f"the store {self._dialer.place} went away amid a commit ({error}), and it is not known whether that took "
            "effect; a repeat with the same idempotency key or mark is safe"
        ) from error
