"""What the streams of the twin of NATS hold, what of it a power cut takes, and what our adapter makes of that."""

import asyncio
from typing import cast

import msgspec
import pytest

from hanse.kernel.context import Context, ambient
from hanse.kernel.message import EVENT, Headers, Message
from hanse.kernel.settings import NodeSettings
from hanse.sim.brokers.nats_jetstream import BATCH_MAX, BATCH_SECONDS, BATCHES_MAX, JetStream
from hanse.sim.brokers.nats_parse import Publish
from hanse.sim.brokers.nats_server import NatsServer
from hanse.sim.brokers.nats_streams import Config, Entry, Problem, Storage, Stream
from hanse.sim.carried import Carried, KeepingTwin
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.machine import host_of
from hanse.sim.network import Network
from hanse.sim.run import run
from hanse.sim.trace import Trace

NANO = 1_000_000_000


def entry(text: bytes, id: bytes = b"") -> Entry:
    return Entry(b"a.b", b"", text, id)


def payloads(stream: Stream) -> list[bytes]:
    return [item.payload for item in stream.since(0)]


def test_what_is_too_old_goes_and_its_id_is_forgotten_later() -> None:
    stream = Stream(Config("S", ("a.*",), max_age=10 * NANO, duplicate_window=20 * NANO), 0.0)
    for at in range(3):
        _ = stream.add(entry(b"%d" % at, b"id-%d" % at), at)
    stream.age(11.0)
    assert (payloads(stream), stream.first, stream.last) == ([b"2"], 3, 3)
    stream.age(99.0)
    assert (payloads(stream), stream.first, stream.last) == ([], 4, 3)
    assert (stream.known(b"id-0", 19.0), stream.known(b"id-0", 20.0), stream.known(b"", 0.0)) == (1, 0, 0)


def test_with_the_power_goes_what_was_not_flushed_and_numbers_are_given_again() -> None:
    storage = Storage()
    stream = storage.create(Config("S", ("a.*",)), 0.0)
    for at in range(1, 6):
        _ = stream.add(entry(b"%d" % at, b"id-%d" % at), at)
    storage.went_dark(6.0, lambda: 2.5 / 120.0)
    assert (payloads(stream), stream.last) == ([b"1", b"2", b"3"], 3)
    assert (stream.known(b"id-3", 6.0), stream.known(b"id-4", 6.0)) == (3, 0)
    assert stream.add(entry(b"new"), 7.0) == 4


def test_a_full_stream_that_drops_nothing_takes_no_more() -> None:
    stream = Stream(Config("S", ("a.*",), max_bytes=100, discard="new"), 0.0)
    _ = stream.add(entry(b"x" * 50), 0.0)
    with pytest.raises(Problem, match="maximum bytes"):
        stream.check(entry(b"x" * 50))
    stream.check(entry(b""))


class Scene:
    """One node on a simulated NATS, and the broker's disk."""

    def __init__(self) -> None:
        loop = cast("Loop", asyncio.get_running_loop())
        self.medium = Carried("nats://", Network(loop, Trace(), 7), Trace(), 7)
        self.machine = self.medium.appliances["nats"]
        lane = Lane(loop, "node")
        _ = lane.context.run(ambient.set, Context(host_of(lane, chance=(7, "node", 1), wall=lambda: loop.now)))
        self.node = cast("KeepingTwin", self.medium.join(lane, NodeSettings()))
        self.machine.start()

    @property
    def storage(self) -> Storage:
        storage = cast("NatsServer", self.medium.broker).storage
        assert storage is not None
        return storage

    async def publish(self, *names: str) -> None:
        await self.node.publish([Message(EVENT, name, "sold", 0.0, Headers(type="sold")) for name in names])

    async def handle(self, count: int) -> list[str]:
        backlog, found = await self.node.subscribe("mailer", ["sold"]), list[str]()
        async with asyncio.timeout(20.0):
            while len(found) < count:
                for kept in await backlog.take(count):
                    found.append(kept.message.id)
                    backlog.done(kept)
        await backlog.close()
        return found


