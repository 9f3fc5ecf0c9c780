"""What the twin of Redis does to clients that do not keep up, and what it still holds when it comes back."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.resp import command
from hanse.sim.brokers.redis_memory import Delete, Expire, Journal, Pop, PushEnd
from hanse.sim.brokers.redis_resp import Broken, Commands, encoded
from hanse.sim.brokers.redis_server import Limits, RedisServer
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import Network
from hanse.sim.sockets import Lan
from hanse.sim.trace import Trace

SAID = command(b"RPUSH", b"k", b"*1\r\n", b"") + command(b"PING")


@given(st.lists(st.integers(0, len(SAID))))
def test_what_is_said_means_the_same_however_it_is_torn(cuts: list[int]) -> None:
    commands = Commands()
    places = [0, *sorted(cuts), len(SAID)]
    found = [words for a, b in pairwise(places) for words in commands.feed(SAID[a:b])]
    assert found == [[b"RPUSH", b"k", b"*1\r\n", b""], [b"PING"]]


@pytest.mark.parametrize(
    "said", [b"PING\r\n", b"*x\r\n", b"*1\r\n:1\r\n", b"*1\r\n$9999999999\r\n", b"*9999999999\r\n"]
)
def test_what_is_no_command_ends_a_connection(said: bytes) -> None:
    with pytest.raises(Broken, match="Protocol error"):
        _ = list(Commands().feed(said))


def test_what_is_no_reply_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="expected a reply"):
        _ = encoded(object())


def test_a_process_that_was_killed_has_again_what_it_held() -> None:
    journal = Journal()
    memory = journal.memory()
    for number in range(4):
        memory.do(number, PushEnd(b"k", b"%d" % number))
    memory.do(4.0, Pop(b"k", 1))
    memory.do(4.0, Pop(b"k", 1, last=True))
    memory.do(4.0, Expire(b"k", 9.0))
    memory.do(4.0, PushEnd(b"gone", b"x"))
    memory.do(4.0, Delete(b"gone"))
    again = journal.memory()
    assert again.list_of(b"k", 8.0) == [b"1", b"2"]
    assert again.list_of(b"gone", 8.0) == again.list_of(b"k", 9.0) == []


def test_with_the_power_the_last_of_it_goes_and_without_a_file_all() -> None:
    journal, nothing = Journal(), Journal(appends=False)
    for one in (journal, nothing):
        memory = one.memory()
        memory.do(1.0, PushEnd(b"k", b"old"))
        memory.do(2.0, PushEnd(b"k", b"new"))
        one.lose(1.5)
    assert journal.memory().list_of(b"k", 3.0) == [b"old"]
    assert nothing.memory().list_of(b"k", 3.0) == []


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.came = bytearray()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()

    def say(self, *words: bytes) -> None:
        self.transport.write(command(*words))


class Scene:
    def __init__(self, loop: Loop, limits: Limits) -> None:
        self.loop = loop
        self.lan = loop.internet = Lan(Network(loop, Trace(), 7), 7)
        self.lane = Lane(loop, "redis")
        _ = self.lan.join(self.lane)
        self.server = RedisServer(Journal().memory(), lambda: loop.now, limits)

    async def client(self, name: str) -> Client:
        lane = Lane(self.loop, name)
        _ = self.lan.join(lane)
        _, client = await lane.start(self.loop.create_connection(Client, "redis", 6379))
        assert isinstance(client, Client)
        return client


def play(story: Callable[[Scene], Awaitable[None]], limits: Limits) -> None:
    loop = Loop(7)

    async def main() -> None:
        scene = Scene(loop, limits)
        _ = await scene.lane.start(scene.server.serve())
        await story(scene)

    loop.play(main())
    assert loop.errors == []


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [(Limits(hard_bytes=500_000), 1.0), (Limits(soft_bytes=500_000, soft_seconds=20.0), 22.0)],
)
def test_a_subscriber_who_does_not_read_is_cut_off(limits: Limits, seconds: float) -> None:
    async def story(scene: Scene) -> None:
        slow, late, sender = [await scene.client(name) for name in ("slow", "late", "sender")]
        for client in (slow, late):
            client.say(b"SUBSCRIBE", b"c")
        await asyncio.sleep(0.1)
        slow.transport.pause_reading()
        late.transport.pause_reading()
        for _ in range(7):
            sender.say(b"PUBLISH", b"c", bytes(100_000))
        await asyncio.sleep(0.5)
        late.transport.resume_reading()
        for _ in range(3):
            sender.say(b"PUBLISH", b"c", bytes(100_000))
        await asyncio.sleep(seconds)
        slow.transport.resume_reading()
        async with asyncio.timeout(5.0):
            _ = await slow.lost.wait()
        assert scene.server.slow == 1
        assert not late.lost.is_set()

    play(story, limits)


def test_who_waits_for_a_list_is_served_in_the_order_of_asking() -> None:
    async def story(scene: Scene) -> None:
        clients = [await scene.client(f"client-{number}") for number in range(3)]
        for client in clients:
            client.say(b"BLMPOP", b"0", b"1", b"k", b"LEFT", b"COUNT", b"1")
            client.say(b"PING")
            await asyncio.sleep(0.1)
        clients[0].transport.abort()
        await asyncio.sleep(0.1)
        sender = await scene.client("sender")
        sender.say(b"RPUSH", b"k", b"first")
        await asyncio.sleep(0.1)
        assert clients[1].came == encoded([b"k", [b"first"]]) + b"+PONG\r\n"
        assert clients[2].came == b""
        assert scene.server.idle

    play(story, Limits())


def test_what_is_no_protocol_is_answered_and_closed() -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client("one")
        client.say()
        client.transport.write(b"hello\r\n")
        _ = await client.lost.wait()
        assert client.came == b"-ERR Protocol error: expected '*', got 'h'\r\n"

    play(story, Limits())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ((b"BLMPOP", b"0", b"1", b"k", b"RIGHT"), b"-ERR syntax error\r\n"),
        ((b"EXPIRE",), b"-ERR wrong number of arguments for 'expire' command\r\n"),
        ((b"SCRIPT", b"KILL"), b"-ERR unknown subcommand\r\n"),
        ((b"EVAL", b"return 1", b"0"), b"-ERR this Redis is the twin of one"),
        ((b"SELECT", b"3"), b"+OK\r\n"),
    ],
)
def test_what_it_does_not_do_it_says(words: tuple[bytes, ...], answer: bytes) -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client("one")
        client.say(*words)
        await asyncio.sleep(0.1)
        assert client.came.startswith(answer)

    play(story, Limits())
