"""Connections between simulated machines, as protocols of asyncio see them."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest

from hanse.sim.chance import Draws
from hanse.sim.fence import Fenced
from hanse.sim.flow import WINDOW_BYTES, Incoming, Outgoing
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import KEEPALIVE_SECONDS, Network
from hanse.sim.sockets import Lan, SimServer
from hanse.sim.trace import Trace

T = TypeVar("T")


class End(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.came = bytearray()
        self.pieces = 0
        self.log: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        self.pieces += 1

    def eof_received(self) -> bool | None:
        self.log.append("end")
        return None

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(f"lost {type(exc).__name__}" if exc else "lost")
        self.lost.set_result(exc)


class Echo(End):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Machines:
    """Two processes that can connect, and the story."""

    def __init__(self, loop: Loop, seed: int = 7) -> None:
        self.loop = loop
        self.trace = Trace()
        self.network = Network(loop, self.trace, seed)
        self.lan = loop.internet = Lan(self.network, seed)
        self.lanes: dict[str, Lane] = {}
        self.ends: list[End] = []
        for name in ("one", "two"):
            self.start(name)

    def start(self, name: str) -> None:
        self.lanes[name] = Lane(self.loop, name)
        self.lan.join(self.lanes[name])

    async def on(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work()

        return await self.lanes[name].start(run())

    async def listen(
        self, name: str, make: Callable[[], End] = End, host: str | None = None, port: int = 80
    ) -> SimServer:
        def made() -> End:
            self.ends.append(make())
            return self.ends[-1]

        server = await self.on(name, lambda: self.loop.create_server(made, host, port))
        assert isinstance(server, SimServer)
        return server

    async def connect(self, name: str, host: str = "two", port: int = 80) -> End:
        _, end = await self.on(name, lambda: self.loop.create_connection(End, host, port))
        assert isinstance(end, End)
        return end

    def kill(self, name: str, *, dark: bool = False) -> None:
        self.lanes[name].kill()
        there = self.lan.latest(name)
        assert there is not None
        self.network.died(there.port, dark=dark)

    def cut(self) -> None:
        self.network.cut([self.network.link("one", "two"), self.network.link("two", "one")])

    def mend(self) -> None:
        self.network.mend([self.network.link("one", "two"), self.network.link("two", "one")])


def play(story: Callable[[Machines], Awaitable[T]], seed: int = 7) -> tuple[T, Machines]:
    loop = Loop(seed)
    machines = Machines(loop, seed)

    async def main() -> T:
        return await story(machines)

    told = loop.play(main())
    assert loop.errors == []
    return told, machines


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - time is virtual, and conditions are of any kind
            await asyncio.sleep(0.001)


def test_what_is_written_comes_whole_and_in_order_though_in_other_pieces() -> None:
    async def story(machines: Machines) -> tuple[bytes, bytes, int]:
        _ = await machines.listen("two", Echo)
        end = await machines.connect("one")
        said = bytes(range(256)) * 2_000
        for at in range(0, len(said), 1_000):
            end.transport.write(said[at : at + 1_000])
        await until(lambda: len(end.came) == len(said))
        return said, bytes(end.came), machines.ends[0].pieces

    (said, came, pieces), _ = play(story)
    assert came == said
    assert pieces not in {0, 1, 512}


def test_one_seed_is_one_run_to_the_byte() -> None:
    async def story(machines: Machines) -> None:
        machines.network.loss = 0.2
        _ = await machines.listen("two", Echo)
        end = await machines.connect("one")
        for _ in range(50):
            end.transport.write(b"x" * 10_000)
        await until(lambda: len(end.came) == 500_000)

    hashes = [play(story, seed)[1].trace.hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_whoever_writes_more_than_is_read_is_paused_and_goes_on_later() -> None:
    async def story(machines: Machines) -> tuple[End, int, int]:
        _ = await machines.listen("two")
        end = await machines.connect("one")
        await until(lambda: bool(machines.ends))
        machines.ends[0].transport.pause_reading()
        end.transport.write(b"x" * (WINDOW_BYTES + 100_000))
        await asyncio.sleep(1.0)
        unread, unsent = len(machines.ends[0].came), end.transport.get_write_buffer_size()
        machines.ends[0].transport.resume_reading()
        await until(lambda: len(machines.ends[0].came) == WINDOW_BYTES + 100_000)
        await until(lambda: "resume" in end.log)
        return end, unread, unsent

    (end, unread, unsent), _ = play(story)
    assert (unread, unsent) == (0, 100_000)
    assert end.log == ["pause", "resume"]


def test_what_was_written_before_a_close_comes_and_then_the_end() -> None:
    async def story(machines: Machines) -> tuple[End, End]:
        _ = await machines.listen("two")
        end = await machines.connect("one")
        end.transport.write(b"x" * 1_000_000)
        end.transport.close()
        _ = await end.lost
        other = machines.ends[0]
        _ = await other.lost
        return end, other

    (end, other), _ = play(story)
    assert len(other.came) == 1_000_000
    assert (end.log[-1], other.log) == ("lost", ["end", "lost"])


def test_whoever_closes_with_something_unread_resets_the_connection() -> None:
    async def story(machines: Machines) -> End:
        _ = await machines.listen("two")
        end = await machines.connect("one")
        await until(lambda: bool(machines.ends))
        machines.ends[0].transport.pause_reading()
        end.transport.write(b"never read")
        await asyncio.sleep(1.0)
        machines.ends[0].transport.close()
        _ = await end.lost
        return end

    end, _ = play(story)
    assert end.log == ["lost ConnectionResetError"]


def test_what_comes_to_a_socket_that_was_closed_is_answered_by_a_reset() -> None:
    async def story(machines: Machines) -> End:
        class Staying(End):
            def eof_received(self) -> bool:
                return True

        _ = await machines.listen("two", Staying)
        end = await machines.connect("one")
        await until(lambda: bool(machines.ends))
        end.transport.abort()
        _ = await end.lost
        await asyncio.sleep(0.1)
        machines.ends[0].transport.write(b"are you there?")
        _ = await machines.ends[0].lost
        return machines.ends[0]

    other, _ = play(story)
    assert other.log == ["lost ConnectionResetError"]


def test_half_of_a_connection_may_end_before_the_other() -> None:
    async def story(machines: Machines) -> tuple[bytes, list[str]]:
        class Last(End):
            def eof_received(self) -> bool:
                self.transport.write(b"all " + self.came)
                self.transport.close()
                return True

        _ = await machines.listen("two", Last)
        end = await machines.connect("one")
        end.transport.write(b"of it")
        assert end.transport.can_write_eof()
        end.transport.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            end.transport.write(b"more")
        _ = await end.lost
        return bytes(end.came), end.log

    (came, log), _ = play(story)
    assert (came, log) == (b"all of it", ["end", "lost"])


@pytest.mark.parametrize(
    ("dark", "least", "most", "what"), [(False, 0.0, 0.1, "ConnectionResetError"), (True, 4.9, 6.0, "TimeoutError")]
)
def test_the_end_of_a_process_resets_and_that_of_its_machine_is_silent(
    dark: bool, least: float, most: float, what: str
) -> None:
    async def story(machines: Machines) -> tuple[float, list[str]]:
        _ = await machines.listen("two")
        end = await machines.connect("one")
        await until(lambda: bool(machines.ends))
        began = machines.loop.now
        machines.kill("two", dark=dark)
        _ = await end.lost
        return machines.loop.now - began, end.log

    (after, log), _ = play(story)
    assert least <= after <= most
    assert log == [f"lost {what}"]


def test_a_cut_holds_up_what_is_sent_and_breaks_the_connection_where_it_lasts() -> None:
    async def story(machines: Machines) -> tuple[int, End, End]:
        _ = await machines.listen("two", Echo)
        end = await machines.connect("one")
        machines.cut()
        end.transport.write(b"hello")
        await asyncio.sleep(KEEPALIVE_SECONDS / 2)
        meanwhile = len(end.came)
        machines.mend()
        await until(lambda: bytes(end.came) == b"hello")
        machines.cut()
        await asyncio.sleep(KEEPALIVE_SECONDS + 1.0)
        machines.mend()
        return meanwhile, end, machines.ends[0]

    (meanwhile, end, other), _ = play(story)
    assert meanwhile == 0
    assert end.log == other.log == ["lost TimeoutError"]


def test_a_process_that_stands_still_is_connected_to_and_reads_later() -> None:
    async def story(machines: Machines) -> tuple[float, bytes, int]:
        _ = await machines.listen("two")
        machines.lanes["two"].pause(3.0)
        end = await machines.connect("one")
        connected = machines.loop.now
        for part in (b"when ", b"you ", b"wake"):
            end.transport.write(part)
            await asyncio.sleep(0.1)
        assert not machines.ends
        await until(lambda: bool(machines.ends) and machines.ends[0].pieces > 0)
        return connected, bytes(machines.ends[0].came), machines.ends[0].pieces

    (connected, came, pieces), _ = play(story)
    assert connected < 0.1
    assert (came, pieces) == (b"when you wake", 1)


def test_where_nobody_listens_a_connection_is_refused() -> None:
    async def story(machines: Machines) -> None:
        with pytest.raises(ConnectionRefusedError):
            await machines.connect("one", port=81)
        server = await machines.listen("two", host="127.0.0.1")
        with pytest.raises(ConnectionRefusedError):
            await machines.connect("one")
        _ = await machines.connect("two", "localhost")
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await machines.connect("two", "127.0.0.1")
        machines.kill("two")
        with pytest.raises(ConnectionRefusedError):
            await machines.connect("one")

    _ = play(story)


def test_where_nobody_can_answer_it_takes_its_time() -> None:
    async def story(machines: Machines) -> float:
        machines.kill("two", dark=True)
        began = machines.loop.now
        with pytest.raises(TimeoutError) as raised:
            await machines.connect("one")
        assert raised.value.errno == errno.ETIMEDOUT
        with pytest.raises(TimeoutError):
            await machines.connect("one", "10.9.9.9")
        return machines.loop.now - began

    took, _ = play(story)
    assert took == pytest.approx(126.0)


def test_a_try_goes_on_until_a_machine_is_there_again() -> None:
    async def story(machines: Machines) -> float:
        machines.kill("two", dark=True)
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(machines.connect("one"))
            await asyncio.sleep(2.0)
            machines.start("two")
            _ = await machines.listen("two")
        return machines.loop.now

    now, _ = play(story)
    assert 3.0 <= now < 3.1


def test_whoever_gives_up_connecting_leaves_nothing_behind() -> None:
    async def story(machines: Machines) -> list[str]:
        _ = await machines.listen("two")
        for seconds in (0.0001, 0.001, 0.002, 0.003):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await machines.connect("one")
        await asyncio.sleep(KEEPALIVE_SECONDS)
        # Those that were made belong to whoever asked; all others are gone at both ends.
        return [end.log[0] for end in machines.ends if end.log]

    logs, _ = play(story)
    assert set(logs) <= {"lost ConnectionResetError", "end", "lost"}
    assert logs


def test_machines_have_names_and_addresses() -> None:
    async def story(machines: Machines) -> None:
        server = await machines.listen("two", host="two", port=0)
        own, port = server.sockets[0].getsockname()
        found = await machines.on("one", lambda: machines.loop.getaddrinfo("TWO", 80))
        assert found == [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (own, 80))]
        end = await machines.connect("one", own, port)
        assert end.transport.get_extra_info("peername") == (own, port)
        assert end.transport.get_extra_info("socket").getpeername() == (own, port)
        await until(lambda: bool(machines.ends))
        assert machines.ends[0].transport.get_extra_info("peername") == end.transport.get_extra_info("sockname")
        with pytest.raises(socket.gaierror, match="no machine is called 'three'; there are one, two"):
            await machines.connect("one", "three")

    _ = play(story)


def test_a_port_is_taken_once_and_at_its_own_machine() -> None:
    async def story(machines: Machines) -> None:
        server = await machines.listen("two")
        with pytest.raises(OSError, match="bind") as raised:
            await machines.listen("two")
        assert raised.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match="no address of two"):
            await machines.listen("two", host="one", port=81)
        server.close()
        await server.wait_closed()
        _ = await machines.listen("two")

    _ = play(story)


def test_streams_of_asyncio_go_over_it() -> None:
    async def story(machines: Machines) -> bytes:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello, " + await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection("two", 80)
            writer.write(b"one\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        _ = await machines.on("two", lambda: asyncio.start_server(greet, port=80))
        return await machines.on("one", ask)

    answer, _ = play(story)
    assert answer == b"hello, one\n"


def test_a_protocol_that_fails_loses_its_connection_and_the_error_is_told() -> None:
    class Failing(End):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError("cannot read this")

    async def story(machines: Machines) -> list[str]:
        _ = await machines.listen("two", Failing)
        end = await machines.connect("one")
        end.transport.write(b"x")
        _ = await end.lost
        return machines.ends[0].log

    loop = Loop(7)
    machines = Machines(loop)

    async def main() -> list[str]:
        return await story(machines)

    assert loop.play(main()) == ["lost RuntimeError"]
    assert [(name, str(error)) for name, error in loop.errors] == [("two", "cannot read this")]


@pytest.mark.parametrize(
    ("name", "options"),
    [("create_connection", {"ssl": True}), ("create_server", {"ssl": True}), ("create_connection", {"sock": object()})],
)
def test_what_would_lead_out_of_the_world_is_refused(name: str, options: dict[str, object]) -> None:
    async def story(machines: Machines) -> None:
        with pytest.raises(Fenced, match=rf"loop\.{name}\(\w+=...\), in a simulated world; "):
            getattr(machines.loop, name)(End, "two", 80, **options)
        with pytest.raises(Fenced, match="leave TLS out"):
            machines.loop.start_tls(None, None, None)

    _ = play(story)


def test_a_flow_gives_out_what_the_other_side_has_room_for() -> None:
    out, came = Outgoing(Draws(3, "out")), Incoming()
    out.put(b"ab" * WINDOW_BYTES)
    for piece in iter(out.next, b""):
        came.put(piece)
    assert came.waiting == WINDOW_BYTES
    assert len(came.take(1_000)) == 1_000
    assert came.give_back() == 0
    _ = came.take(WINDOW_BYTES)
    out.given_back(came.give_back())
    assert out.window == WINDOW_BYTES
    assert came.give_back() == 0


def test_a_transport_does_what_asyncio_says_of_transports() -> None:
    async def story(machines: Machines) -> None:
        server = await machines.listen("two")
        assert server.is_serving()
        assert server.get_loop() is machines.loop
        await server.start_serving()
        end = await machines.connect("one")
        await until(lambda: bool(machines.ends))
        transport = end.transport
        assert transport.get_protocol() is end
        transport.set_write_buffer_limits(high=100)
        assert transport.get_write_buffer_limits() == (25, 100)
        transport.set_write_buffer_limits(low=10)
        assert transport.get_write_buffer_limits() == (10, 40)
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=1, low=2)
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        other = End()
        transport.set_protocol(other)
        transport.writelines([b"a", b"b"])
        await until(lambda: bytes(machines.ends[0].came) == b"ab")
        machines.ends[0].transport.write(b"c")
        await until(lambda: bytes(other.came) == b"c")
        transport.close()
        transport.close()
        assert transport.is_closing()
        _ = await other.lost
        transport.write(b"nobody hears this")
        info = transport.get_extra_info("socket")
        info.setsockopt(0, 0, 0)
        assert info.fileno() == -1
        with pytest.raises(OSError, match="connected to nobody"):
            server.sockets[0].getpeername()

    _ = play(story)


def test_a_protocol_that_fails_at_the_end_loses_its_connection() -> None:
    class Failing(End):
        def eof_received(self) -> bool:
            raise RuntimeError("cannot end like this")

    async def story(machines: Machines) -> list[str]:
        _ = await machines.listen("two", Failing)
        end = await machines.connect("one")
        end.transport.close()
        await until(lambda: bool(machines.ends) and bool(machines.ends[0].log))
        return machines.ends[0].log

    loop = Loop(7)
    machines = Machines(loop)

    async def main() -> list[str]:
        return await story(machines)

    assert loop.play(main()) == ["lost RuntimeError"]
    assert [str(error) for _, error in loop.errors] == ["cannot end like this"]


def test_a_server_that_serves_for_ever_closes_when_it_is_cancelled() -> None:
    async def story(machines: Machines) -> bool:
        server = await machines.listen("two")
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve_forever())
            await asyncio.sleep(1.0)
            _ = serving.cancel()
        return server.is_serving()

    assert play(story)[0] is False


def test_a_dead_process_connects_to_nobody() -> None:
    async def story(machines: Machines) -> None:
        lane = machines.lanes["one"]
        machines.kill("one")
        with pytest.raises(ConnectionAbortedError):
            await machines.lan.connect(lane, End, "two", 80)

    _ = play(story)
