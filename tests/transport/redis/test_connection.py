"""The connection to real servers: who may come, what will not do, what goes wrong on the way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from tests.transport.brokered import (
    WAIT_SECONDS,
    apps,
    ask_of,
    call,
    echo,
    opened,
    pair as pair_of,
    refused,
    saying,
    secured,
    well_again,
    works,
)
from tests.transport.connection_suite import ConnectionSuite

from hanse.kernel.faults import Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.testing.transport_things import Things
from hanse.transport.redis.connection import PENDING_BYTES_MAX
from hanse.transport.redis.options import Options
from hanse.transport.redis.queued import entry
from hanse.transport.redis.transport import RedisTransport

from .server import Server, running


@asynccontextmanager
async def pair(server: Server) -> AsyncGenerator[tuple[RedisTransport, Things]]:
    """One that asks, and what another serves."""
    async with pair_of(server.url) as (one, _other, things):
        assert isinstance(one, RedisTransport)
        yield one, things


class TestConnection(ConnectionSuite):
    scheme = "redis"
    pending_max = PENDING_BYTES_MAX

    def make(self, folder: Path) -> Server:
        return Server(folder)


class TestStarting:
    @pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 No\r\n\r\n", b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n", b"?\r\n"])
    async def test_what_is_no_redis_is_told(self, greeting: bytes) -> None:
        async with saying(greeting) as port:
            said = await refused(f"redis://127.0.0.1:{port}", patience=2.0)
            assert "does not speak the protocol of Redis" in said

    async def test_a_member_of_a_cluster_is_refused(self, tmp_path: Path) -> None:
        with running(tmp_path, "--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "c")) as server:
            assert "Redis Cluster" in await refused(server.url)

    async def test_a_server_that_throws_keys_away_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with running(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
            await works(server.url)
            assert "noeviction" in caplog.text

    async def test_of_several_that_one_is_used_that_takes_writes(self, tmp_path: Path) -> None:
        with running(tmp_path) as leader, running(tmp_path, "--replicaof", f"127.0.0.1 {leader.port}") as follower:
            await works(f"redis://127.0.0.1:{follower.port},127.0.0.1:{leader.port}")


class TestWhoAsks:
    async def test_a_user_with_a_password(self, tmp_path: Path) -> None:
        user = 'user ada on ">se cret" ~hanse.* &hanse.* +@all'
        config = tmp_path / "redis.conf"
        config.write_text(f"{user}\nuser default off\n")
        with running(tmp_path, config=config) as server:
            place = f"127.0.0.1:{server.port}"
            await works(f"redis://ada:se%20cret@{place}")
            await works(server.url, user="ada", password="se cret")
            assert "WRONGPASS" in await refused(f"redis://ada:wrong@{place}")
            assert "NOAUTH" in await refused(server.url)

    async def test_a_password_alone(self, tmp_path: Path) -> None:
        with running(tmp_path, "--requirepass", "secret") as server:
            await works(f"redis://:secret@127.0.0.1:{server.port}")

    async def test_a_user_who_may_not_listen_is_told_and_nothing_else_breaks(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = tmp_path / "redis.conf"
        config.write_text("user default on nopass ~* &hanse.0.*.node.* +@all\n")
        app = next(apps)
        with running(tmp_path, config=config) as server:
            one = RedisTransport(server.url, Host.system(), Options(app=app))
            async with opened(one):
                one.listen("things", Things().server)
                await one.flush()
                with pytest.raises(UnknownOperation):
                    await one.request(Message(Kind.CALL, "1", "more.echo", WAIT_SECONDS))
                assert "NOPERM" in caplog.text

    async def test_tls(self, server: Server) -> None:
        authority = trustme.CA()
        theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(theirs)
        authority.configure_trust(ours)
        async with secured(server, theirs) as port:
            url = f"rediss://localhost:{port}"
            await works(url, tls=ours)
            assert "certificate verify failed" in await refused(url, patience=2.0)

    async def test_databases_are_apart(self, server: Server) -> None:
        app = next(apps)
        one, other = (RedisTransport(f"{server.url}/{n}", Host.system(), Options(app=app)) for n in (3, 4))
        other.listen("things", Things().server)
        async with opened(other, one):
            with pytest.raises(UnknownOperation):
                await echo(one)
        await works(f"{server.url}/3")
        assert "index is out of range" in await refused(f"{server.url}/999")


class TestOnTheWay:
    async def test_scripts_that_a_server_forgot_are_told_it_again(self, server: Server) -> None:
        async with pair(server) as (one, things):
            assert one.native.native is not None
            _ = await one.native.native.ask(b"SCRIPT", b"FLUSH")
            assert await echo(one) == b"well"
            assert len(things.came) == 1

    async def test_what_nobody_waits_for_any_more_is_not_done(self, server: Server) -> None:
        async with pair(server) as (one, things):
            wire = one.native.native
            assert wire is not None
            key = one.names.service("things")
            old, late = call("echo", b"old"), call("echo", b"late", timeout=0.5)
            fresh, endless = call("echo", b"fresh", timeout=7_000.0), call("echo", b"endless", timeout=0.0)
            since = b"%d:0 " % await an_hour_ago(one)
            for message, wait in ((old, 3.0), (late, 7_200.0), (fresh, 7_200.0), (endless, 7_200.0)):
                head, rest = ask_of(message)
                raw = entry(wait, one.names.here + message.body, rest, head)
                _ = await wire.ask(b"RPUSH", key, since + raw)
            _ = await wire.ask(b"RPUSH", key, b"not ours")
            assert await echo(one, b"last") == b"last"
            assert [message.body for message in things.came] == [b"fresh", b"endless", b"last"]
            assert things.came[0].timeout <= fresh.timeout - 3_600
            assert things.came[1].timeout == 0.0

    async def test_a_list_that_is_none_is_told_and_tried_again(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with pair(server) as (one, _things):
            wire = one.native.native
            assert wire is not None
            more = Things("more")
            _ = await wire.ask(b"SET", one.names.service("more"), b"somebody else's")
            one.listen("more", more.server)
            async with asyncio.timeout(WAIT_SECONDS):
                _ = await wire.ended.wait()
            assert "WRONGTYPE" in caplog.text
            one.leave("more")
            await well_again(one)

    async def test_a_server_that_takes_no_writes_is_told_to_who_asks(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            async with pair(server) as (one, _things):
                wire = one.native.native
                assert wire is not None
                _ = await wire.ask(b"CONFIG", b"SET", b"maxmemory", b"1")
                with pytest.raises(Unavailable, match="OOM"):
                    await echo(one)


async def an_hour_ago(one: RedisTransport) -> int:
    assert one.native.native is not None
    time = await one.native.native.ask(b"TIME")
    assert isinstance(time, list)
    return int(time[0]) - 3_600