def test_a_group_goes_on_with_what_is_new_where_the_broker_lost_what_it_had_handled() -> None:
    async def story() -> list[str]:
        scene = Scene()
        await scene.node.open()
        await scene.publish("one")
        await asyncio.sleep(1.0)
        await scene.publish("two", "three")
        assert await scene.handle(3) == ["one", "two", "three"]
        # The power goes: how far the group has come was flushed, and the last of the events was not.
        scene.machine.kill()
        events = next(stream for name, stream in scene.storage.streams.items() if name.endswith("EVENTS"))
        events.lose(next(events.since(1)).at + 0.5)
        assert events.last == 1
        scene.machine.start()
        await asyncio.sleep(5.0)
        backlog = await scene.node.subscribe("mailer", ["sold"])
        await asyncio.sleep(1.0)
        await scene.publish("four")
        found: list[str] = []
        async with asyncio.timeout(20.0):
            while "four" not in found:
                found += [kept.message.id for kept in await backlog.take(10)]
        return found

    assert run(story()) == ["one", "four"]


class Desk:
    """JetStream without connections."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[tuple[bytes, Publish]] = []
        self.jetstream = JetStream(Storage(), lambda to, message: self.said.append((to, message)), lambda: self.now)
        config = {"name": "HANSE_S", "subjects": ["a.*"], "allow_atomic": True}
        _ = self.ask(b"STREAM.CREATE.HANSE_S", config)

    def ask(self, verb: bytes, what: object) -> dict[str, object]:
        payload = what if isinstance(what, bytes) else msgspec.json.encode(what)
        assert self.jetstream.take(Publish(b"$JS.API." + verb, b"in", b"", payload))
        return msgspec.json.decode(self.said[-1][1].payload, type=dict[str, object])

    def publish(self, place: int, name: bytes = b"b", *, commit: bool = False) -> int:
        head = b"NATS/1.0\r\nNats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (name, place)
        head += b"Nats-Batch-Commit: 1\r\n\r\n" if commit else b"\r\n"
        assert self.jetstream.take(Publish(b"a.b", b"in", head, b"x"))
        payload = self.said[-1][1].payload
        error = cast("dict[str, int]", msgspec.json.decode(payload).get("error", {})) if payload else {}
        return error.get("err_code", 0)


def test_what_jetstream_cannot_do_it_says() -> None:
    desk = Desk()
    assert desk.ask(b"STREAM.CREATE.HANSE_T", b"{")["error"] is not None
    assert desk.ask(b"STREAM.CREATE.HANSE_T", {"name": "HANSE_U"})["error"] is not None
    assert not desk.jetstream.take(Publish(b"$JS.API.ACCOUNT.INFO", b"in", b"", b""))
    assert not desk.jetstream.take(Publish(b"other", b"in", b"", b""))


def test_a_batch_that_stands_still_is_given_up_and_there_are_not_too_many_or_too_large() -> None:
    desk = Desk()
    assert desk.publish(1) == 0
    desk.now = BATCH_SECONDS
    assert desk.publish(2, commit=True) == 10176
    assert [desk.publish(1, b"%d" % number) for number in range(BATCHES_MAX)] == [0] * BATCHES_MAX
    assert desk.publish(1, b"one more") == 10176
    assert [desk.publish(place, b"0") for place in range(2, BATCH_MAX + 1)] == [0] * (BATCH_MAX - 1)
    assert desk.publish(BATCH_MAX + 1, b"0", commit=True) == 10199


def test_a_reader_takes_as_many_bytes_as_it_has_asked_for_until_it_is_deleted() -> None:
    desk = Desk()
    for _ in range(2):
        assert desk.jetstream.take(Publish(b"a.b", b"", b"", b"x" * 100))
    name = cast("str", desk.ask(b"CONSUMER.CREATE.HANSE_S", {"config": {"opt_start_seq": 1}})["name"])

    async def story() -> None:
        pull = b"$JS.API.CONSUMER.MSG.NEXT.HANSE_S." + name.encode()
        assert desk.jetstream.take(Publish(pull, b"p", b"", b'{"batch": 9, "max_bytes": 150}'))
        assert [message.payload for _, message in desk.said[-2:]] == [b"x" * 100, b""]
        assert b"409 Message Size Exceeds MaxBytes" in desk.said[-1][1].headers
        assert desk.jetstream.take(Publish(pull, b"p", b"", b'{"batch": 9}'))
        _ = desk.ask(b"CONSUMER.DELETE.HANSE_S." + name.encode(), b"")
        assert b"409 Consumer Deleted" in desk.said[-2][1].headers

    run(story())
