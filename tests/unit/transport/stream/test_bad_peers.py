"""Whatever the other side sends, or does not, costs it its connection at most."""

import asyncio
import struct
from typing import Self

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from hanse.kernel.faults import DeadlineExceeded, Overloaded, Unavailable
from hanse.kernel.message import EVENT, Headers, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.direct import NotSent
from hanse.transport.stream.frame import (
    ANSWER,
    ASKS,
    BEAT,
    CANCEL,
    GOODBYE,
    HELLO,
    MORE,
    PREFACE,
    REFUSE,
    REPLY,
    Goodbye,
    Hello,
    Refusal,
    Taken,
    head,
)
from hanse.transport.stream.limits import DEFAULT_LIMITS

from .nodes import QUICK, Bare, Node, Place, asked, call, decode, packed, short_folder, stream

ITEM = Message(Kind.ITEM, "1", "")


def unheard() -> Tasks:
    return Tasks(lambda _: None, limit=20_000)


class Impostor:
    """Listens where a node would, and speaks as a test wants."""

    def __init__(self, place: Place) -> None:
        self.path: str = str(place.folder / "impostor.sock")
        self.came: asyncio.Queue[Bare] = asyncio.Queue()
        self._all: list[Bare] = []

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bare = Bare(reader, writer)
        self._all.append(bare)
        self.came.put_nowait(bare)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for bare in self._all:
            await bare.close()
        await asyncio.sleep(0)

    async def greeted(self, node: Node, message: Message, tasks: Tasks) -> tuple[Bare, asyncio.Task[bytes], int]:
        """A connection over which a node has asked something: itself, the request, its number."""
        asked = tasks.start(node.ask(self.address, message))
        bare = await self.came.get()
        bare.greet()
        number, _ = await bare.frame(ASKS)
        return bare, asked, number


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "expected to greet with b'hanse'"),
        (b"hanse\x07", "version 7 came"),
        (PREFACE + head(1, BEAT, 0) + b"\xc0", "a greeting was expected first, a frame of kind 7 came"),
        (PREFACE + head(2**31, ASKS, 1), "one of 2147483648 came"),
        (PREFACE + head(3, HELLO, 0) + b"\x01\x02\x03", "a frame of version 3 was expected"),
    ],
)
async def test_who_speaks_otherwise_is_cut_off_with_a_line_that_says_why(
    place: Place, sent: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.node() as node, place.node() as other:
        bare = await Bare.to(node.address)
        bare.writer.write(sent)
        await bare.ended()
        await bare.close()
        assert said in caplog.text
        assert await other.ask(node, call(body=b"x")) == b"x"


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (ASKS, b"\xc1", "a frame of version 3 was expected"),
        (ASKS, b"\x91" * 5_000, "a frame of version 3 was expected"),
        (99, b"\xc0", "one of kind 99 came"),
        (HELLO, msgspec.msgpack.encode(Hello("again", "")), "one of kind 0 came"),
        (MORE, b"\x92\x01\xa1x", "a frame of version 3 was expected"),
    ],
)
async def test_after_the_greeting_too(
    unix: Place, kind: int, content: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with unix.node() as node:
        bare = await Bare.to(node.address)
        bare.greet()
        bare.writer.write(head(len(content), kind, 1) + content)
        await bare.ended()
        await bare.close()
    assert said in caplog.text


async def test_frames_that_nobody_waits_for_are_passed_over(unix: Place) -> None:
    async with unix.node() as node:
        bare = await Bare.to(node.address)
        bare.greet()
        for kind, content in (
            (ANSWER, ITEM),
            (REFUSE, Refusal("gone", "x")),
            (CANCEL, None),
            (MORE, Taken(1, 1)),
            (BEAT, None),
            (REPLY, b""),
        ):
            bare.send(kind, 77, content)
        bare.ask(1, call(body=b"x"))
        number, content = await bare.frame(REPLY)
        assert (number, content) == (1, b"x")
        await bare.close()


async def test_a_number_that_is_under_way_is_refused(unix: Place) -> None:
    async with unix.node() as node:
        bare = await Bare.to(node.address)
        bare.greet()
        bare.ask(1, call("hold"))
        bare.ask(1, call("hold"))
        number, content = await bare.frame(REFUSE)
        assert (number, decode(content)) == (1, ["unavailable", "number 1 is under way already"])
        await bare.close()
        await node.things.until(lambda: node.things.cancelled == ["hold"])


async def test_what_is_cancelled_before_it_begins_does_not_begin(unix: Place) -> None:
    async with unix.node() as node:
        bare = await Bare.to(node.address)
        bare.greet()
        said = call("hold")
        both = (Kind.CALL, said.address, b"", [(1, "1", 0.0, b""), (2, "2", 0.0, b"")])
        bare.writer.write(b"".join((packed(ASKS, 0, [both]), packed(CANCEL, 1), packed(CANCEL, 2), packed(CANCEL, 3))))
        bare.ask(4, call(body=b"x"))
        number, _ = await bare.frame(REPLY)
        assert (number, [message.body for message in node.things.came]) == (4, [b"x"])
        await bare.close()


async def test_what_comes_together_begins_in_its_order_whatever_its_headers(unix: Place) -> None:
    async with unix.node() as node:
        bare = await Bare.to(node.address)
        bare.greet()
        said = [call(body=b"%d" % number) for number in range(5)]
        said[1] = said[1].with_headers(Headers(tags={"a": "b"}))
        said[3] = said[3].with_headers(Headers(key="c"))
        bare.send(ASKS, 0, [asked(number + 1, message) for number, message in enumerate(said)])
        for _ in said:
            _ = await bare.frame(REPLY)
        assert node.things.came == said
        await bare.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 3), st.binary(max_size=60))
        | st.tuples(st.just(ASKS), st.integers(0, 3), st.just(msgspec.msgpack.encode([asked(1, call("hold"))])))
        | st.tuples(st.just(ASKS), st.just(0), st.just(msgspec.msgpack.encode([asked(2, stream("hang", 1, 2))]))),
        max_size=12,
    ),
    st.integers(0, 20),
)
def test_any_frames_cut_anywhere_leave_a_node_whole(frames: list[tuple[int, int, bytes]], cut: int) -> None:
    async def story() -> None:
        with short_folder() as folder:
            place = Place("unix", folder)
            async with place.node() as node, place.node() as other:
                bare = await Bare.to(node.address)
                bare.greet()
                data = b"".join(struct.pack("<IBQ", len(c), k, n) + c for k, n, c in frames)
                bare.writer.write(data[: len(data) - cut])
                assert await other.ask(node, call(body=b"x")) == b"x"
                await bare.close()
                assert await other.ask(node, call(body=b"y")) == b"y"

    asyncio.run(story())


