"""The connection to real servers, whichever broker's they are: how it begins, breaks and comes again."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hanse.kernel.faults import Conflict, Unavailable
from hanse.kernel.message import Kind, Message
from hanse.testing.transport_things import Things
from hanse.transport.nats.transport import NatsTransport

from .brokered import WAIT_SECONDS, Node, apps, call, cut, echo, node, opened, pair, refused, well_again
from .process import ServerProcess, free_port, running


async def answer(one: Node, operation: str, body: bytes = b"") -> Message:
    return await one.request(call(operation, body))


async def all_fates(one: Node, bodies: list[bytes]) -> list[object]:
    """What calls that are asked in one turn of the loop, and wait there, come to."""
    said = [call("wait", body) for body in bodies]
    asked = [one.calling(it.address)(it.id, it.timeout, it.headers, it.body) for it in said]
    return list(await asyncio.gather(*asked, return_exceptions=True))


class ConnectionSuite:
    """Derive from it beside a fixture `server`, and say how servers are made.

    Attributes:
        scheme: Of the URLs.
        pending_max: Bytes that wait while no server takes them.
    """

    scheme: str
    pending_max: int

    def make(self, folder: Path) -> ServerProcess | None:
        """A server of the test's own, which has not begun; None where that takes too long for each test."""
        raise NotImplementedError

    @contextmanager
    def lone(self, server: ServerProcess, folder: Path) -> Generator[ServerProcess]:
        """A server that may be broken: one of the test's own, or that of all, which is made whole in the end."""
        one = self.make(folder)
        if one is None:
            try:
                yield server
            finally:
                if not server.is_well:
                    server.restart()
            return
        with running(one):
            yield one

    async def test_no_server_is_told_with_what_was_tried(self) -> None:
        said = await refused(f"{self.scheme}://ada:secret@127.0.0.1:{free_port()}", patience=0.2)
        assert "could be reached" in said
        assert "127.0.0.1" in said
        assert "secret" not in said

    async def test_a_server_that_starts_late_is_waited_for(self, tmp_path: Path) -> None:
        server = self.make(tmp_path)
        if server is None:
            pytest.skip("it takes too long to start")
        one = node(server.url, patience=WAIT_SECONDS)
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(one.open())
            server.start()
            await opening
        assert one.trouble() == ""
        await one.close()
        server.kill()

    async def test_a_transport_opens_again_after_it_was_closed(self, server: ServerProcess) -> None:
        app = next(apps)
        one, other = node(server.url, app), node(server.url, app)
        things = Things()
        other.listen("things", things.server)
        for _ in range(2):
            async with opened(other, one):
                other.listen("things", things.server)
                await other.flush()
                assert await echo(one) == b"well"
        things.server.close()

    async def test_of_several_that_one_is_used_that_is_there(self, server: ServerProcess) -> None:
        url = f"{self.scheme}://127.0.0.1:{free_port()},127.0.0.1:{server.port}"
        async with pair(url) as (one, _other, _things):
            assert await echo(one) == b"well"

    async def test_a_server_that_stands_still_is_noticed_and_used_again(
        self, server: ServerProcess, tmp_path: Path
    ) -> None:
        with self.lone(server, tmp_path) as still:
            async with pair(still.url) as (one, _other, _things):
                still.freeze()
                with pytest.raises(Unavailable):
                    _ = await echo(one)
                await asyncio.to_thread(still.restart)
                await well_again(one)

    async def test_of_calls_that_come_together_each_comes_to_an_end_of_its_own(self, server: ServerProcess) -> None:
        async with pair(server.url) as (one, _other, things), asyncio.TaskGroup() as group:
            bodies = [b"%d" % number for number in range(16)]
            waits = [group.create_task(answer(one, "wait", body)) for body in bodies]
            others = [group.create_task(answer(one, name)) for name in ("echo", "refuse") for _ in range(8)]
            kinds = [(await other).kind for other in others]
            assert kinds == [Kind.REPLY] * 8 + [Kind.FAULT] * 8
            await things.until(lambda: things.running == len(bodies))
            for wait in waits[::2]:
                _ = wait.cancel()
            await things.until(lambda: len(things.cancelled) == 8)
            things.gate.set()
            assert [(await wait).body for wait in waits[1::2]] == bodies[1::2]
            assert [message.body for message in things.came if message.address == "things.wait"] == bodies

    async def test_what_was_under_way_together_when_the_connection_broke_is_not_done_again(
        self, server: ServerProcess
    ) -> None:
        async with pair(server.url) as (one, _other, things), asyncio.TaskGroup() as group:
            bodies = [b"%d" % number for number in range(8)]
            fates = group.create_task(all_fates(one, bodies))
            await things.until(lambda: things.running == len(bodies))
            cut(one)
            assert [type(fate) for fate in await fates] == [Unavailable] * len(bodies)
            things.gate.set()
            await well_again(one)
            assert [message.body for message in things.came if message.address == "things.wait"] == bodies

    async def test_what_waits_without_a_server_has_a_limit(self, server: ServerProcess) -> None:
        one = node(server.url)
        connection = one.native
        assert connection.publish(one.names.here + b"1", b"", b"first")
        assert not connection.has_room(bytes(self.pending_max))
        assert not connection.publish(one.names.here + b"1", b"", bytes(self.pending_max))
        if not isinstance(one, NatsTransport):  # where a request is published as all else is
            assert not one.native.call("things.echo", b"1", b"", b"")
        with pytest.raises(Unavailable):
            await one.flush()
        async with opened(one):
            await one.flush()

    async def test_one_process_has_one_instance_of_a_service(self) -> None:
        one = node(f"{self.scheme}://127.0.0.1")
        things, others = Things(), Things()
        one.listen("things", things.server)
        one.listen("things", things.server)
        with pytest.raises(Conflict, match="'things' already"):
            one.listen("things", others.server)

    async def test_who_is_there_cannot_be_asked_without_a_server(self) -> None:
        with pytest.raises(Unavailable, match="cannot be asked"):
            _ = await node(f"{self.scheme}://127.0.0.1").nodes()
