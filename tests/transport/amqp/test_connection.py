"""The connection to real servers: who may come, what will not do, what goes wrong on the way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trustme
from pamqp import commands
from tests.transport.brokered import (
    WAIT_SECONDS,
    apps,
    ask_of,
    echo,
    fate,
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
from hanse.testing.transport_hooks import unheard
from hanse.testing.transport_things import Things
from hanse.transport.amqp.connection import PENDING_BYTES_MAX
from hanse.transport.amqp.declare import declare
from hanse.transport.amqp.frames import asked
from hanse.transport.amqp.intake import AHEAD_MAX
from hanse.transport.amqp.options import Options
from hanse.transport.amqp.transport import AmqpTransport
from hanse.transport.base import Drains

from .server import Server

NOTHING_LEFT, PLENTY = "1", "0.6"


@asynccontextmanager
async def pair(server: Server) -> AsyncGenerator[tuple[AmqpTransport, AmqpTransport, Things]]:
    """One that asks, one that serves, and what it serves."""
    async with pair_of(server.url) as (one, other, things):
        assert isinstance(one, AmqpTransport)
        assert isinstance(other, AmqpTransport)
        yield one, other, things


class TestConnection(ConnectionSuite):
    scheme = "amqp"
    pending_max = PENDING_BYTES_MAX

    def make(self, folder: Path) -> None:
        del folder


class TestStarting:
    @pytest.mark.parametrize(
        "greeting",
        [
            b"HTTP/1.1 400 No\r\n\r\n",
            b"AMQP\x00\x01\x00\x00",
            b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xcd",  # no end of a frame where it should be
            b"\x01\x00\x00\x00\x00\x00\x04\x00\x63\x00\x0a\xce",  # no such method
            b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce",  # nothing in it
            b"\x02\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce",  # the header of no message
            b"\x03\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce",  # the body of no message
        ],
    )
    async def test_what_is_no_rabbitmq_is_told(self, greeting: bytes) -> None:
        async with saying(greeting) as port:
            said = await refused(f"amqp://127.0.0.1:{port}", patience=2.0)
            assert "does not speak AMQP 0-9-1" in said

    async def test_what_answers_something_else_is_told(self) -> None:
        async with saying(b"\x01\x00\x00\x00\x00\x00\x05\x00\x0a\x00\x29\x00\xce") as port:  # Connection.OpenOk
            assert "expected Start" in await refused(f"amqp://127.0.0.1:{port}", patience=2.0)


class TestWhoAsks:
    async def test_a_user_with_a_password(self, server: Server) -> None:
        _ = server.control("add_user", "ada", "se cret")
        _ = server.control("set_permissions", "ada", r"hanse\..*", r"hanse\..*|amq\.default", r"hanse\..*")
        place = f"127.0.0.1:{server.port}"
        await works(f"amqp://ada:se%20cret@{place}")
        await works(server.url, user="ada", password="se cret")
        assert "ACCESS_REFUSED" in await refused(f"amqp://ada:wrong@{place}")

    async def test_a_user_who_may_not_serve_is_told_and_nothing_else_breaks(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        _ = server.control("add_user", "bob", "bob")
        _ = server.control("set_permissions", "bob", r"hanse\..*\.node\..*", ".*", r"hanse\..*\.node\..*")
        options = Options(app=next(apps), user="bob", password="bob")
        one = AmqpTransport(server.url, Host.system(), options)
        one.listen("things", Things().server)
        other = AmqpTransport(server.url, Host.system(), Options(app=options.app))
        async with opened(one, other):
            await one.flush()
            assert "ACCESS_REFUSED" in caplog.text
            with pytest.raises(UnknownOperation):
                _ = await echo(other)
            other.listen("more", Things("more").server)
            await other.flush()
            reply = await one.request(Message(Kind.CALL, "1", "more.echo", WAIT_SECONDS, body=b"well"))
            assert reply.body == b"well"

    async def test_virtual_hosts_are_apart(self, server: Server) -> None:
        _ = server.control("add_vhost", "apart")
        _ = server.control("set_permissions", "-p", "apart", "guest", ".*", ".*", ".*")
        app = next(apps)
        one, other = (AmqpTransport(server.url + path, Host.system(), Options(app=app)) for path in ("/apart", ""))
        other.listen("things", Things().server)
        async with opened(other, one):
            await other.flush()
            with pytest.raises(UnknownOperation):
                _ = await echo(one)
        await works(f"{server.url}/apart")
        assert "vhost unheard not found" in await refused(f"{server.url}/unheard")

    async def test_tls(self, server: Server) -> None:
        authority = trustme.CA()
        theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(theirs)
        authority.configure_trust(ours)
        async with secured(server, theirs) as port:
            url = f"amqps://localhost:{port}"
            await works(url, tls=ours)
            assert "certificate verify failed" in await refused(url, patience=2.0)


@contextmanager
def short_of_memory(server: Server) -> Generator[None]:
    _ = server.control("set_vm_memory_high_watermark", "absolute", NOTHING_LEFT)
    try:
        yield
    finally:
        _ = server.control("set_vm_memory_high_watermark", PLENTY)


class TestOnTheWay:
    async def test_a_server_that_is_short_of_memory_is_told_and_used_again(self, server: Server) -> None:
        async with pair(server) as (one, _, _things), unheard() as tasks:
            with short_of_memory(server):
                # The server says so when the first message comes.
                first = tasks.start(fate(one))
                async with asyncio.timeout(WAIT_SECONDS):
                    while "takes no messages" not in one.trouble():  # noqa: ASYNC110
                        await asyncio.sleep(0.01)  # nothing tells of it but this
                with pytest.raises(Unavailable, match="takes no messages"):
                    _ = await echo(one)
                assert one.native.publish(one.names.here + b"9", b"", b"later")
            await well_again(one)
            assert one.trouble() == ""
            _ = await first

    async def test_a_queue_that_somebody_deletes_is_made_again(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with pair(server) as (one, other, _things):
            wires = one.native.native
            assert wires is not None
            channel = await wires.into.channel()
            queue = other.names.service("things").decode()
            _ = await channel.ask(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)
            async with asyncio.timeout(WAIT_SECONDS):
                while await fate(one) != b"well":
                    await other.flush()
            assert "is not there any more" in caplog.text

    async def test_a_node_whose_queue_somebody_deletes_connects_again(self, server: Server) -> None:
        async with pair(server) as (one, _other, _things):
            wires = one.native.native
            assert wires is not None
            channel = await wires.into.channel()
            channel.tell(commands.Queue.Delete(queue=one.names.inbox_queue.decode()))
            async with asyncio.timeout(WAIT_SECONDS):
                _ = await wires.into.ended.wait()
                while await fate(one) != b"well":
                    await one.native.up()

    async def test_a_queue_with_other_properties_is_used_as_it_is(self, server: Server) -> None:
        app = next(apps)
        one, other = (AmqpTransport(server.url, Host.system(), Options(app=app)) for _ in range(2))
        async with opened(one, other):
            assert one.native.native is not None
            name = one.names.service("things").decode()
            lasting = commands.Queue.Declare(queue=name, durable=True, auto_delete=True)
            _ = await declare(one.native.native.into, lasting)
            other.listen("things", Things().server)
            await other.flush()
            assert await echo(one) == b"well"

    async def test_what_nobody_waits_for_any_more_is_not_done(self, server: Server) -> None:
        async with pair(server) as (one, other, things):
            key = one.names.service("more")
            wires = one.native.native
            assert wires is not None
            _ = await declare(wires.into, commands.Queue.Declare(queue=key.decode(), auto_delete=True))
            for body, wait in ((b"old", 1), (b"fresh", 10_000)):
                head, rest = ask_of(Message(Kind.CALL, "1", "more.echo", WAIT_SECONDS, body=body))
                properties = asked(one.names.here + body, wait)
                wires.calls.publish(key, properties, head, rest, mandatory=True)
            await one.flush()
            await asyncio.sleep(0.01)  # as the server says that the one waits for no longer than this
            more = Things("more", beside=things)
            other.listen("more", more.server)
            async with asyncio.timeout(WAIT_SECONDS):
                await more.until(lambda: bool(more.came))
            assert [message.body for message in more.came] == [b"fresh"]

    async def test_what_waits_as_the_last_instance_leaves_is_refused(self, server: Server) -> None:
        async with pair(server) as (one, other, _things), unheard() as tasks:
            wires = other.native.native
            assert wires is not None
            # It takes nothing for a while.
            assert wires.into._transport is not None
            wires.into._transport.pause_reading()
            asked = [tasks.start(fate(one)) for _ in range(AHEAD_MAX * 4)]
            await one.flush()
            other.leave("things")
            wires.into._transport.resume_reading()
            # At once, but for what the server was just putting into the queue as that was deleted.
            async with asyncio.timeout(WAIT_SECONDS):
                assert await asyncio.gather(*asked) == [b""] * (AHEAD_MAX * 4)

    async def test_a_node_that_drains_leaves_what_others_serve_and_serves_its_own(self, server: Server) -> None:
        async with pair(server) as (one, other, things):
            more = Things()
            one.listen("things", more.server)
            await one.flush()
            assert isinstance(other, Drains)
            other.drain()
            async with asyncio.timeout(WAIT_SECONDS):
                while any(said.names and not said.weight for said in await one.nodes()):
                    await other.flush()
            assert await echo(other) == b"well"
            assert len(things.came) == 1

    async def test_a_lone_node_that_drains_serves_until_somebody_else_does(self, server: Server) -> None:
        async with pair(server) as (one, other, things):
            other.drain()
            await other.flush()
            # Who serves nothing is there too: a gateway, say.
            assert {said.names: said.weight > 0 for said in await one.nodes()} == {("things",): False, (): True}
            assert await echo(one) == b"well"
            async with opened(third := AmqpTransport(server.url, Host.system(), Options(app=other.names.app))):
                third.listen("things", Things().server)
                async with asyncio.timeout(WAIT_SECONDS):
                    while one.names.service("things") in other.native._intake.wanted:
                        await third.flush()
                await other.flush()
                assert await echo(one) == b"well"
            assert len(things.came) == 1
