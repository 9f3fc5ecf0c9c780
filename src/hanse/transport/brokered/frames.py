"""What nodes say to each other over a broker: a byte that tells what it is, and MessagePack.

A request goes to the subject of its operation as an `ASK`, and is answered at the subject that it names:

- by one `REPLY`, which is the body of an answer that went well and has no headers, or one `MESSAGE`, or
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
from hanse.kernel.message import Headers, Kind, Message
from hanse.transport.discovery import Announcement

MESSAGE = b"\x01"
ITEM = b"\x02"
BEGUN = b"\x03"
REFUSED = b"\x04"
CONTROL = b"\x05"
ASK = b"\x06"
REPLY = b"\x07"

INDEX_BYTES = 8
"""Of an item's number."""

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


Ask = tuple[Kind, str, str, float, bytes, bytes]
"""A message that is asked: its kind, id, address, timeout, encoded headers, body. A tuple, as nothing else is encoded
and decoded as fast."""

Control = Serving | Cancel | More | Beat | Here | Who

encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_ask = msgspec.msgpack.Decoder(Ask).decode
_message = msgspec.msgpack.Decoder(Message).decode
_control: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)
_refusal = msgspec.msgpack.Decoder(Refusal)


def message_in(payload: bytes, skip: int = 1) -> Message:
    """The message in a frame. Raises `Malformed`."""
    try:
        return _message(payload[skip:])  # a slice is copied, which costs less than a view of it
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"expected a message of Hanse's: {error}") from None


def ask_of(message: Message, headers: bytes) -> bytes:
    """A message that is asked, and its headers as bytes."""
    return encode((message.kind, message.id, message.address, message.timeout, headers, message.body))


def asked_in(payload: bytes, headers_of: Callable[[bytes], Headers]) -> Message:
    """The message in an `ASK`. Raises `Malformed`."""
    try:
        kind, id, address, timeout, headers, body = _ask(payload[1:])
        return Message(kind, id, address, timeout, headers_of(headers), body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"expected a message of Hanse's: {error}") from None


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
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"expected a frame of Hanse's: {error}") from None


class NotTakenError(Exception):
    """Nobody has done anything: to ask again may help. Without a text where nobody is there, as the server says."""
