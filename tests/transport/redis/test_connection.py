"""The connection to real servers: who may come, what will not do, what goes wrong on the way."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from hanse.kernel.faults import Conflict, CouldNotStart, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.testing.transport_things import Things
from hanse.transport.brokered.frames import ASK, ask_of
from hanse.transport.redis.connection import PENDING_BYTES_MAX
from hanse.transport.redis.options import Options
from hanse.transport.redis.queued import entry
from hanse.transport.redis.transport import RedisTransport

from .server import Server, free_port

_apps = map("connection-%d".__mod__, itertools.count(1))
WAIT_SECONDS = 20.0


def call(operation: str, body: bytes = b"", *, timeout: float = WAIT_SECONDS) -> Message:
    return Message(Kind.CALL, "1", f"things.{operation}", timeout, body=body)


async def echo(transport: RedisTransport, body: bytes = b"well") -> bytes:
    return (await transport.request(call("echo", body))).body


@asynccontextmanager
async def opened(*transports: RedisTransport) -> AsyncGenerator[None]:
    for transport in transports:
        await transport.open()
    try:
        yield
    finally:
        for transport in transports:
            await transport.close()


@contextmanager
def running(folder: Path, *arguments: str) -> Generator[Server]:
    server = Server(folder, *arguments)
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


async def refused(url: str, options: Options) -> str:
    transport = RedisTransport(url, Host.system(), options)
    with pytest.raises(CouldNotStart) as raised:
        await transport.open()
    await transport.close()
    assert transport.trouble()
    return raised.value.detail


async def works(url: str, options: Options | None = None) -> None:
    """A node that serves and one that asks reach each other."""
    app = next(_apps)
    given = options or Options()
    options = Options(app=app, user=given.user, password=given.password, tls=given.tls)
    one, other = (RedisTransport(url, Host.system(), options) for _ in range(2))
    other.listen("things", Things().server)
    async with opened(other, one):
        assert await echo(one) == b"well"


class TestStarting:
    async def test_no_server_is_told_with_what_was_tried(self) -> None:
        url = f"redis://ada:secret@127.0.0.1:{free_port()}"
        said = await refused(url, Options(patience=0.2))
        assert "could be reached" in said
        assert "127.0.0.1" in said
        assert "secret" not in said

    @pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 No\r\n\r\n", b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n", b"?\r\n"])
    async def test_what_is_no_redis_is_told(self, greeting: bytes) -> None:
        class Other(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                transport.write(greeting)

        server = await asyncio.get_running_loop().create_server(Other, "127.0.0.1")
        async with server:
            port = server.sockets[0].getsockname()[1]
            said = await refused(f"redis://127.0.0.1:{port}", Options(patience=0.5))
            assert "does not speak the protocol of Redis" in said

    async def test_a_server_that_starts_late_is_waited_for(self, tmp_path: Path) -> None:
        server = Server(tmp_path)
        transport = RedisTransport(server.url, Host.system(), Options(patience=WAIT_SECONDS))
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(transport.open())
            server.start()
            await opening
        assert transport.trouble() == ""
        await transport.close()
        server.kill()

    async def test_a_transport_opens_again_after_it_was_closed(self, server: Server) -> None:
        app = next(_apps)
        one, other = (RedisTransport(server.url, Host.system(), Options(app=app)) for _ in range(2))
        other.listen("things", Things().server)
        for _ in range(2):
            async with opened(other, one):
                assert await echo(one) == b"well"

    async def test_a_member_of_a_cluster_is_refused(self, tmp_path: Path) -> None:
        with running(tmp_path, "--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "c")) as server:
            assert "Redis Cluster" in await refused(server.url, Options())

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
        with running_with(config, tmp_path) as server:
            place = f"127.0.0.1:{server.port}"
            await works(f"redis://ada:se%20cret@{place}")
            await works(server.url, Options(user="ada", password="se cret"))
            assert "WRONGPASS" in await refused(f"redis://ada:wrong@{place}", Options())
            assert "NOAUTH" in await refused(server.url, Options())

    async def test_a_password_alone(self, tmp_path: Path) -> None:
        with running(tmp_path, "--requirepass", "secret") as server:
            await works(f"redis://:secret@127.0.0.1:{server.port}")

    async def test_a_user_who_may_not_listen_is_told_and_nothing_else_breaks(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = tmp_path / "redis.conf"
        config.write_text("user default on nopass ~* &hanse.0.*.node.* +@all\n")
        app = next(_apps)
        with running_with(config, tmp_path) as server:
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
            await works(url, Options(tls=ours))
            assert "certificate verify failed" in await refused(url, Options(patience=0.5))

    async def test_databases_are_apart(self, server: Server) -> None:
        app = next(_apps)
        one, other = (RedisTransport(f"{server.url}/{n}", Host.system(), Options(app=app)) for n in (3, 4))
        other.listen("things", Things().server)
        async with opened(other, one):
            with pytest.raises(UnknownOperation):
                await echo(one)
        await works(f"{server.url}/3")
        assert "index is out of range" in await refused(f"{server.url}/999", Options())


@asynccontextmanager
async def secured(server: Server, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """What speaks TLS before a server; that of the wheel was built without."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(pipe(reader, here))
            _ = group.create_task(pipe(there, writer))

    async with await asyncio.start_server(accepted, "127.0.0.1", ssl=context) as proxy:
        yield proxy.sockets[0].getsockname()[1]


