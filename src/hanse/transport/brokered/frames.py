"""What nodes say to each other over a broker: a byte that tells what it is, and MessagePack.

A request goes to the subject of its operation as an `ASK`, and is answered at the subject that it names:

- by one `REPLY`, which is the body of an answer that went well and has no headers, or one `MESSAGE`, or
- by one of the `REPLIES` that its node is told together, at a subject for all such: what small answers one turn of the
  loop has for one node is one message, which costs the broker and both nodes as much as one of them; or
- where items are wanted, by `BEGUN` with the name of the node that makes them, and by `ITEM`s, numbered from 0, the
  last of which is an end or a fault; or
- by `REFUSED`, where nothing has been done, or the answer cannot be told.

Whoever serves for longer than a moment tells the one that asked which of its requests those are (`Serving`), so that
it knows whom to tell that it gave up (`Cancel`) or took some items (`More`). From then on each tells the other that it
lives and what it still serves (`Beat`): so each notices when the other has gone, or when an answer was lost.
The first byte is the version: another one is of a Hanse that this one does not understand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from hanse.kernel.faults import Fault, Malformed, Overloaded, TooLarge, Unavailable
from hanse.kernel.message import Kind, Message
from hanse.transport.discovery import Announcement

MESSAGE = b"\x01"
ITEM = b"\x02"
BEGUN = b"\x03"
REFUSED = b"\x04"
CONTROL = b"\x05"
ASK = b"\x06"
REPLY = b"\x07"
REPLIES = b"\x08"

INDEX_BYTES = 8
"""Of an item's number."""

SIZE_BYTES = 4
"""Of what tells how long the beginning of an `ASK` is."""

SMALL_BYTES = 1_024
"""Of an answer that goes with others; what is larger goes alone, so that nothing waits until it has come."""

TOGETHER_MAX = 64
"""Answers that one message tells."""

TOGETHER_TOKEN = b"r"
"""Token under which a node is told such; tokens of single answers are numbers."""

T = TypeVar("T")


class Serving(msgspec.Struct, frozen=True, array_like=True, tag="serving"):
    """A node works on what another asked.

    Attributes:
        node: Which.
        tokens: What.
    """

    node: bytes
    tokens: list[bytes]


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """A node does not wait for answers any more."""

    node: bytes
    tokens: list[bytes]


class More(msgspec.Struct, frozen=True, array_like=True, tag="more"):
    """A node took some items of a stream."""

    node: bytes
    token: bytes
    count: int


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """A node lives.

    Attributes:
        node: Which.
        serves: All that it works on for the one that is told.
        whole: Whether that is all; where it would be too much for one message, it is nothing.
    """

    node: bytes
    serves: list[bytes]
    whole: bool = True


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why there is no answer.

    Attributes:
        why: `elsewhere` (this node does not serve it any more; nothing was done), `busy`, `closing`, `unreadable` or
            `too_large`.
        text: What a caller may be told.
    """

    why: str
    text: str = ""


class Here(msgspec.Struct, frozen=True, array_like=True, tag="here"):
    """A node is there.

    Attributes:
        node: Which.
        said: What it says of itself.
    """

    node: bytes
    said: Announcement


class Who(msgspec.Struct, frozen=True, array_like=True, tag="who"):
    """A node asks another what it says of itself."""

    node: bytes


Common = tuple[Kind, str, bytes]
"""What requests have in common: kind, address, encoded headers. A tuple, as nothing else is encoded and decoded as
fast."""

Rest = tuple[str, float, bytes]
"""What each has for itself: id, timeout, body."""

Reply = tuple[bytes, bytes]
"""The token of what was asked, and the body of its answer."""

Control = Serving | Cancel | More | Beat | Here | Who

encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
decode_rest: Callable[[bytes], Rest] = msgspec.msgpack.Decoder(Rest).decode
_replies = msgspec.msgpack.Decoder(list[Reply]).decode
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_common = msgspec.msgpack.Decoder(Common).decode
_message = msgspec.msgpack.Decoder(Message).decode
_control: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)
_refusal = msgspec.msgpack.Decoder(Refusal)


def message_in(payload: bytes, skip: int = 1) -> Message:
    """The message in a frame. Raises `Malformed`."""
    try:
        return _message(payload[skip:])  # a slice is copied, which costs less than a view of it
    except UNREADABLE as error:
        raise Malformed(f"expected a message of Hanse's: {error}") from None


def head_of(kind: Kind, address: str, headers: bytes) -> bytes:
    """How an `ASK` begins: what many requests have in common, which is found again without being decoded.

    Args:
        kind: Of the messages.
        address: Who is asked.
        headers: Encoded.
    """
    common = encode((kind, address, headers))
    return b"%b%b%b" % (ASK, len(common).to_bytes(SIZE_BYTES, "big"), common)


def rest_of(message: Message) -> bytes:
    """How it ends: what the message has for itself."""
    return encode((message.id, message.timeout, message.body))


def head_in(payload: bytes) -> tuple[bytes, Common]:
    """How an `ASK` begins, and what that says. Raises `Malformed`."""
    if not payload.startswith(ASK):
        raise Malformed(f"expected a frame that begins with {ASK!r}, got {payload[:1]!r}")
    start = len(ASK) + SIZE_BYTES
    end = start + int.from_bytes(payload[len(ASK) : start], "big")
    if end > len(payload):
        raise Malformed(f"expected {end} bytes that many requests have in common, got {len(payload)}")
    try:
        return payload[:end], _common(payload[start:end])
    except UNREADABLE as error:
        raise Malformed(f"expected a request of Hanse's: {error}") from None


def rest_in(payload: bytes, start: int) -> Rest:
    """What an `ASK` has from there on. Raises `Malformed`."""
    try:
        return decode_rest(payload[start:])  # a slice is copied, which costs less than a view of it
    except UNREADABLE as error:
        raise Malformed(f"expected a request of Hanse's: {error}") from None


def replies_in(payload: bytes) -> list[Reply]:
    """What `REPLIES` say. Raises `Malformed`."""
    try:
        return _replies(payload[1:])
    except UNREADABLE as error:
        raise Malformed(f"expected answers of Hanse's: {error}") from None


def later(message: Message, seconds: float) -> Message:
    """A message with the time that is left of it when so many seconds have passed."""
    if not message.timeout:
        return message
    return msgspec.structs.replace(message, timeout=max(0.001, message.timeout - seconds))


def control_in(payload: bytes) -> Control:
    """What a node says besides answers. Raises `Malformed`."""
    if payload[:1] != CONTROL:
        raise Malformed(f"expected {CONTROL!r}, got {payload[:1]!r}")
    return _decoded(_control, payload)


def fault_of(payload: bytes, address: str) -> Fault | NotTakenError:
    """What a refusal comes to. Raises `Malformed`."""
    refusal = _decoded(_refusal, payload)
    match refusal.why:
        case "too_large":
            return TooLarge(f"the answer of {address}", refusal.text)
        case "busy":
            return Overloaded(refusal.text)
        case "elsewhere":
            return NotTakenError(f"nobody serves {address} at the moment")
        case _:
            return Unavailable(refusal.text or f"{address} was refused: {refusal.why}")


def index_of(payload: bytes) -> int:
    """The number of an item."""
    return int.from_bytes(payload[1 : 1 + INDEX_BYTES], "big")


def _decoded(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload[1:])
    except UNREADABLE as error:
        raise Malformed(f"expected a frame of Hanse's: {error}") from None


class NotTakenError(Exception):
    """Nobody has done anything: to ask again may help. Without a text where nobody is there, as the server says."""