# Silence.


async def test_who_never_greets_is_cut_off(place: Place) -> None:
    async with place.node(QUICK) as node:
        bare = await Bare.to(node.address)
        await bare.ended()
        await bare.close()


async def test_who_never_greets_is_not_sent_to(unix: Place) -> None:
    async with unix.node(QUICK) as node, Impostor(unix) as impostor:
        with pytest.raises(NotSent, match=r"cannot be reached: no answer within 0\.3 s"):
            await node.ask(impostor.address, call())
        assert node.lost.addresses == []


async def test_a_request_that_has_less_time_leaves_half_of_it_to_somebody_else(unix: Place) -> None:
    async with unix.node() as node, Impostor(unix) as impostor:
        with pytest.raises(NotSent, match=r"could not be reached in 0\.05 s, half of the call's time"):
            await node.ask(impostor.address, call(timeout=0.1))


async def test_who_gives_up_while_it_connects_leaves_the_connection_to_others(unix: Place) -> None:
    async with unix.node() as node, Impostor(unix) as impostor, unheard() as tasks:
        asked = [tasks.start(node.ask(impostor.address, call(body=b"%d" % n))) for n in range(2)]
        bare = await impostor.came.get()
        asked[0].cancel()
        bare.greet()
        number, message = await bare.asked()
        assert message.body == b"1"
        bare.writer.write(head(4, REPLY, number) + b"done")
        assert await asked[1] == b"done"
        assert node.connections() == 1