@contextmanager
def running_with(config: Path, folder: Path) -> Generator[Server]:
    server = Server(folder)
    server._command.insert(1, str(config))
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


class TestOnTheWay:
    @asynccontextmanager
    async def pair(self, server: Server) -> AsyncGenerator[tuple[RedisTransport, RedisTransport, Things]]:
        app = next(_apps)
        one, other = (RedisTransport(server.url, Host.system(), Options(app=app)) for _ in range(2))
        things = Things()
        other.listen("things", things.server)
        async with opened(other, one):
            yield one, other, things

    async def test_scripts_that_a_server_forgot_are_told_it_again(self, server: Server) -> None:
        async with self.pair(server) as (one, _, things):
            assert one.native.native is not None
            _ = await one.native.native.ask(b"SCRIPT", b"FLUSH")
            assert await echo(one) == b"well"
            assert len(things.came) == 1

    async def test_a_server_that_stands_still_is_noticed_and_used_again(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            async with self.pair(server) as (one, _, _things):
                server.freeze()
                with pytest.raises(Unavailable):
                    await echo(one)
                server.restart()
                async with asyncio.timeout(WAIT_SECONDS):
                    await one.native.up()
                    while await fate(one) != b"well":
                        await one.native.up()

    async def test_what_nobody_waits_for_any_more_is_not_done(self, server: Server) -> None:
        async with self.pair(server) as (one, _, things):
            wire = one.native.native
            assert wire is not None
            key = one.names.service("things")
            old, late = call("echo", b"old"), call("echo", b"late", timeout=0.5)
            fresh, endless = call("echo", b"fresh", timeout=7_000.0), call("echo", b"endless", timeout=0.0)
            since = b"%d:0 " % await an_hour_ago(one)
            for message, wait in ((old, 3.0), (late, 7_200.0), (fresh, 7_200.0), (endless, 7_200.0)):
                raw = entry(wait, one.names.here + message.body, ask_of(message, b""), ASK)
                _ = await wire.ask(b"RPUSH", key, since + raw)
            _ = await wire.ask(b"RPUSH", key, b"not ours")
            assert await echo(one, b"last") == b"last"
            assert [message.body for message in things.came] == [b"fresh", b"endless", b"last"]
            assert things.came[0].timeout <= fresh.timeout - 3_600
            assert things.came[1].timeout == 0.0

    async def test_a_list_that_is_none_is_told_and_tried_again(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with self.pair(server) as (one, _, _things):
            wire = one.native.native
            assert wire is not None
            more = Things("more")
            _ = await wire.ask(b"SET", one.names.service("more"), b"somebody else's")
            one.listen("more", more.server)
            async with asyncio.timeout(WAIT_SECONDS):
                _ = await wire.ended.wait()
            assert "WRONGTYPE" in caplog.text
            one.leave("more")
            async with asyncio.timeout(WAIT_SECONDS):
                while await fate(one) != b"well":
                    await one.native.up()

    async def test_a_server_that_takes_no_writes_is_told_to_who_asks(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            async with self.pair(server) as (one, _, _things):
                wire = one.native.native
                assert wire is not None
                _ = await wire.ask(b"CONFIG", b"SET", b"maxmemory", b"1")
                with pytest.raises(Unavailable, match="OOM"):
                    await echo(one)

    async def test_what_waits_without_a_server_has_a_limit(self, server: Server) -> None:
        one = RedisTransport(server.url, Host.system(), Options(app=next(_apps)))
        connection = one.native
        assert connection.publish(one.names.here + b"1", b"", b"first")
        assert not connection.has_room(bytes(PENDING_BYTES_MAX))
        assert not connection.publish(one.names.here + b"1", b"", bytes(PENDING_BYTES_MAX))
        assert not connection.call("things.echo", b"1", b"")
        with pytest.raises(Unavailable):
            await one.flush()
        async with opened(one):
            await one.flush()

    async def test_one_process_has_one_instance_of_a_service(self, server: Server) -> None:
        one = RedisTransport(server.url, Host.system(), Options(app=next(_apps)))
        one.listen("things", Things().server)
        with pytest.raises(Conflict):
            one.listen("things", Things().server)


async def fate(one: RedisTransport) -> bytes:
    try:
        return await echo(one)
    except (Unavailable, UnknownOperation, Overloaded):
        return b""


async def an_hour_ago(one: RedisTransport) -> int:
    assert one.native.native is not None
    time = await one.native.native.ask(b"TIME")
    assert isinstance(time, list)
    return int(time[0]) - 3_600
