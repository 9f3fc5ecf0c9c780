"""What becomes of commits to MongoDB when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from tests.store.commits_suite import CommitsOnServer
from tests.store.on_server import WAIT_SECONDS, at_last, handled, hasty_host
from tests.store.proxy import Proxy, between

from hanse.kernel.faults import Malformed, TooLarge, Unavailable
from hanse.store.base import Put, Row
from hanse.store.mongodb.link import STATE
from hanse.store.mongodb.store import MongodbStore
from hanse.store.query import Compare, Query
from hanse.testing.store_hooks import batch, put

from .helpers import IMPATIENT, OnMongodb, behind, looked_into, opened
from .server import Server

pytestmark = pytest.mark.timeout(300)

MEGABYTE = 2**20


class TestCommits(OnMongodb, CommitsOnServer[MongodbStore]):
    cuts_min: ClassVar[int] = 3
    kept_each: ClassVar[int] = 20
    process_commits: ClassVar[int] = 6
    impatient: ClassVar[str] = IMPATIENT

    def lose(self, proxy: Proxy, *, took_effect: bool) -> None:
        proxy.cut_once_asked(b"commitTransaction", 1 if took_effect else 0)

    @asynccontextmanager
    async def held_up(self, url: str) -> AsyncGenerator[None]:
        async with looked_into(url) as (database, name), database.client.start_session() as session:
            await session.start_transaction()
            await database[name("state")].update_one({"_id": STATE}, {"$inc": {"head": 7}}, session=session)
            yield
            await session.abort_transaction()


def large(id: str, megabytes: int) -> Put:
    return Put("orders", id, b'{"n":"%s"}' % (b"x" * megabytes * MEGABYTE), f"large-{id}")


async def test_a_commit_whose_answer_is_lost_is_found_out(url: str, quick_server: Server) -> None:
    async with between(quick_server.port) as proxy, opened(behind(proxy, url)) as store:
        proxy.cut_once_asked(b"commitTransaction", 1)
        committing = asyncio.ensure_future(store.commit(handled("1")))  # noqa: TID251 - awaited below
        await asyncio.wait_for(proxy.was_refused.wait(), WAIT_SECONDS)
        proxy.refuses = False
        assert await committing == (1, 2)
        assert await store.head() == 2


async def test_what_was_not_sent_to_be_committed_did_not_take_effect(url: str, quick_server: Server) -> None:
    async with between(quick_server.port) as proxy, opened(behind(proxy, url), host=hasty_host()) as store:
        proxy.cut_once_asked(b"bulkWrite", 1)
        with pytest.raises(Unavailable, match=r"did nothing|is away"):
            await store.commit(handled("1"))
        proxy.refuses = False
        assert await at_last(lambda: store.commit(handled("1"))) == (1, 2)


async def test_a_transaction_that_nobody_ends_holds_up_others_for_seconds_only(url: str) -> None:
    async with opened(url) as held, opened(url, host=hasty_host()) as store:
        one = held._open
        assert one is not None
        # As a process leaves it behind that is killed amid a commit, where the server does not see that it has gone.
        await one.session.start_transaction()
        state = one.link.books("state")
        await state.update_one({"_id": STATE}, {"$inc": {"head": 7}}, session=one.session)
        assert await store.commit(handled("1")) == (1, 2)
        await one.session.abort_transaction()
        # One that was only slow begins anew.
        assert await held.commit(handled("2")) == (3, 4)


async def test_what_is_too_large_is_refused_and_takes_no_neighbour_along(url: str) -> None:
    async with opened(url) as store:
        outcomes = await asyncio.gather(
            store.commit(batch(put("1"))),
            store.commit(batch(large("2", 17))),
            store.commit(batch(put("3"))),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], TooLarge)
        assert sorted(outcomes[::2], key=str) == [(1,), (2,)]
        # A row is in its entry twice where it was there before: as it was, and as it is.
        assert await store.commit(batch(large("4", 3))) == (3,)
        assert await store.commit(batch(large("4", 5))) == (4,)
        with pytest.raises(TooLarge, match="16 MB"):
            await store.commit(batch(large("4", 9)))
        assert await store.head() == 4


async def test_what_cannot_be_written_or_asked_is_malformed_and_takes_no_neighbour_along(url: str) -> None:
    async with opened(url) as store:
        outcomes = await asyncio.gather(
            store.commit(batch(put("1"))), store.commit(batch(put("\ud800"))), return_exceptions=True
        )
        assert outcomes[0] == (1,)
        assert isinstance(outcomes[1], Malformed)
        with pytest.raises(Malformed, match="cannot be stored or compared"):
            await store.find("orders", Query(where=Compare("eq", ("sku",), "\ud800")))
        assert await store.load("orders", "1") == Row("1", 1, b'{"sku":"tea"}')
