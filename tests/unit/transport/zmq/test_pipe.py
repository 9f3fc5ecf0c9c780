"""A pipe between a carrier and a protocol that are values of a test."""

from __future__ import annotations

import asyncio

import zmq

from hanse.transport.zmq.pipe import GATHER_BYTES, Peer, Pipe


class Carrier:
    """Has room for so many messages, and notes what it is given."""

    def __init__(self, room: int) -> None:
        self.room: int = room
        self.gone: bool = False
        self.carried: list[bytes] = []
        self.released: list[bool] = []

    def carry(self, pipe: Pipe, data: bytes | bytearray, /) -> bool:
        del pipe
        if self.gone:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if len(self.carried) >= self.room:
            return False
        self.carried.append(bytes(data))
        return True

    def release(self, pipe: Pipe, /, *, cut: bool) -> None:
        del pipe
        self.released.append(cut)


class Noted(asyncio.BufferedProtocol):
    """Has a small buffer, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.came: bytes = b""
        self._buffer = bytearray(4)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.came += self._buffer[:nbytes]
        if b"!" in self.came:
            raise RuntimeError("a protocol that fails")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


def made(room: int) -> tuple[Pipe, Carrier, Noted]:
    carrier, protocol = Carrier(room), Noted()
    pipe = Pipe(carrier, protocol, Peer("10.0.0.7"))
    pipe.start()
    return pipe, carrier, protocol


async def test_a_message_comes_in_pieces_as_large_as_the_buffer() -> None:
    pipe, _, protocol = made(0)
    pipe.feed(memoryview(b"hello world"))
    assert protocol.came == b"hello world"
    pipe.close()
    pipe.feed(memoryview(b"late"))
    assert protocol.came == b"hello world", "who closed reads no more"


async def test_what_has_no_room_waits_in_order_and_is_gathered() -> None:
    pipe, carrier, protocol = made(1)
    pipe.set_write_buffer_limits(10)
    for part in (b"a", b"b", memoryview(b"c"), bytes(GATHER_BYTES), b"d"):
        pipe.write(part)
    assert carrier.carried == [b"a"]
    assert protocol.told == ["made", "pause"]
    assert pipe.get_write_buffer_size() == len(b"bcd") + GATHER_BYTES
    carrier.room = 2
    pipe.retry()
    assert carrier.carried[1:] == [b"bc"]
    assert protocol.told == ["made", "pause"], "most of it waits still"
    carrier.room = 9
    pipe.retry()
    assert b"".join(carrier.carried[2:]) == bytes(GATHER_BYTES) + b"d"
    assert protocol.told == ["made", "pause", "resume"]


async def test_who_closes_is_released_once_all_is_sent() -> None:
    pipe, carrier, protocol = made(0)
    pipe.write(b"last")
    pipe.close()
    assert pipe.is_closing()
    assert carrier.released == []
    carrier.room = 1
    pipe.retry()
    pipe.close()
    pipe.abort()
    assert (carrier.carried, carrier.released) == ([b"last"], [False])
    pipe.write(b"later")
    await asyncio.sleep(0)
    assert protocol.told == ["made", "lost"]
    assert pipe.get_write_buffer_size() == 0


async def test_who_cannot_be_reached_is_lost() -> None:
    pipe, carrier, protocol = made(0)
    pipe.write(b"waits")
    carrier.gone = True
    pipe.retry()
    await asyncio.sleep(0)
    assert protocol.told == ["made", "lost"]
    assert carrier.released == [True]


async def test_a_protocol_that_fails_loses_its_connection_and_is_told_of() -> None:
    pipe, carrier, protocol = made(0)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    pipe.feed(memoryview(b"hey! more"))
    await asyncio.sleep(0)
    assert protocol.told == ["made", "lost"]
    assert carrier.released == [True]
    assert [str(context["exception"]) for context in told] == ["a protocol that fails"]


async def test_who_is_at_the_other_end_is_told() -> None:
    pipe, _, _ = made(0)
    assert pipe.get_extra_info("peername") == Peer("10.0.0.7")
    assert pipe.get_extra_info("socket", "none") == "none"
