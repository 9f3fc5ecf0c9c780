"""What becomes of commits to PostgreSQL when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from tests.store.commits_suite import CommitsOnServer
from tests.store.proxy import Proxy

from hanse.kernel.faults import Malformed, Unavailable
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.committer import TRIES_MAX
from hanse.store.query import Compare, OneOf, Order, Query, Text
from hanse.testing.store_hooks import batch, put

from .helpers import OnPostgresql, committer_of, linked, opened

pytestmark = pytest.mark.timeout(300)


class TestCommits(OnPostgresql, CommitsOnServer[PostgresqlStore]):
    cut_steps: ClassVar[range] = range(1, 9)
    # Alone, and while others are to be kept from writing.
    states: ClassVar[int] = 2

    def enter(self, store: PostgresqlStore, state: int) -> None:
        committer_of(store)._alone = state == 0

    def behind_once(self, proxy: Proxy, url: str) -> str:
        # Statements are parsed each time, so that they can be seen, and are answered twice: parsed, and done.
        return proxy.url(f"{url}&prepared=no")

    def lose(self, proxy: Proxy, *, took_effect: bool) -> None:
        proxy.cut_once_asked(b"WITH st AS", 2 if took_effect else 1)

    @asynccontextmanager
    async def held_up(self, url: str) -> AsyncGenerator[None]:
        async with linked(url) as (link, place):
            _ = await link.execute(f"BEGIN; SELECT 1 FROM {place}.state FOR UPDATE")
            yield
            _ = await link.execute("ROLLBACK")


async def test_a_process_that_was_paused_amid_a_commit_does_not_keep_others_from_writing(url: str) -> None:
    async with opened(url) as store, opened(url) as paused:
        committer = committer_of(paused)
        committer._alone = False
        await paused.commit(batch(put("0")))
        assert committer._link is not None
        # What a process leaves behind that stops between its statements: a transaction that holds the lock.
        await committer._link.execute(
            f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '200ms'; "
            f"SELECT 1 FROM {committer._place}.state FOR UPDATE"
        )
        assert await store.commit(batch(put("1"))) == (2,)
        assert await paused.commit(batch(put("2"))) == (3,)


LOSING = """
CREATE SEQUENCE {place}.tries;
CREATE FUNCTION {place}.lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('{place}.tries') <= {times} THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lose BEFORE UPDATE ON {place}.state FOR EACH ROW EXECUTE FUNCTION {place}.lose();
"""
"""So many transactions are refused for the sake of another; a sequence counts those too that come to nothing."""


@pytest.mark.parametrize("times", [3, TRIES_MAX])
async def test_a_group_that_loses_against_another_is_tried_again_a_few_times(url: str, times: int) -> None:
    async with opened(url) as store, linked(url) as (link, place):
        _ = await link.execute(LOSING.format(place=place, times=times))
        if times < TRIES_MAX:
            assert await store.commit(batch(put("1"))) == (1,)
        else:
            with pytest.raises(Unavailable, match=f"did nothing: {TRIES_MAX} tries came to nothing; try again"):
                await store.commit(batch(put("1")))
            assert await store.commit(batch(put("1", expected=0))) == (1,)


async def test_what_is_too_long_for_an_index_is_stored_found_and_ordered(url: str) -> None:
    async with opened(url) as store:
        long = "x" * 5_000
        skus = [long + "b", long + "a", long, "y"]
        await store.commit(batch(*(put(str(n), sku) for n, sku in enumerate(skus))))
        ordered = await store.find("orders", Query(order=(Order(("sku",)),)))
        assert [row.id for row in ordered.rows] == ["2", "1", "0", "3"]
        for where in (
            Compare("eq", ("sku",), long + "a"),
            OneOf(("sku",), (long + "a", "z")),
            Text("starts", ("sku",), long + "a"),
        ):
            assert [row.id for row in (await store.find("orders", Query(where=where))).rows] == ["1"]
        with pytest.raises(Malformed, match="cannot be stored"):
            await store.commit(batch(put("i" * 9_000 + "".join(map(chr, range(300, 4_000))))))
