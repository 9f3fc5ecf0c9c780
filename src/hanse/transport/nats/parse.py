"""Cuts what a NATS server sends into what it says: the client's half of the protocol, without any I/O.

A line ends with CR LF. `MSG` and `HMSG` are followed by as many bytes as they announce, and by CR LF again.
See https://docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from hanse.kernel.faults import Malformed

LINE_BYTES_MAX = 262_144
"""Of one line; the longest are those in which a server lists the others of a large cluster."""

PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
"""Of one message: what a server can be set to take at most."""

DIGITS_MAX = 18
"""Of a number: what is longer says a size that nothing has, and Python refuses to read the longest."""

Take = Callable[[bytes, bytes, bytes, bytes], object]
"""Takes a message: subject, where to answer, payload, headers; the last three may be empty. It never raises."""

Said = Callable[[bytes, bytes], object]
"""Takes what else a server says: the word, such as `INFO`, and the rest of its line."""

_MSG, _HMSG = ord("M"), ord("H")
_MESSAGES = (_MSG, _HMSG)
_WITH_REPLY = 5
_FIELDS = (4, _WITH_REPLY)  # word, subject, subscription, where to answer if anywhere, bytes; of `HMSG` one more


@final
class Parser:
    r"""Takes bytes as they come, and tells of each thing that was said once it is whole.

    Example:
        >>> parser = Parser({b"7": print}, print)
        >>> parser.feed(b"PING\r\nMSG orders.new 7 2\r\nh")
        b'PING' b''
        >>> parser.feed(b"i\r\n")
        b'orders.new' b'' b'hi' b''
    """

    def __init__(self, takes: Mapping[bytes, Take], said: Said) -> None:
        """Begin with nothing.

        Args:
            takes: What is given the messages of each subscription, by its id; it may change at any time.
            said: Told of everything else.
        """
        self._takes = takes
        self._said = said
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Take what came.

        Raises:
            Malformed: It is not what a NATS server says; nothing that comes later can be understood.
        """
        if self._parts:
            # Kept apart until the message is whole: to join at each of its pieces would copy a large one many times.
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        rest = self._cut(data)
        if rest < len(data):
            self._parts.append(data[rest:])

    def _cut(self, data: bytes) -> int:
        """Tell of all that is whole; where the rest begins."""
        position, end = 0, len(data)
        takes = self._takes
        self._missing = 0
        while position < end:
            line_end = data.find(b"\n", position)  # which is found in half the time that CR LF takes
            if line_end < 0:
                if end - position > LINE_BYTES_MAX:
                    raise Malformed(f"expected a line of NATS's, got {end - position} bytes without an end")
                break
            kind = data[position]
            if kind not in _MESSAGES:
                word, _, rest = data[position:line_end].rstrip(b"\r").partition(b" ")
                self._said(word, rest)
                position = line_end + 1
                continue
            fields, start = data[position:line_end].split(), line_end + 1
            count, size = len(fields) - (kind == _HMSG), fields[-1]
            if count not in _FIELDS or not size.isdigit() or len(size) > DIGITS_MAX:
                raise Malformed(f"expected a message of NATS's, got the line {data[position:line_end][:100]!r}")
            stop = start + int(size)
            if stop + 2 > end:
                if stop - start > PAYLOAD_BYTES_MAX:
                    raise Malformed(f"expected up to {PAYLOAD_BYTES_MAX} bytes in a message, got {stop - start}")
                self._missing = stop + 2 - end
                break
            head = start if kind == _MSG else start + _head(fields[-2], stop - start)
            if (take := takes.get(fields[2])) is not None:
                reply = fields[3] if count == _WITH_REPLY else b""
                _ = take(fields[1], reply, data[head:stop], data[start:head] if head > start else b"")
            position = stop + 2
        return position


def _head(field: bytes, size: int) -> int:
    """How many of these bytes are headers."""
    head = int(field) if field.isdigit() and len(field) <= DIGITS_MAX else -1
    if not 0 <= head <= size:
        raise Malformed(f"expected up to {size} bytes of headers, got {field[:100]!r}")
    return head


def status_of(headers: bytes) -> str:
    r"""The status with which a server speaks for itself, such as `503` where nobody listens; empty in others' words.

    Example:
        >>> status_of(b"NATS/1.0 503\r\n\r\n"), status_of(b"NATS/1.0\r\nA: b\r\n\r\n")
        ('503', '')
    """
    return headers[: headers.find(b"\r\n")].partition(b" ")[2][:3].decode(errors="replace").strip()
