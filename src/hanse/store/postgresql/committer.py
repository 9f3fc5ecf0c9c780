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

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import cast, final

from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Unavailable
from hanse.store.base import Batch, CollectionSchema
from hanse.store.group import Group, Known, Outcome, Wanted
from hanse.store.postgresql.failures import is_again, is_lost, is_of_value, meaning
from hanse.store.postgresql.group import Author, Look, State, Writing
from hanse.store.postgresql.link import IDLE_SECONDS, Dialer, Link, hang_up
from hanse.store.postgresql.tables import Opened, schemas_in
from hanse.store.remote.commits import Errors, Heard, applied, found_out
from hanse.store.row_keys import keyed_for

TRIES_MAX = 8
"""Of one group, against others who write and connections that break."""

_ERRORS = Errors(is_of_value, meaning)


@final
class Committer:
    """What commits the groups of one process to one store."""

    def __init__(self, dialer: Dialer, place: str, opened: Opened, heard: Heard) -> None:
        """Have nothing to do yet.

        Args:
            dialer: Makes connections.
            place: The schema of the tables, quoted.
            opened: What is there.
            heard: Told of what was committed.
        """
        self._dialer = dialer
        self._place = place
        self._schemas = opened.schemas
        self._shape = opened.shape
        self._keyed: Mapping[str, Sequence[CollectionSchema]] = keyed_for(opened.schemas, opened.schemas)
        self._heard = heard
        self._author = Author(dialer.reach.host.new_id(), 0)
        self._link: Link | None = None
        self._state: State | None = None
        self._alone = True
        self._sent: Group | None = None

    def use(self, link: Link) -> None:
        """Begin with a connection that is there already."""
        self._link = link

    async def leave(self) -> None:
        """Write no more, and let go."""
        link, self._link = self._link, None
        if link is not None:
            with suppress(Exception):
                # At worst it stays for a day.
                _ = await link.fetch(f"DELETE FROM {self._place}.writers WHERE id = $1", self._author.id)
            with suppress(Exception):
                await hang_up(link)

    async def apply(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """What becomes of some batches; raises nothing but cancellation."""
        return await applied(batches, self._written, _ERRORS, self._dialer.place)

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
        took_effect = await found_out(self._took_effect, self._dialer.reach, error)
        return self._done(sent, None) if took_effect else None

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
                return self._done(planned, state) if planned.nothing else None
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
        if told := planned.told:
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
        self._keyed = keyed_for(self._schemas, await schemas_in(link, self._place))
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

    async def _took_effect(self) -> bool:
        """Whether the group that was sent last was committed; from now on it will not be any more."""
        link = await self._ready()
        try:
            _ = await link.execute(f"UPDATE {self._place}.state SET version = version + 1")
            found = await link.fetch(f"SELECT last FROM {self._place}.writers WHERE id = $1", self._author.id)
        except BaseException:
            link.terminate()
            raise
        return bool(found) and cast("int", found[0][0]) == self._author.number
