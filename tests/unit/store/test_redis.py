"""What of the store on Redis is decided without a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import pytest

from hanse.kernel.faults import Malformed, Misconfigured, Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.resp import ReplyError
from hanse.store.base import Batch, CollectionSchema, Emit, Row
from hanse.store.group import Outcome
from hanse.store.query import And, Compare, Not, OneOf, Or, Order, Query
from hanse.store.redis import RedisStore
from hanse.store.redis.failures import is_elsewhere, is_lost, meaning
from hanse.store.redis.judge import Told, absence, doubt, refusal, shortfall, told_in, waits_for_disk
from hanse.store.redis.search import Sieve, named_ids
from hanse.store.redis.url import RedisUrl, parse_url
from hanse.store.waiting import COMMITS_MAX, GROUP_BYTES_MAX, Waiting

URL = RedisUrl((("db", 6379),))
GOOD = Told((7, 0), "master", eviction="noeviction", appends=True, fsync="always")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis:db", "expected a store such as redis://"),
        ("http://db", "expected a store such as redis://"),
        ("redis://", "expected a host and a port"),
        ("redis://db:many", "expected a host and a port"),
        ("redis://db/orders", "expected the number of a database"),
        ("redis://db?schema=a", "expected prefix, synchronous, replicas, sentinel"),
        ("redis://db?synchronous=on", "expected options as in"),
        ("redis://db?ssl_ca_certs=/ca.pem", "expected a URL that begins with rediss://"),
        ("rediss://db?ssl_keyfile=/key.pem", "expected ssl_certfile beside ssl_keyfile"),
        ("redis://db?sentinel_password=x", "expected sentinel= and a name"),
        ("redis://db?replicas=many", "expected options as in"),
        ("redis://db?replicas=99", "expected 0 to 10 as the option replicas"),
        ("redis://db?prefix=", "expected a prefix of 1 to 200"),
        ("redis://db?prefix=a{b}", "characters without braces"),
        ("redis://" + ",".join(["db"] * 11), "expected at most 10 servers"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_was_expected_and_no_password(url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as told:
        parse_url(url.replace("://", "://ada:secret@"))
    assert "secret" not in str(told.value)


def test_a_url_says_who_asks_where_and_how() -> None:
    found = parse_url("rediss://ada:se%40cret@a,[::1]:6380/2?prefix=shop_orders&synchronous=full&replicas=1")
    assert found == RedisUrl(
        (("a", 6379), ("::1", 6380)), True, "ada", "se@cret", 2, "shop_orders", "full", 1
    )  # fmt: skip
    assert found.place == "rediss://a:6379,[::1]:6380/2 prefix shop_orders"
    assert parse_url("valkey://db") == URL


def test_sentinels_listen_elsewhere_than_servers() -> None:
    found = parse_url("redis://ada:secret@a,b:7000/1?sentinel=shop&sentinel_password=other&prefix=orders")
    assert found.servers == (("a", 26379), ("b", 7000))
    assert (found.sentinel, found.sentinel_password) == ("shop", "other")
    assert found.place == "redis://a:26379,b:7000/1 sentinel shop prefix orders"


def test_without_its_library_the_store_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['hiredis'] = None; from hanse.store.redis import RedisStore\n"
        "RedisStore.from_url('redis://db')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'hanse[redis]'" in done.stderr


@pytest.mark.parametrize(
    ("told", "url", "why"),
    [
        (GOOD, URL, ""),
        (Told((6, 2), appends=True), URL, "expected Redis 7.0 or later, or Valkey; this is 6.2"),
        (Told((7, 0)), URL, "set appendonly yes"),
        (Told((7, 0)), RedisUrl((), synchronous="off"), ""),
        (Told((7, 0), eviction="volatile-lru"), RedisUrl((), synchronous="off"), "set maxmemory-policy noeviction"),
        (Told((7, 0), appends=True, fsync="everysec"), RedisUrl((), synchronous="full"), "set appendfsync always"),
        (Told((7, 0), appends=True), RedisUrl((), synchronous="full"), "got appendfsync unknown"),
        (Told((7, 2), appends=True, fsync="everysec"), RedisUrl((), synchronous="full"), ""),
        (GOOD, RedisUrl((), synchronous="full"), ""),
    ],
)
def test_a_server_that_cannot_keep_what_is_promised_is_refused(told: Told, url: RedisUrl, why: str) -> None:
    refused = refusal(told, url)
    assert why in refused
    assert bool(why) == bool(refused)


def test_what_a_server_may_lose_is_told_unless_it_is_waited_for() -> None:
    later = Told((7, 2), appends=True, fsync="everysec")
    assert "those of the last seconds are lost" in doubt(later, URL)
    assert "appendfsync unknown" in doubt(Told((7, 2), appends=True), URL)
    assert not doubt(GOOD, URL)
    full = RedisUrl((), synchronous="full")
    assert not doubt(later, full)
    assert (waits_for_disk(later, full), waits_for_disk(later, URL), waits_for_disk(GOOD, full)) == (True, False, False)


def test_a_server_that_reads_or_follows_is_away() -> None:
    assert "still reads" in absence(Told(loading=True))
    assert "takes no writes" in absence(Told(role="slave"))
    assert not absence(GOOD)


def test_a_server_that_followed_another_may_lack_what_that_had_last() -> None:
    info = b"redis_version:unstable\r\nmaster_replid2:%b\r\naof_enabled:1\r\nrun_id:r1\r\n"
    assert told_in(info % (b"0" * 40), "always").keeps_all
    promoted = told_in(info % (b"a" * 40), "always")
    assert (promoted.keeps_all, promoted.version, promoted.run) == (False, (0, 0), "r1")


def test_what_a_commit_still_lacks_is_told() -> None:
    assert not shortfall(1, 0, URL)
    assert shortfall(1, 1, RedisUrl((), replicas=3)) == "2 of 3 replicas"


@pytest.mark.parametrize(
    ("error", "kind", "why"),
    [
        (ReplyError("OOM command not allowed"), Unavailable, "is full, and did nothing"),
        (ReplyError("MISCONF Errors writing to the AOF file: No space left on device"), Unavailable, "No space left"),
        (ReplyError("READONLY You can't write against a read only replica."), Unavailable, "is away"),
        (TimeoutError(), Unavailable, "it was too slow"),
        (UnicodeError("surrogates"), Malformed, "cannot be stored or compared"),
        (ReplyError("ERR user_script:3: oh"), ReplyError, "oh"),
        (Unavailable("closed"), Unavailable, "closed"),
    ],
)
def test_a_failure_is_told_as_what_it_means(error: Exception, kind: type[Exception], why: str) -> None:
    meant = meaning(error, "redis://db/0")
    assert isinstance(meant, kind)
    assert why in str(meant)


def test_what_is_not_known_and_what_is_elsewhere_are_told_apart() -> None:
    assert [is_lost(one) for one in (ConnectionError("x"), TimeoutError(), ReplyError("OOM x"))] == [True, True, False]
    assert is_elsewhere(ReplyError("MOVED 7 db:1"))
    assert not is_elsewhere(ConnectionError("MOVED"))


def test_conditions_name_ids_or_do_not() -> None:
    seven = Compare("eq", ("id",), "7")
    assert named_ids(OneOf(("id",), ("7", 8, None))) == ["7"]
    assert named_ids(And((Compare("eq", ("sku",), "tea"), seven))) == ["7"]
    assert named_ids(Compare("eq", ("id",), 7)) == []
    for where in (None, Or((seven, Compare("eq", ("sku",), "tea"))), Not(seven), And(()), Compare("gt", ("id",), "7")):
        assert named_ids(where) is None


def test_a_sieve_keeps_no_more_than_a_page_and_one() -> None:
    schema = CollectionSchema("orders", {})
    sieve = Sieve(Query(order=(Order(("n",), descending=True),), limit=2), schema)
    for start in range(0, 100, 10):
        sieve.add(Row(str(n), n + 1, b'{"n":%d}' % n) for n in range(start, start + 10))
        assert len(sieve._kept) == 3
        assert sieve.is_full
    found = sieve.page()
    assert [row.id for row in found.rows] == ["99", "98"]
    after = Sieve(Query(order=(Order(("n",), descending=True),), limit=2, cursor=found.next), schema)
    after.add([Row("97", 98, b'{"n":97}'), Row("99", 100, b'{"n":99}')])
    assert after.page() == after.page()
    assert [row.id for row in after.page().rows] == ["97"]


async def test_commits_that_wait_are_taken_in_groups_of_so_many_bytes() -> None:
    groups: list[int] = []

    async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
        groups.append(len(batches))
        return [() for _ in batches]

    waiting = Waiting(apply)
    large = Batch(1.0, (Emit("t", "k", b"x" * (GROUP_BYTES_MAX // 2 + 1), "m"),))
    huge = Batch(1.0, (Emit("t", "k", b"x" * (GROUP_BYTES_MAX + 1), "m"),))
    async with asyncio.TaskGroup() as tasks:
        told = [tasks.create_task(waiting.commit(one)) for one in (large, large, huge, Batch(1.0), Batch(1.0))]
        await asyncio.sleep(0)
        running = tasks.create_task(waiting.run())
        assert await asyncio.gather(*told) == [()] * 5
        await waiting.close(running)
    assert groups == [1, 1, 1, 2]
    assert waiting.commits == 5
    with pytest.raises(Unavailable, match="closed"):
        await waiting.commit(large)


async def test_more_commits_than_may_wait_are_refused() -> None:
    async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
        return [() for _ in batches]

    waiting = Waiting(apply)
    async with asyncio.TaskGroup() as tasks:
        under_way = [tasks.create_task(waiting.commit(Batch(1.0))) for _ in range(COMMITS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="commits waiting for the store"):
            await waiting.commit(Batch(1.0))
        for one in under_way:
            one.cancel()


async def test_a_store_that_was_never_opened_says_so() -> None:
    store = RedisStore(URL, host=Host.system())
    assert (store.log_id, store.commits) == ("", 0)
    with pytest.raises(Unavailable, match="closed"):
        await store.load("orders", "1")
    await store.close()