async def test_who_falls_silent_is_lost(unix: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with unix.node(QUICK) as node, Impostor(unix) as impostor, unheard() as tasks:
        _, asked, _ = await impostor.greeted(node, call(), tasks)
        with pytest.raises(Unavailable, match=r"was silent for 0\.\d s; whether the work was done is unknown"):
            await asked
        assert await node.lost.told() == impostor.address
    assert "it was silent for" in caplog.text


async def test_who_only_says_that_it_lives_is_not_lost(unix: Place) -> None:
    async with unix.node(QUICK) as node, Impostor(unix) as impostor, unheard() as tasks:
        bare, asked, number = await impostor.greeted(node, call(), tasks)
        for _ in range(8):
            await bare.frame(BEAT)
            bare.send(BEAT, 0)
        bare.writer.write(head(4, REPLY, number) + b"done")
        assert await asked == b"done"


async def test_a_connection_that_breaks_ends_what_was_asked(unix: Place) -> None:
    async with unix.node() as node, Impostor(unix) as impostor, unheard() as tasks:
        bare, asked, _ = await impostor.greeted(node, call(), tasks)
        reading = tasks.start(node.read(impostor.address, stream("items")))
        await bare.frame(ASKS)
        await bare.close()
        for ended in (asked, reading):
            with pytest.raises(Unavailable, match="whether the work was done is unknown") as raised:
                await ended
            assert type(raised.value) is Unavailable
        assert await node.lost.told() == impostor.address


async def test_what_was_not_written_when_a_connection_broke_is_not_sent(unix: Place) -> None:
    async with unix.node() as node, Impostor(unix) as impostor, unheard() as tasks:
        await impostor.greeted(node, call(), tasks)
        (wire,) = node.direct._all
        task = tasks.start(node.ask(impostor.address, call()))
        await asyncio.sleep(0)
        wire.connection_lost(None)
        with pytest.raises(NotSent):
            await task


# Goodbye.


async def test_who_says_goodbye_is_not_asked_again_and_may_still_answer(unix: Place) -> None:
    async with unix.node() as node, Impostor(unix) as impostor, unheard() as tasks:
        bare, asked, number = await impostor.greeted(node, call(), tasks)
        bare.send(GOODBYE, 0, Goodbye(leaves=True))
        assert await node.lost.told() == impostor.address
        bare.writer.write(head(4, REPLY, number) + b"done")
        assert await asked == b"done"
        again = tasks.start(node.ask(impostor.address, call()))
        assert await impostor.came.get() is not bare
        again.cancel()
        await bare.close()


async def test_an_unknown_refusal_is_unavailable(unix: Place) -> None:
    async with unix.node() as node, Impostor(unix) as impostor, unheard() as tasks:
        bare, asked, number = await impostor.greeted(node, call(), tasks)
        bare.send(REFUSE, number, Refusal("of-a-later-version", "try another day"))
        with pytest.raises(Unavailable, match="try another day"):
            await asked


async def test_a_node_cannot_be_had_to_call_elsewhere(unix: Place) -> None:
    tcp = Place("tcp", unix.folder)
    async with tcp.node() as one, tcp.node() as other:
        bare = await Bare.to(one.address)
        bare.greet("tcp://10.9.9.9:1")
        bare.ask(1, call(body=b"x"))
        await bare.frame(REPLY)
        assert "tcp://10.9.9.9:1" not in one.direct._wires
        assert await one.ask(other, call(body=b"y")) == b"y"
        await bare.close()


# Slow readers.


async def test_who_does_not_read_makes_its_callers_wait_and_no_memory_grow(unix: Place) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, unsent_bytes=100_000, waiting_max=3)
    body = bytes(100_000)
    async with unix.node(limits) as node, Impostor(unix) as impostor, unheard() as tasks:
        bare, _, _ = await impostor.greeted(node, call(), tasks)
        for _ in range(100):
            tasks.start(node.ask(impostor.address, call(body=body)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 requests that wait for one slow connection"):
            await node.ask(impostor.address, call(body=body))
        (wire,) = node.direct._all
        assert wire._transport is not None
        assert wire._transport.get_write_buffer_size() < 2_000_000
        assert (await bare.frame(ASKS))[0] == 2


async def test_who_waits_for_room_waits_no_longer_than_it_may(unix: Place) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, unsent_bytes=100_000)
    async with unix.node(limits) as node, Impostor(unix) as impostor, unheard() as tasks:
        await impostor.greeted(node, call(), tasks)
        for _ in range(20):
            tasks.start(node.ask(impostor.address, call(body=bytes(100_000))))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await node.ask(impostor.address, call(timeout=0.05))
        waiting = tasks.start(node.ask(impostor.address, call()))
        endless = tasks.start(node.ask(impostor.address, call(timeout=0)))
        await asyncio.sleep(0)
        (wire,) = node.direct._all
        wire.abort("cut")
        for ended in (waiting, endless):
            with pytest.raises(NotSent):
                await ended


async def test_who_asks_and_does_not_read_is_held_back_and_then_served(unix: Place) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, unsent_bytes=100_000)
    async with unix.node(limits) as node:
        bare = await Bare.to(node.address)
        bare.greet()
        for number in range(1, 31):
            bare.ask(number, call("grow", b"200000"))
        await node.things.until(lambda: len(node.things.came) > 3)
        for number in range(31, 101):
            bare.ask(number, call("grow", b"200000"))
        bare.ask(101, call("grow", b"1"))
        bare.ask(102, call("hold"))
        bare.send(CANCEL, 102)
        assert sorted([(await bare.frame(REPLY))[0] for _ in range(101)]) == list(range(1, 102))
        await bare.close()


