"""What the twin of RabbitMQ does to clients that do not keep up, and what it still has when it comes back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from pamqp import base, commands

from hanse.sim.brokers.amqp_channel import BODY_BYTES_MAX, with_number
from hanse.sim.brokers.amqp_queues import NAMED_SECONDS, Config, Item, Queue, Storage, Stream, Taker
from hanse.sim.brokers.amqp_server import AmqpServer
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import Network
from hanse.sim.sockets import Lan
from hanse.sim.trace import Trace
from hanse.transport.amqp.channel import ChannelError
from hanse.transport.amqp.frames import HEADER, KEPT, content, head, kept_as, method, offset_in, told
from hanse.transport.amqp.greeting import HEARTBEAT_SECONDS, Login, greet
from hanse.transport.amqp.wire import Wire
from hanse.transport.brokered.lasting import RefusedError

QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 2}
STREAM = {"x-queue-type": "stream"}


def item(text: bytes, at: float = 0.0, *, lasts: bool = True) -> Item:
    return Item(0, "", "q", KEPT, text, at, persistent=lasts)


def taker(got: list[bytes], prefetch: int = 0) -> Taker:
    return Taker("t", lambda _, item: got.append(item.body), lambda _: None, prefetch=prefetch)


def taken(queue: Queue | Stream) -> list[bytes]:
    got: list[bytes] = []
    queue.begin(taker(got, 100), "first")
    queue.hand_out(0.0)
    return got


def test_what_was_handed_out_before_a_kill_is_handed_out_again_where_it_stood() -> None:
    storage = Storage()
    queue = Queue(Config("q", durable=True, arguments=QUORUM), 0.0)
    storage.add(queue, 0.0)
    for text in (b"a", b"b", b"c"):
        queue.put(item(text))
    queue.begin(taker(got := list[bytes](), 2), None)
    queue.hand_out(0.0)
    storage.restart(9.0, 10.0)
    assert got == [b"a", b"b"]
    # It is thrown away once it came back too often.
    for _ in range(2):
        assert taken(queue) == [b"a", b"b", b"c"]
        storage.restart(9.0, 10.0)
    assert taken(queue) == [b"c"]


def test_a_kill_takes_what_does_not_last() -> None:
    storage = Storage()
    for name, durable in (("gone", False), ("there", True)):
        storage.add(queue := Queue(Config(name, durable=durable, arguments={"x-expires": 5_000}), 0.0), 0.0)
        queue.put(item(b"lasts"))
        queue.put(item(b"does not", lasts=False))
    storage.restart(1.0, 2.0)
    assert list(storage.queues) == ["there"]
    assert storage.queues["there"].ready(3.0) == 1
    assert [storage.queues["there"].is_over(at) for at in (6.0, 7.0)] == [False, True]


def test_a_queue_whose_name_was_not_written_is_lost_with_the_process() -> None:
    for died, there in ((NAMED_SECONDS - 0.1, []), (NAMED_SECONDS, ["q", "s"])):
        storage = Storage()
        storage.add(Queue(Config("q", durable=True, arguments=QUORUM), 0.0), 0.0)
        storage.add(Stream(Config("s", durable=True, arguments=STREAM), 0.0), 0.0)
        storage.restart(died, 5.0)
        assert list(storage.queues) == there
    storage.add(Stream(Config("late", durable=True, arguments=STREAM), 6.0), 6.0)
    storage.restart(6.1, 7.0)
    assert list(storage.queues) == ["q", "s"]


def test_a_power_cut_takes_the_last_of_a_stream_and_nothing_of_a_quorum_queue() -> None:
    storage = Storage()
    for queue in (Queue(Config("q", durable=True, arguments=QUORUM), 0.0), Stream(Config("s", durable=True), 0.0)):
        storage.add(queue, 0.0)
        for at in (10.0, 50.0, 90.0):
            queue.put(item(b"%d" % at, at))
    storage.went_dark(100.0, lambda: 0.5)
    storage.restart(100.0, 101.0)
    assert taken(storage.queues["q"]) == [b"10", b"50", b"90"]
    assert taken(storage.queues["s"]) == [b"10", b"50"]
    storage.queues["s"].put(late := item(b"new", 102.0))
    assert late.place == 2


@pytest.mark.parametrize("raw", [KEPT, kept_as(b"m"), told(b"7", b"r"), b"\xc0\x00\x01a\x01b"])
def test_numbers_stand_in_the_headers_of_any_message(raw: bytes) -> None:
    once = with_number(raw, b"x-delivery-count", 3)
    assert offset_in(with_number(once, b"x-stream-offset", 7)) == 7


class Scene:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.lan = loop.internet = Lan(Network(loop, Trace(), 7), 7)
        self.lane = Lane(loop, "amqp")
        _ = self.lan.join(self.lane)
        self.server = AmqpServer(Storage(), lambda: loop.now)

    async def wire(self, name: str, login: Login | None = None) -> Wire:
        lane = Lane(self.loop, name)
        _ = self.lan.join(lane)
        _, wire = await lane.start(self.loop.create_connection(lambda: Wire(asyncio.Event()), "amqp", 5672))
        assert isinstance(wire, Wire)
        _ = await greet(wire, login or Login("guest", "guest", "/", name))
        return wire


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    loop = Loop(7)

    async def main() -> None:
        scene = Scene(loop)
        _ = await scene.lane.start(scene.server.serve())
        await story(scene)

    loop.play(main())
    assert loop.errors == []


def test_who_says_nothing_is_cut_off_and_what_was_its_alone_goes() -> None:
    async def story(scene: Scene) -> None:
        wire, other = await scene.wire("one"), await scene.wire("other")
        channel = await wire.channel()
        declare = commands.Queue.Declare(queue="mine", exclusive=True)
        _ = await channel.ask(declare, commands.Queue.DeclareOk)
        passive = commands.Queue.Declare(queue="mine", passive=True)
        with pytest.raises(ChannelError, match="RESOURCE_LOCKED"):
            _ = await (await other.channel()).ask(passive, commands.Queue.DeclareOk)
        for _ in range(4):
            await asyncio.sleep(HEARTBEAT_SECONDS - 1.0)
            other.look()
        assert wire.ended.is_set()
        assert not other.ended.is_set()
        assert scene.server.silent == 1
        with pytest.raises(ChannelError, match="NOT_FOUND"):
            _ = await (await other.channel()).ask(passive, commands.Queue.DeclareOk)

    play(story)


def test_nothing_more_is_read_from_who_publishes_where_memory_is_short() -> None:
    async def story(scene: Scene) -> None:
        wire = await scene.wire("one")
        said: list[str] = []
        wire.blocked = said.append
        channel = await wire.channel()
        _ = await channel.ask(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
        scene.server.block("low on memory")
        for text in (b"a", b"b"):
            channel.publish(b"q", b"\0\0", b"", text, mandatory=False)
        await asyncio.sleep(3 * HEARTBEAT_SECONDS)
        assert said == ["low on memory"]
        scene.server.free()
        there = await channel.ask(commands.Queue.Declare(queue="q", passive=True), commands.Queue.DeclareOk)
        assert (said, there.message_count, scene.server.idle) == (["low on memory", ""], 2, False)

    play(story)


@pytest.mark.parametrize(("user", "world"), [("eve", "/"), ("guest", "none")])
def test_who_may_not_come_is_told_why(user: str, world: str) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(RefusedError, match=r"ACCESS_REFUSED|vhost none not found"):
            _ = await scene.wire("one", Login(user, user, world, "one"))

    play(story)


def body(size: int) -> bytes:
    return head.pack(HEADER, 1, 14) + b"\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0\xce"


PUBLISH = method(1, commands.Basic.Publish(routing_key="q"))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([b"\x01\0\x01\0\0\0\0\xce"], "got b''"),
        ([b"\x01\0\x01\0\0\0\x01xx"], "the end of a frame"),
        ([b"\x01\0\x01\xff\0\0\0"], "at most"),
        ([method(7, commands.Basic.Qos())], "expected 'channel.open'"),
        ([method(1, commands.Channel.Open())], "second 'channel.open'"),
        ([method(1, commands.Tx.Select())], "does not know Tx.Select"),
        ([method(0, commands.Connection.TuneOk())], "expected no Connection.TuneOk"),
        ([body(1)], "got a header"),
        ([PUBLISH, content(1, b"\x01\x00\x01x", b"", b"a")], "expected properties"),
    ],
)
def test_what_is_no_protocol_ends_a_connection(said: Sequence[bytes], why: str) -> None:
    async def story(scene: Scene) -> None:
        wire = await scene.wire("one")
        _ = await wire.channel()
        wire.say(b"".join(said))
        _ = await wire.ended.wait()
        assert why in wire.why

    play(story)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([PUBLISH, body(BODY_BYTES_MAX + 1)], "is larger than"),
        ([method(1, commands.Exchange.Declare(exchange="e", exchange_type="topic"))], "of the type 'topic'"),
        ([method(1, commands.Queue.Delete(queue="none"))], "no queue 'none'"),
    ],
)
def test_what_is_not_done_ends_a_channel(said: Sequence[bytes], why: str) -> None:
    async def story(scene: Scene) -> None:
        wire = await scene.wire("one")
        channel = await wire.channel()
        wire.say(b"".join(said))
        with pytest.raises(ChannelError, match=why):
            _ = await channel.expect(base.Frame)
        assert (await wire.channel()).number > 1

    play(story)
