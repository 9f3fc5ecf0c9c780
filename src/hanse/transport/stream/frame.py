"""What goes over a socket between two nodes: a preface, then frames.

    connection = preface, hello, frame*        in both directions, at once; nobody waits for the other's preface
    preface    = "hanse", one byte of version
    frame      = size of the content (4 bytes, the least significant first), kind (1 byte), number (8 bytes), content

Whoever asks numbers what it asks; ASKS, CANCEL and MORE go to whoever was asked, the others come back under the same
number. Both ends may ask over one connection: a frame's kind tells whose number it is. The content is MessagePack, but
for a REPLY, which is the body of an answer as it is.
What is small and is said in one turn of the loop is one frame, ASKS or REPLIES: to encode and decode many in one call
takes a fifth of the time that it takes for each alone. What is asked at one address under the same headers is told once
for all that follows on one another; headers travel as bytes, so that those that came before are not decoded again.
Nothing here does I/O: bytes go in, frames come out, or `Malformed` says why the connection has to be closed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Annotated, Final, final

import msgspec

from hanse.kernel.faults import Malformed, TooLarge
from hanse.kernel.message import Kind, Message

NAME: Final = b"hanse"
VERSION: Final = 3
PREFACE: Final = NAME + bytes((VERSION,))

HELLO: Final = 0
"""The first frame: a `Hello`."""
ASKS: Final = 1
"""A list of messages, each of which wants one answer, or items where its kind is that of a stream: see `Asks`."""
REPLY: Final = 2
"""The body of the one answer, which went well and has no headers."""
ANSWER: Final = 3
"""Any other answer, an item of a stream, or its end: a message."""
REFUSE: Final = 4
"""There will be no answer: a `Refusal`."""
CANCEL: Final = 5
"""Whoever asked wants no answer any more."""
MORE: Final = 6
"""The reader of a stream took something, so that as much more may come: `Taken`."""
BEAT: Final = 7
"""Whoever says nothing else says that it lives."""
GOODBYE: Final = 8
"""Nothing more will be asked over this connection; what was asked is still answered: a `Goodbye`."""
REPLIES: Final = 9
"""What many `REPLY` frames would say: a list of numbers, each with its body."""

HEADERS_BYTES_MAX: Final = 64 * 1024
"""What a frame may have besides the body of its message."""

SMALL_BYTES: Final = 1024
"""What is larger has a frame of its own, so that nothing waits until it has come."""

TOGETHER_MAX: Final = 64
"""Messages that go into one frame, each of them small. To count them costs less than to count their bytes."""

TOGETHER_BYTES_MAX: Final = 3 * TOGETHER_MAX * SMALL_BYTES
"""More than these have: each may have headers and an address of its own, as small as itself, and some numbers."""

CHUNK_BYTES: Final = 64 * 1024
"""What is read from a socket at once; also what a connection holds for it while nothing larger comes."""

_head = struct.Struct("<IBQ")
HEAD_BYTES: Final = _head.size
_put_head, _get_head = _head.pack_into, _head.unpack_from
head: Callable[[int, int, int], bytes] = _head.pack
"""The head of a frame: the size of its content, its kind, its number."""


Number = Annotated[int, msgspec.Meta(ge=0)]

Ask = tuple[Number, str, float, bytes]
"""What a message has for itself: its number, id, timeout, body. A tuple, as nothing else is encoded and decoded as
fast."""

Asks = tuple[Kind, str, bytes, list[Ask]]
"""Messages with what they have in common: kind, address, and encoded headers, none for `NO_HEADERS`."""

Reply = tuple[Number, bytes]
"""The number of what was asked, and the body of its answer."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who this is.

    Attributes:
        instance: Name of the process.
        address: Where it may be reached; the connection may be used for that.
    """

    instance: str
    address: str


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why there will be no answer: the code of a fault, and what it says."""

    code: str
    problem: str


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What the reader of a stream took since it last said so."""

    items: int
    bytes: int


class Goodbye(msgspec.Struct, frozen=True, array_like=True):
    """Why nothing more will be asked.

    Attributes:
        leaves: The node goes away; otherwise the connection was merely idle.
    """

    leaves: bool


_encode_into = msgspec.msgpack.Encoder().encode_into
decode_asks: Callable[[bytes | memoryview], list[Asks]] = msgspec.msgpack.Decoder(list[Asks]).decode
decode_replies: Callable[[bytes | memoryview], list[Reply]] = msgspec.msgpack.Decoder(list[Reply]).decode
decode_message: Callable[[bytes | memoryview], Message] = msgspec.msgpack.Decoder(Message).decode
decode_hello: Callable[[bytes | memoryview], Hello] = msgspec.msgpack.Decoder(Hello).decode
decode_refusal: Callable[[bytes | memoryview], Refusal] = msgspec.msgpack.Decoder(Refusal).decode
decode_taken: Callable[[bytes | memoryview], Taken] = msgspec.msgpack.Decoder(Taken).decode
decode_goodbye: Callable[[bytes | memoryview], Goodbye] = msgspec.msgpack.Decoder(Goodbye).decode


def frame_bytes_max(body_bytes_max: int) -> int:
    """What the content of a frame may have, where the body of a message may have so many bytes."""
    return max(body_bytes_max + HEADERS_BYTES_MAX, TOGETHER_BYTES_MAX)


def pack(kind: int, number: int, content: object, out: bytearray, limit: int) -> None:
    """Append a frame to what goes out.

    Raises:
        TooLarge: Its content has more bytes than the limit; nothing was appended.
    """
    at = len(out)
    try:
        _encode_into(content, out, at + HEAD_BYTES)
    except BaseException:
        del out[at:]
        raise
    size = len(out) - at - HEAD_BYTES
    if size > limit:
        del out[at:]
        raise TooLarge("a message with its headers", f"{limit} bytes, with {size}")
    _put_head(out, at, size, kind, number)


@final
class Unpacker:
    """Makes frames of bytes as they come; the socket writes into its buffer, so that nothing is copied on the way."""

    __slots__ = ("_chunk", "_end", "_limit", "_prefaced", "_space", "_view")

    def __init__(self, limit: int, chunk: int = CHUNK_BYTES) -> None:
        """Expect the preface.

        Args:
            limit: Bytes of one frame's content at most.
            chunk: Bytes that there is room for while nothing larger comes.
        """
        self._limit = limit
        self._chunk = chunk
        self._space = bytearray(chunk)
        self._view = memoryview(self._space)
        self._end = 0
        self._prefaced = False

    def room(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        return self._view[self._end :]

    def took(self, count: int) -> Iterator[tuple[int, int, memoryview]]:
        """So many bytes came: kind, number and content of each frame that is whole, the content until the next is read.

        Raises:
            Malformed: This is no connection of Hanse's, or of another version, or a frame is too large.
        """
        end = self._end = self._end + count
        view, at, limit = self._view, 0, self._limit
        if not self._prefaced:
            if not self._preface():
                return
            at = len(PREFACE)
        while (begin := at + HEAD_BYTES) <= end:
            size, kind, number = _get_head(view, at)
            if size > limit:
                raise Malformed(f"a frame of at most {limit} bytes was expected, one of {size} came")
            if begin + size > end:
                break
            at = begin + size
            yield kind, number, view[begin:at]
        self._keep(at, end)

    def _preface(self) -> bool:
        came = bytes(self._view[: min(self._end, len(PREFACE))])
        if not NAME.startswith(came[: len(NAME)]):
            raise Malformed(f"a node of Hanse was expected to greet with {NAME!r}, {came!r} came")
        if len(came) < len(PREFACE):
            return False
        if came != PREFACE:
            raise Malformed(f"version {VERSION} of Hanse's frames was expected, version {came[-1]} came")
        self._prefaced = True
        return True

    def _keep(self, at: int, end: int) -> None:
        """Put the beginning of a frame that is not whole to the front, and make room for more of it."""
        left = end - at
        space, view = self._space, self._view
        size = self._chunk
        if left:
            # Twice what is there, so that a large frame is moved few times, and a length alone takes no memory.
            while size <= left:
                size *= 2
            if size > len(space):
                space = bytearray(size)
                space[:left] = view[at:end]
                self._space, self._view = space, memoryview(space)
            elif at:
                space[:left] = bytes(view[at:end])
        elif len(space) > size:
            self._space = bytearray(size)
            self._view = memoryview(self._space)
        self._end = left
