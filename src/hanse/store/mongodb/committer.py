"""Writes what is committed: all that waits in one transaction, one group after the other.

A group is looked up, planned, written and committed, in three turns to the server. All groups of a store write one
document, by which MongoDB lets one transaction of several go on; the others begin anew, after a pause.

A connection that breaks amid a commit leaves open whether that took effect. The server is asked again: it remembers
the last transaction of each session, and the store the number of the last group of each process. Only where the server
stays away is whoever waits told that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import final

import pymongo
from pymongo import ReadPreference

from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Unavailable
from hanse.store.base import Batch, CollectionSchema
from hanse.store.group import Group, Known, Outcome, Wanted
from hanse.store.mongodb.failures import is_again, is_conflict, is_lost, is_of_value, is_over, is_unknown, meaning
from hanse.store.mongodb.layout import Opened, schemas_in
from hanse.store.mongodb.link import LASTING, OF_ONE_MOMENT, STATE, Link, Session
from hanse.store.mongodb.query import rows_name
from hanse.store.mongodb.stall import Stall, end_others
from hanse.store.mongodb.writing import Author, pipeline, read, state_of, writes
from hanse.store.remote.commits import Errors, Heard, applied, found_out
from hanse.store.row_keys import keyed_for

WRITE_SECONDS = 30.0
"""For which one try of a group may take; the server ends a transaction after 60 by itself."""

TRY_SECONDS = 20.0
"""For which a group is tried against others who write, and connections that break."""

ABANDON_SECONDS = 1.0
"""For which it has the time to be told that a transaction is given up."""

PAUSE_SECONDS = 0.002
PAUSE_SECONDS_MAX = 0.05
"""Between two tries of a group, longer each time, up to the second; chance makes it shorter."""

_LOOKED_UP_AT_ONCE = 10_000
_ERRORS = Errors(is_of_value, meaning)


@final
class Committer:
    """What commits the groups of one process to one store."""

    def __init__(self, link: Link, opened: Opened, session: Session, heard: Heard) -> None:
        """Have nothing to do yet.

        Args:
            link: To the server.
            opened: What is there.
            session: In which it writes, always; the state knows it.
            heard: Told of what was committed.
        """
        self._link = link
        self._host = link.host
        self._schemas = opened.schemas
        self._shape = opened.shape
        self._keyed: Mapping[str, Sequence[CollectionSchema]] = keyed_for(opened.schemas, opened.schemas)
        self._author = opened.author
        self._dump = ""
        self._session = session
        self._heard = heard
        self._namespaces: Mapping[str, str] = {
            **{f":{name}": link.namespace(name) for name in ("state", "log", "marks", "positions")},
            **{name: link.namespace(rows_name(name)) for name in opened.schemas},
        }

    async def apply(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """What becomes of some batches; raises nothing but cancellation."""
        return await applied(batches, self._written, _ERRORS, self._link.place)

    async def _written(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        self._link.reach.check()
        try:
            return await self._insisted(batches)
        except Exception as error:
            if is_lost(error):
                self._link.reach.failed(str(meaning(error, self._link.place)))
            raise

    async def _insisted(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        until, stall, pause = self._host.monotonic() + TRY_SECONDS, Stall(), PAUSE_SECONDS
        while True:
            tried = await self._tried(batches, stall)
            if isinstance(tried, Group):
                return self._done(tried)
            if self._host.monotonic() > until:
                raise Unavailable(
                    f"the store {self._link.place} did nothing, tried for {TRY_SECONDS:.0f} s: {tried}; try again"
                ) from tried
            await asyncio.sleep(pause * self._host.chance.random())
            pause = min(PAUSE_SECONDS_MAX, pause * 2)

    async def _tried(self, batches: Sequence[Batch], stall: Stall) -> Group | Exception:
        """Plan a group and write it, or why nothing was done, and it may be tried again."""
        group, known, is_sent = Group(Known(()), 0), Known(self._schemas), False
        try:
            with pymongo.timeout(WRITE_SECONDS):
                group = await self._planned(batches, known, stall)
                if not group.nothing:
                    await self._write(group, known)
                    fault_point("store.before_commit")
            is_sent = True
            # One that wrote nothing too: who is refused is so for what a majority has.
            await self._session.commit_transaction()
        except BaseException as error:
            await self._abandon()
            if not isinstance(error, Exception):
                raise
            if is_sent and is_unknown(error):
                return group if await found_out(self._took_effect, self._link.reach, error) else error
            if is_conflict(error) and stall.is_stuck(self._host.monotonic()):
                await end_others(self._link, stall, self._author.id)
            if is_again(error):
                return error
            raise
        fault_point("store.after_commit")
        return group

    async def _planned(self, batches: Sequence[Batch], known: Known, stall: Stall) -> Group:
        # What comes of this is not waited for: the server is told with the first command.
        _ = await self._session.start_transaction(
            read_concern=OF_ONE_MOMENT, write_concern=LASTING, read_preference=ReadPreference.PRIMARY
        )
        wanted = Wanted.of(batches, self._schemas)
        books = self._link.books("state")
        found = await books.aggregate(
            pipeline(wanted, self._link.url), session=self._session, batchSize=_LOOKED_UP_AT_ONCE
        )
        state = read(await found.to_list(), wanted, known)
        stall.looked(state, self._host.monotonic())
        if state.shape != self._shape:
            await self._look_at_collections(state.shape)
        if state.loading and any(batch.writes or batch.marks for batch in batches):
            raise Unavailable(
                f"a dump is being loaded into the store {self._link.place}; wait for it, or load it again"
            )
        self._dump = state.dump
        group = Group(known, state.head)
        group.plan(batches)
        return group

    async def _look_at_collections(self, shape: int) -> None:
        """Another version of this service shares the store: rows get the keys that its queries compare, as well."""
        self._keyed = keyed_for(self._schemas, await schemas_in(self._link, self._session))
        self._shape = shape

    async def _write(self, group: Group, known: Known) -> None:
        self._author = Author(self._author.id, self._author.number + 1)
        models = list(writes(group, known, self._author, self._keyed, self._namespaces, self._dump))
        await self._link.write(models, self._session)

    async def _abandon(self) -> None:
        if self._session.in_transaction:
            with suppress(Exception), pymongo.timeout(ABANDON_SECONDS):
                await self._session.abort_transaction()

    async def _took_effect(self) -> bool:
        """Whether the transaction that was to be committed was."""
        try:
            # Said twice it has the effect of once, and now the server says what that is.
            await self._session.commit_transaction()
        except Exception as error:
            if not is_over(error):
                raise
        else:
            return True
        # It was given up, or the server does not remember; but what was committed is there.
        found = await self._link.books("state").find_one({"_id": STATE}, session=None)
        return found is not None and state_of(found).writers.get(self._author.id) == self._author.number

    def _done(self, group: Group) -> Sequence[Outcome]:
        self._link.reach.found()
        self._link.saw(self._session)
        if told := group.told:
            self._heard(told, group.head)
        return group.outcomes