async def test_who_asks_more_than_is_held_is_refused_the_rest(unix: Place) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, unsent_bytes=100_000)
    async with unix.node(limits) as node:
        bare = await Bare.to(node.address)
        bare.greet()
        for number in range(1, 11):
            bare.ask(number, call("grow", b"1000000"))
        await node.things.until(lambda: len(node.things.came) > 0)
        for number in range(11, 41):
            bare.ask(number, call("echo", bytes(1_000_000)))
        await bare.writer.drain()
        _, content = await bare.frame(REFUSE)
        assert decode(content) == ["overloaded", "what may be asked while the answers are not read"]
        await bare.close()


async def test_who_lets_answers_pile_up_is_cut_off(unix: Place) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, unsent_bytes=10_000, unsent_bytes_max=3_000_000)
    async with unix.node(limits) as node:
        bare = await Bare.to(node.address)
        bare.greet()
        for number in range(1, 11):
            bare.ask(number, call("wait_and_grow", b"1000000"))
        await node.things.until(lambda: len(node.things.came) == 10)
        node.things.gate.set()
        await bare.ended()
        await bare.close()


async def test_items_wait_for_a_slow_reader_and_end_with_it(unix: Place) -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, unsent_bytes=10_000)
    async with unix.node(limits) as node:
        bare = await Bare.to(node.address)
        bare.greet()
        bare.ask(1, stream("items", *[900_000] * 9))
        await node.things.until(lambda: node.things.made >= 2)
        await bare.close()
        await node.things.until(lambda: node.things.closed == 1)


async def test_an_event_is_a_request_like_any_other(unix: Place) -> None:
    async with unix.node() as one, unix.node() as other:
        assert await one.ask(other, msgspec.structs.replace(call(body=b"x"), kind=EVENT)) == b"x"


async def test_a_reader_of_a_stream_that_is_flooded_cuts_it_off(unix: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with unix.node() as node, Impostor(unix) as impostor, unheard() as tasks:
        bare, asked, _ = await impostor.greeted(node, call(), tasks)
        reading = tasks.start(node.read_one_and_wait(impostor.address))
        number, _ = await bare.frame(ASKS)
        for _ in range(300):
            bare.send(ANSWER, number, ITEM)
        with pytest.raises(Unavailable):
            await asked
        reading.cancel()
    assert "at most 128 items of a stream were expected" in caplog.text
