"""What the twin of NATS does to clients that do not keep up, and how it is told apart what they say."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from hanse.sim.brokers.nats_parse import LINE_BYTES_MAX, Parser, Ping, Publish, Refusal, Subscribe, Unsubscribe
from hanse.sim.brokers.nats_server import Manners, NatsServer
from hanse.sim.brokers.nats_subjects import Interest, is_subject, matches
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import Network
from hanse.sim.sockets import Lan
from hanse.sim.trace import Trace

CONNECT = b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'

WISHES = [
    Subscribe(b"a.*", b"", b"1"),
    Publish(b"a.b", b"", b"", b"line\r\nPING\r\n"),
    Publish(b"a.b", b"r", b"NATS/1.0\r\n\r\n", b""),
    Ping(),
    Unsubscribe(b"1", 7),
]
SAID = b"SUB a.* 1\r\nPUB a.b 12\r\nline\r\nPING\r\n\r\nHPUB a.b r 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\nUNSUB 1 7\r\n"


@given(st.lists(st.integers(0, len(SAID))))
def test_what_is_said_means_the_same_however_it_is_torn(cuts: list[int]) -> None:
    parser = Parser()
    places = [0, *sorted(cuts), len(SAID)]
    assert [wish for a, b in pairwise(places) for wish in parser.feed(SAID[a:b])] == WISHES


@pytest.mark.parametrize(
    "said",
    [
        b"PUB a\r\n",
        b"PUB a b c 1\r\n",
        b"PUB a x\r\n",
        b"HPUB a 9 3\r\nabc\r\n",
        b"PUB a 1\r\nab\r\n",
        b"CONNECT {\r\n",
        b"SUB a\r\n",
        b"\r\n",
        b"x" * (LINE_BYTES_MAX + 1),
        b"x" * (LINE_BYTES_MAX + 1) + b"\r\n",
        b"PUB a 1048577\r\n",
    ],
)
def test_what_no_server_takes_is_refused(said: bytes) -> None:
    with pytest.raises(Refusal):
        _ = list(Parser().feed(said))


@given(
    st.lists(st.sampled_from([b"a", b"b", b"*"]), min_size=1, max_size=4),
    st.lists(st.sampled_from([b"a", b"b"]), min_size=1),
)
def test_a_star_stands_for_one_token(pattern: list[bytes], subject: list[bytes]) -> None:
    fits = len(pattern) == len(subject) and all(p in {b"*", s} for p, s in zip(pattern, subject, strict=True))
    assert matches(b".".join(pattern), b".".join(subject)) == fits


def test_names_of_subjects() -> None:
    assert [is_subject(name) for name in (b"", b".", b"a.", b"a.>", b"a.b")] == [False, False, False, False, True]
    assert [is_subject(name, wild=True) for name in (b">.a", b"a.>", b"*.a")] == [False, True, True]


def test_of_a_group_one_hears() -> None:
    interest: Interest[Subscribe] = Interest()
    for wanted in (lone := Subscribe(b"a", b"", b"0"), *(Subscribe(b"a", b"g", b"%d" % n) for n in range(1, 4))):
        interest.add(wanted)
    draws = iter([0.0, 0.5, 0.99, 0.0])
    heard = [interest.hearers(b"a", lambda: next(draws)) for _ in range(3)]
    assert [[one.id for one in hearers] for hearers in heard] == [[b"0", b"1"], [b"0", b"2"], [b"0", b"3"]]
    interest.remove(lone)
    interest.remove(lone)
    assert [one.id for one in interest.hearers(b"a", lambda: next(draws))] == [b"1"]


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


class Scene:
    """A server, and clients of it, each on a machine of its own."""

    def __init__(self, loop: Loop, manners: Manners) -> None:
        self.loop = loop
        self.lan = loop.internet = Lan(Network(loop, Trace(), 7), 7)
        self.lane = Lane(loop, "nats")
        _ = self.lan.join(self.lane)
        self.server = NatsServer("nats", 7, manners=manners)

    async def client(self, name: str) -> Client:
        lane = Lane(self.loop, name)
        _ = self.lan.join(lane)
        _, client = await lane.start(self.loop.create_connection(Client, "nats", 4222))
        assert isinstance(client, Client)
        client.transport.write(CONNECT)
        return client


def play(story: Callable[[Scene], Awaitable[None]], manners: Manners) -> None:
    loop = Loop(7)

    async def main() -> None:
        scene = Scene(loop, manners)
        _ = await scene.lane.start(scene.server.serve())
        await story(scene)

    loop.play(main())
    assert loop.errors == []


def test_who_does_not_read_is_cut_off_and_the_others_are_not() -> None:
    async def story(scene: Scene) -> None:
        slow, other, sender = [await scene.client(name) for name in ("slow", "other", "sender")]
        for client in (slow, other):
            client.transport.write(b"SUB a 1\r\n")
        await asyncio.sleep(0.1)
        slow.transport.pause_reading()
        for _ in range(20):
            sender.transport.write(b"PUB a 100000\r\n" + bytes(100_000) + b"\r\n")
            await asyncio.sleep(0.1)
        assert scene.server.slow == 1
        assert len(other.came) > 2_000_000
        slow.transport.resume_reading()
        async with asyncio.timeout(5.0):
            _ = await slow.lost.wait()

    play(story, Manners(pending_bytes_max=500_000))


def test_who_stands_still_for_ten_seconds_is_cut_off() -> None:
    async def story(scene: Scene) -> None:
        slow, sender = [await scene.client(name) for name in ("slow", "sender")]
        slow.transport.write(b"SUB a 1\r\n")
        await asyncio.sleep(0.1)
        slow.transport.pause_reading()
        sender.transport.write((b"PUB a 100000\r\n" + bytes(100_000) + b"\r\n") * 5)
        await asyncio.sleep(9.0)
        slow.transport.resume_reading()
        await asyncio.sleep(9.0)
        assert (scene.server.slow, len(slow.came) > 500_000) == (0, True)
        slow.transport.pause_reading()
        sender.transport.write((b"PUB a 100000\r\n" + bytes(100_000) + b"\r\n") * 5)
        await asyncio.sleep(11.0)
        assert scene.server.slow == 1

    play(story, Manners())


def test_who_does_not_answer_pings_is_stale() -> None:
    async def story(scene: Scene) -> None:
        silent, lively = await scene.client("silent"), await scene.client("lively")
        for _ in range(40):
            lively.transport.write(b"PONG\r\n")
            await asyncio.sleep(10.0)
        assert silent.lost.is_set()
        assert silent.came.count(b"PING\r\n") == 2
        assert silent.came.endswith(b"-ERR 'Stale Connection'\r\n")
        assert not lively.lost.is_set()

    play(story, Manners())


def test_a_lame_duck_says_so_and_takes_nobody() -> None:
    async def story(scene: Scene) -> None:
        client = await scene.client("one")
        await asyncio.sleep(0.1)
        assert b'"ldm":true' not in client.came
        scene.lane.context.run(scene.server.leave)
        await asyncio.sleep(0.1)
        assert b'"ldm":true' in client.came
        with pytest.raises(ConnectionRefusedError):
            _ = await scene.client("two")

    play(story, Manners())
