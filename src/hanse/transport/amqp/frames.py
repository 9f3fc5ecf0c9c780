"""Frames of AMQP 0-9-1: those that every message needs are made and read here, all others by `pamqp`.

A message is a method that says where to, a header with its size and properties, and its body in one or more frames.
Of the properties we use three: `reply_to` tells who asks, `correlation_id` which request is answered, and `expiration`
for how long a request may wait.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pamqp import base, commands, exceptions, frame

from hanse.kernel.faults import Malformed

GREETING = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = 0xCE
HEAD_BYTES, FRAME_BYTES = 7, 8
"""Of a frame before what it holds, and in all beside it."""

RETURN, DELIVER, ACK, NACK = b"\x00\x3c\x00\x32", b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
"""How the methods begin that come with or about messages."""

FRAME_MAX = 131_072
"""Bytes of one frame, as RabbitMQ proposes."""

SHORT_BYTES_MAX = 255
"""Of a name or another short text."""

head: struct.Struct = struct.Struct(">BHI")
"""Type, channel and size of a frame."""

_PUBLISH = struct.Struct(">BHIHHHBB")
_HEADER = struct.Struct(">BHIHHQ")
_ACK = struct.Struct(">BHIHHQBB")

_OFFSET = b"\x0fx-stream-offsetl"
_HEADERS, _CORRELATION, _REPLY = 0x2000, 0x0400, 0x0200
_SHORT_BEFORE = (0x8000, 0x4000)
_OCTET_BEFORE = (0x1000, 0x0800)


class Properties(NamedTuple):
    """What we use of a message's properties.

    Attributes:
        correlation: Which request is answered.
        reply: Where to answer.
    """

    correlation: bytes
    reply: bytes


def method(channel: int, command: base.Frame) -> bytes:
    """A method as it is sent."""
    return frame.marshal(command, channel)


def command_in(payload: bytes) -> base.Frame:
    """The method in a frame. Raises `Malformed`."""
    try:
        command: base.Frame = commands.INDEX_MAPPING[int.from_bytes(payload[:4], "big")]()
        command.unmarshal(payload[4:])
    except (KeyError, ValueError, IndexError, struct.error, exceptions.PAMQPException) as error:
        raise Malformed(f"expected a method of AMQP, got {payload[:40]!r} ({error!r})") from None
    return command


def publish(channel: int, key: bytes, *, mandatory: bool) -> bytes:
    """The method before a message to a queue.

    Args:
        channel: Its number.
        key: Name of the queue.
        mandatory: Whether it comes back where there is no such queue.
    """
    # Class 60, method 40, a number that means nothing, the exchange without a name, which knows all queues.
    size = 4 + 2 + 1 + 1 + len(key) + 1
    return (
        _PUBLISH.pack(METHOD, channel, size, 60, 40, 0, 0, len(key)) + key + (b"\x01\xce" if mandatory else b"\0\xce")
    )


def content(channel: int, properties: bytes, lead: bytes, payload: bytes) -> bytes:
    """Header and body of a message.

    Args:
        channel: Its number.
        properties: Flags and values.
        lead: Bytes before the payload.
        payload: The rest of the body.
    """
    size = len(lead) + len(payload)
    header = _HEADER.pack(HEADER, channel, 12 + len(properties), 60, 0, size) + properties
    if not size:
        return header + b"\xce"
    if size <= FRAME_MAX - FRAME_BYTES:
        return b"%b\xce%b%b%b\xce" % (header, head.pack(BODY, channel, size), lead, payload)
    body, step = lead + payload, FRAME_MAX - FRAME_BYTES
    pieces = (body[first : first + step] for first in range(0, size, step))
    return header + b"\xce" + b"".join([b"%b%b\xce" % (head.pack(BODY, channel, len(one)), one) for one in pieces])


def ack(channel: int, number: int) -> bytes:
    """Acknowledges a delivery and all before it on its channel."""
    return _ACK.pack(METHOD, channel, 13, 60, 80, number, 1, END)


def asked(reply: bytes, wait: int) -> bytes:
    r"""Properties of a request.

    Args:
        reply: Where it is to be answered.
        wait: Milliseconds that it may wait in a queue.

    Example:
        >>> properties_in(asked(b"hanse.shop.node.n1.7", 3000))
        Properties(correlation=b'', reply=b'hanse.shop.node.n1.7')
    """
    text = b"%d" % wait
    return b"\x03\x00%c%b%c%b" % (len(reply), reply, len(text), text)


def told(token: bytes, reply: bytes) -> bytes:
    """Properties of an answer, or of what else a node is told.

    Args:
        token: Under which it awaits this.
        reply: What is to come back where the node is not there any more; empty for nothing.
    """
    if not reply:
        return b"\x04\x00%c%b" % (len(token), token)
    return b"\x06\x00%c%b%c%b" % (len(token), token, len(reply), reply)


KEPT = b"\x10\x00\x02"
"""Properties of what is to survive a restart of the server."""


def kept_as(mark: bytes) -> bytes:
    """Properties of what is to survive a restart of the server, and to be known again."""
    return b"\x14\x00\x02%c%b" % (len(mark), mark)


def offset_in(raw: bytes) -> int:
    """The number that a stream gave to a message, in its properties; -1 where there is none."""
    at = raw.find(_OFFSET)
    return int.from_bytes(raw[at + len(_OFFSET) :][:8], "big") if at >= 0 else -1


def properties_in(raw: bytes) -> Properties:
    r"""What we use of a message's properties; empty where they have none of it, or cannot be read.

    Example:
        >>> properties_in(told(b"7", b"")), properties_in(b"\xe6\x00\x01a\x01b\x00\x00\x00\x02xx\x017\x01r")
        (Properties(correlation=b'7', reply=b''), Properties(correlation=b'7', reply=b'r'))
    """
    flags, at = int.from_bytes(raw[:2], "big"), 2
    found = [b"", b""]
    try:
        # In this order they stand: others, which an operator may have had added, are before or behind.
        for flag in _SHORT_BEFORE:
            if flags & flag:
                at += 1 + raw[at]
        if flags & _HEADERS:
            at += 4 + int.from_bytes(raw[at : at + 4], "big")
        for flag in _OCTET_BEFORE:
            if flags & flag:
                at += 1
        for index, flag in enumerate((_CORRELATION, _REPLY)):
            if flags & flag:
                end = at + 1 + raw[at]
                found[index], at = raw[at + 1 : end], end
    except IndexError:
        return Properties(b"", b"")
    return Properties(*found)
