"""Events that a real server keeps: who takes them, what is let go, and what breaks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.kernel.resp import Wire
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Backlog, Keeps, Kept
from hanse.transport.redis.backlog import RedisBacklog
from hanse.transport.redis.connection import BODY_BYTES_MAX
from hanse.transport.redis.keeping import PIECE_MAX, RECENT_BYTES_MAX
from hanse.transport.redis.options import Options
from hanse.transport.redis.transport import RedisTransport

from .server import Server, running

_apps = map("kept-%d".__mod__, itertools.count(1))
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.02
LARGE = 24
MANY = 3 * PIECE_MAX


def event(number: int, topic: str = "placed", body: bytes = b"tea") -> Message:
    return Message(Kind.EVENT, f"id-{number}", topic, headers=Headers(type=topic), body=body)


def events(*numbers: int) -> list[Message]:
    return [event(number) for number in numbers]


def numbers(taken: Sequence[Kept]) -> list[int]:
    return [int(kept.message.id.removeprefix("id-")) for kept in taken]


async def taken(backlog: Backlog, count: int) -> list[Kept]:
    """The next so many."""
    found: list[Kept] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(found) < count:
            found += await backlog.take(count - len(found))
    return found


async def handled(backlog: Backlog, count: int) -> list[int]:
    found = await taken(backlog, count)
    for kept in found:
        backlog.done(kept)
    return numbers(found)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(POLL_SECONDS)


async def ask(node: RedisTransport, *parts: bytes) -> object:
    wire = node.native.native
    assert wire is not None
    return await wire.ask(*parts)


async def length(node: RedisTransport) -> object:
    return await ask(node, b"XLEN", node.names.events)


@asynccontextmanager
async def joined(server: Server, count: int = 1, **options: float) -> AsyncGenerator[list[RedisTransport]]:
    """Nodes of an app of their own."""
    given = msgspec.convert({"app": next(_apps), **options}, Options)
    async with AsyncExitStack() as opened:
        nodes = [RedisTransport(server.url, Host.system(), given) for _ in range(count)]
        for node in nodes:
            await node.open()
            opened.push_async_callback(node.close)
        yield nodes


class TestTrust:
    async def test_a_server_that_forgets_is_refused(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            async with joined(server) as [node]:
                with pytest.raises(Misconfigured, match="appendonly yes"):
                    await node.publish(events(1))
                with pytest.raises(Misconfigured, match="appendonly yes"):
                    _ = await node.subscribe("mail", ["placed"])

    async def test_a_node_that_is_to_keep_events_does_not_start_with_one(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            node = RedisTransport(server.url, Host.system(), Options(keeps=True))
            with pytest.raises(CouldNotStart, match="appendonly yes"):
                await node.open()

    async def test_a_server_that_throws_away_is_refused(self, tmp_path: Path) -> None:
        with running(tmp_path, "--appendonly", "yes", "--maxmemory-policy", "volatile-ttl") as server:
            async with joined(server) as [node]:
                with pytest.raises(Misconfigured, match="noeviction"):
                    await node.publish(events(1))

    async def test_it_says_that_it_keeps(self, server: Server) -> None:
        async with joined(server) as [node]:
            assert node.features.durable
            assert isinstance(node, Keeps)


class TestPublishing:
    async def test_what_came_ten_minutes_ago_is_known(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1))
            [key] = await keys(node, b"ids.*")
            slot = int(key.rpartition(b".")[2])
            _ = await ask(node, b"RENAME", key, node.names.ids + b"%d" % (slot - 1))
            _ = await ask(node, b"SADD", node.names.ids + b"%d" % (slot - 2), b"id-2")
            await node.publish(events(1, 2))
            assert await length(node) == 2
            assert len(await keys(node, b"ids.*")) == 2

    async def test_without_a_server_it_fails_at_once(self, server: Server) -> None:
        node = RedisTransport(server.url, Host.system(), Options(app=next(_apps)))
        with pytest.raises(Unavailable, match="no connection"):
            await node.publish(events(1))

    async def test_a_server_without_memory_is_told_as_trouble(self, tmp_path: Path) -> None:
        with running(tmp_path, "--appendonly", "yes") as server:
            async with joined(server) as [node]:
                _ = await ask(node, b"CONFIG", b"SET", b"maxmemory", b"1")
                with pytest.raises(Unavailable, match="OOM"):
                    await node.publish(events(1))
                assert "OOM" in node.trouble()
                _ = await ask(node, b"CONFIG", b"SET", b"maxmemory", b"0")
                await node.publish(events(1))
                assert node.trouble() == ""

    async def test_scripts_that_a_server_forgot_are_told_it_again(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1))
            _ = await ask(node, b"SCRIPT", b"FLUSH")
            await node.publish(events(2))
            assert await length(node) == 2


class TestLoss:
    async def test_what_a_server_has_lost_is_published_again(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1, 2))
            await node.publish(events(3))
            # As one that was killed while its disk was slow, or another that had not heard of it yet.
            _ = await ask(node, b"DEL", node.names.events, *await keys(node, b"ids.*"))
            await sever(node)
            await until(lambda: left(node, 3))
            await node.publish(events(3, 4))
            backlog = await node.subscribe("mail", ["placed"])
            assert numbers(await taken(backlog, 4)) == [1, 2, 3, 4]

    async def test_what_comes_next_waits_until_that_is_there(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1))
            _ = await ask(node, b"DEL", node.names.events, *await keys(node, b"ids.*"))
            await sever(node)
            await node.publish(events(2))
            backlog = await node.subscribe("mail", ["placed"])
            assert numbers(await taken(backlog, 2)) == [1, 2]

    async def test_what_is_held_for_that_has_a_limit(self, server: Server) -> None:
        async with joined(server) as [node]:
            large = RECENT_BYTES_MAX // (LARGE - 8)
            assert large > BODY_BYTES_MAX // 2
            for number in range(LARGE):
                await node.publish([event(number, body=bytes(min(large, BODY_BYTES_MAX)))])
            _ = await ask(node, b"DEL", node.names.events, *await keys(node, b"ids.*"))
            await sever(node)
            await node.publish(events(LARGE))
            backlog = await node.subscribe("mail", ["placed"])
            first = numbers(await taken(backlog, 1))[0]
            assert 0 < first < LARGE
            assert numbers(await taken(backlog, LARGE - first)) == [*range(first + 1, LARGE + 1)]

    async def test_a_follower_that_takes_over_is_told_what_it_has_not_heard_of(self, tmp_path: Path) -> None:
        kept = ("--appendonly", "yes")
        with running(tmp_path, *kept) as leader, running(tmp_path, *kept) as follower:
            _ = await told(follower, f"REPLICAOF 127.0.0.1 {leader.port}")
            options = Options(app="failover")
            node = RedisTransport(f"{leader.url},127.0.0.1:{follower.port}", Host.system(), options)
            await node.open()
            await node.publish(events(1, 2))
            await until(lambda: has(follower, node.names.events, 2))
            _ = await told(follower, "REPLICAOF NO ONE")
            await node.publish(events(3, 4))
            await asyncio.to_thread(leader.kill)
            await until(lambda: has(follower, node.names.events, 4))
            backlog = await reopened(node)
            assert numbers(await taken(backlog, 4)) == [1, 2, 3, 4]
            await node.close()

    async def test_a_server_that_is_killed_has_all_when_it_is_back(self, tmp_path: Path) -> None:
        with running(tmp_path, "--appendonly", "yes") as server:
            async with joined(server) as [node]:
                kept = 0
                killing: asyncio.Future[None] | None = None
                while killing is None or not killing.done():
                    try:
                        await node.publish(events(kept))
                    except Unavailable:
                        await asyncio.sleep(POLL_SECONDS)
                        continue
                    kept += 1
                    if kept == MANY:
                        killing = asyncio.get_running_loop().run_in_executor(None, server.restart)
                await node.native.up()
                backlog = await reopened(node)
                assert numbers(await taken(backlog, kept)) == [*range(kept)]


class TestTaking:
    async def test_large_ones_come_in_pieces(self, server: Server) -> None:
        async with joined(server) as [node]:
            for number in range(LARGE):
                await node.publish([event(number, body=bytes(BODY_BYTES_MAX))])
            backlog = await node.subscribe("mail", ["placed"])
            assert await handled(backlog, LARGE) == [*range(LARGE)]

    async def test_other_topics_are_not_handed_out_and_hold_up_nothing(self, server: Server) -> None:
        async with joined(server) as [node]:
            backlog = await node.subscribe("mail", ["paid"])
            await node.publish([*events(*range(1_200)), event(1_200, "paid")])
            assert await handled(backlog, 1) == [1_200]
            assert (await groups(node))[b"pending"] in (0, 1)

    async def test_how_much_is_left_is_told(self, server: Server) -> None:
        async with joined(server, 2) as [node, other]:
            backlog, waiting = await node.subscribe("mail", ["placed"]), await other.subscribe("mail", ["placed"])
            assert isinstance(backlog, RedisBacklog)
            assert isinstance(waiting, RedisBacklog)
            assert await backlog.left() == 0
            await node.publish(events(1, 2, 3))
            assert await backlog.left() == 3
            got = await taken(backlog, 2)
            backlog.done(got[0])
            assert (await backlog.left(), await waiting.left()) == (2, 2)
            _ = await ask(node, b"XGROUP", b"DESTROY", node.names.events, b"mail")
            assert await waiting.left() == 0
            await backlog.close()
            with pytest.raises(Unavailable, match="closed"):
                _ = await backlog.left()

    async def test_that_is_known_too_where_a_server_has_lost_count(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1, 2, 3))
            [_, second, _] = await entries(node)
            _ = await ask(node, b"XDEL", node.names.events, second)
            backlog = await node.subscribe("mail", ["placed"])
            assert isinstance(backlog, RedisBacklog)
            assert (await groups(node))[b"lag"] is None
            assert await backlog.left() == 2
            assert await handled(backlog, 2) == [1, 3]
            assert await backlog.left() == 0

    async def test_what_cannot_be_read_is_left_and_told(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        async with joined(server) as [node]:
            backlog = await node.subscribe("mail", ["placed"])
            for payload in (b"\x09from a later version", b"\x01nonsense"):
                _ = await ask(node, b"XADD", node.names.events, b"*", b"t", b"placed", b"m", payload)
            await node.publish(events(1))
            assert await handled(backlog, 1) == [1]
            await backlog.close()
            assert caplog.text.count("is left, for a version of Hanse that can read it") == 2
            assert (await groups(node))[b"pending"] == 2

    async def test_a_key_that_is_somebody_elses_is_told(self, server: Server) -> None:
        async with joined(server) as [node]:
            _ = await ask(node, b"SET", node.names.events, b"mine")
            with pytest.raises(Unavailable, match="WRONGTYPE"):
                _ = await node.subscribe("mail", ["placed"])

    async def test_a_group_that_was_destroyed_is_there_again(self, server: Server) -> None:
        async with joined(server) as [node]:
            backlog = await node.subscribe("mail", ["placed"])
            await node.publish(events(1))
            assert await handled(backlog, 1) == [1]
            _ = await ask(node, b"DEL", node.names.events)
            await node.publish(events(2))
            with pytest.raises(Unavailable, match="NOGROUP"):
                _ = await taken(backlog, 1)
            again = await node.subscribe("mail", ["placed"])
            assert await handled(again, 1) == [2]


class TestTurns:
    async def test_one_that_was_overtaken_acknowledges_and_takes_nothing(self, server: Server) -> None:
        async with joined(server, 2) as [node, other]:
            await node.publish(events(1, 2, 3))
            slow, fast = await node.subscribe("mail", ["placed"]), await other.subscribe("mail", ["placed"])
            late = await taken(slow, 3)
            _ = await ask(node, b"DEL", node.names.turn("mail"))  # as after a pause of some seconds
            assert numbers(await taken(fast, 3)) == [1, 2, 3]
            slow.done(late[0])
            with pytest.raises(Unavailable, match="somebody else's"):
                _ = await slow.take(1)
            await slow.close()
            assert (await groups(node))[b"pending"] == 3

    async def test_one_whose_turn_has_ended_does_not_begin_anew(self, server: Server) -> None:
        async with joined(server) as [node]:
            backlog = await node.subscribe("mail", ["placed"])
            await node.publish(events(1))
            _ = await taken(backlog, 1)
            _ = await ask(node, b"DEL", node.names.turn("mail"))
            await node.publish(events(2))
            with pytest.raises(Unavailable, match="somebody else's"):
                _ = await taken(backlog, 1)

    async def test_one_that_waits_is_told_that_its_turn_has_ended(self, server: Server) -> None:
        async with joined(server) as [node], Tasks(print) as tasks:
            backlog = await node.subscribe("mail", ["placed"])
            waiting = tasks.start(fate(backlog))
            await until(lambda: at_least(node, node.names.turn("mail"), 1))
            _ = await ask(node, b"DEL", node.names.turn("mail"))
            assert "somebody else's" in await waiting

    async def test_a_server_that_stands_still_does_not_keep_anybody_from_leaving(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with running(tmp_path, "--appendonly", "yes") as server:
            async with joined(server) as [node]:
                backlog = await node.subscribe("mail", ["placed"])
                await node.publish(events(1))
                [kept] = await taken(backlog, 1)
                server.freeze()
                backlog.done(kept)
                async with asyncio.timeout(WAIT_SECONDS):
                    await backlog.close()
                assert "Redis was not told that a turn is over" in caplog.text

    async def test_one_that_takes_nothing_for_long_keeps_its_turn(self, server: Server) -> None:
        async with joined(server) as [node]:
            backlog = await node.subscribe("mail", ["placed"])
            await node.publish(events(1))
            [kept] = await taken(backlog, 1)
            turn = node.names.turn("mail")
            _ = await ask(node, b"PEXPIRE", turn, b"1500")
            await until(lambda: at_least(node, turn, 2_000))
            backlog.done(kept)
            await backlog.close()
            assert (await groups(node))[b"pending"] == 0

    async def test_a_process_that_was_cut_off_need_not_wait_for_itself(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1))
            backlog = await node.subscribe("mail", ["placed"])
            _ = await taken(backlog, 1)
            await sever(node)
            with pytest.raises(Unavailable):
                _ = await backlog.take(1)
            again = await node.subscribe("mail", ["placed"])
            assert await at_least(node, node.names.turn("mail"), 1)
            assert numbers(await taken(again, 1)) == [1]

    async def test_a_transport_that_is_closed_ends_its_turns(self, server: Server) -> None:
        async with joined(server, 2) as [node, other]:
            backlog = await node.subscribe("mail", ["placed"])
            await node.publish(events(1, 2))
            backlog.done((await taken(backlog, 1))[0])
            await node.close()
            assert await ask(other, b"EXISTS", node.names.turn("mail")) == 0
            assert await handled(await other.subscribe("mail", ["placed"]), 1) == [2]


class TestLettingGo:
    async def test_what_all_have_handled_goes_and_nothing_else(self, server: Server) -> None:
        async with joined(server, handled=0) as [node]:
            await node.publish(events(1, 2, 3, 4))
            mail, ship = await node.subscribe("mail", ["placed"]), await node.subscribe("ship", ["placed"])
            assert await handled(mail, 4) == [1, 2, 3, 4]
            await until(lambda: trimmed(node))
            assert await length(node) == 4
            got = await taken(ship, 4)
            for kept in (got[0], got[1], got[3]):
                ship.done(kept)
            await until(lambda: left(node, 2))
            ship.done(got[2])
            await until(lambda: left(node, 1))

    async def test_what_was_handled_is_kept_for_whoever_comes_soon(self, server: Server) -> None:
        async with joined(server) as [node]:
            await node.publish(events(1, 2))
            assert await handled(await node.subscribe("mail", ["placed"]), 2) == [1, 2]
            await until(lambda: trimmed(node))
            assert await handled(await node.subscribe("ship", ["placed"]), 2) == [1, 2]

    async def test_but_not_too_many(self, server: Server) -> None:
        async with joined(server, handled_max=10) as [node]:
            await node.publish(events(*range(50)))
            assert len(await handled(await node.subscribe("mail", ["placed"]), 50)) == 50
            await until(lambda: left(node, 1))

    async def test_what_is_too_old_goes_and_that_is_told(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with joined(server, kept=3_600) as [node]:
            stream = node.names.events
            for old in (b"1-0", b"2-0"):
                _ = await ask(node, b"XADD", stream, old, b"t", b"paid", b"m", b"")
            await node.publish(events(1))
            mail, ship = await node.subscribe("mail", ["placed"]), await node.subscribe("ship", ["paid"])
            _ = await ask(node, b"XGROUP", b"CREATE", stream, b"gone", b"0")
            _ = await ask(node, *b"XREADGROUP GROUP ship taker COUNT 1 STREAMS".split(), stream, b">")
            assert await handled(mail, 1) == [1]
            await until(lambda: left(node, 1))
            await until(lambda: said(caplog, "were let go that the group ship has not handled"))
            await until(lambda: said(caplog, "the group gone has taken no events"))
            assert "the group mail" not in caplog.text
            async with Tasks(print) as tasks:
                _ = tasks.start(fate(ship))
                await until(lambda: said(caplog, "1 events that the group ship had taken and not handled"))


async def keys(node: RedisTransport, pattern: bytes) -> list[bytes]:
    found = await ask(node, b"KEYS", node.names.events + b"." + pattern)
    assert isinstance(found, list)
    return found


async def entries(node: RedisTransport) -> list[bytes]:
    found = await ask(node, b"XRANGE", node.names.events, b"-", b"+")
    assert isinstance(found, list)
    return [entry for entry, _ in found]


async def groups(node: RedisTransport) -> dict[bytes, object]:
    """What a server says of the one group."""
    found = await ask(node, b"XINFO", b"GROUPS", node.names.events)
    assert isinstance(found, list)
    [group] = found
    return dict(group)


async def left(node: RedisTransport, count: int) -> bool:
    return await length(node) == count


async def told(server: Server, line: str) -> bytes:
    """What a server answers that is told something by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{line}\r\n".encode())
    answer = await reader.readline()
    writer.close()
    return answer.strip()


async def has(server: Server, stream: bytes, count: int) -> bool:
    return await told(server, f"XLEN {stream.decode()}") == b":%d" % count


async def at_least(node: RedisTransport, key: bytes, milliseconds: int) -> bool:
    found = await ask(node, b"PTTL", key)
    assert isinstance(found, int)
    return found >= milliseconds


async def trimmed(node: RedisTransport) -> bool:
    return await ask(node, b"EXISTS", node.names.trimmed) == 1


async def said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


async def reopened(node: RedisTransport) -> Backlog:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await node.subscribe("mail", ["placed"])
            except Unavailable:
                await node.native.up()


async def fate(backlog: Backlog) -> str:
    try:
        return str(numbers(await backlog.take(1)))
    except Unavailable as fault:
        return fault.detail


async def sever(node: RedisTransport) -> None:
    """Break the connection, and wait for the next."""
    wire = node.native.native
    assert wire is not None
    wire.abort("its cable was pulled")
    await until(lambda: another(node, wire))


async def another(node: RedisTransport, wire: Wire) -> bool:
    return node.native.native not in (None, wire)
