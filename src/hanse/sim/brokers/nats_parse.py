"""Cuts what a NATS client sends into what it wants: the server's half of the protocol, without any I/O.

A line ends with CR LF. `PUB` and `HPUB` are followed by as many bytes as they announce, and by CR LF again.
See https://docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

import msgspec

LINE_BYTES_MAX: Final = 4_096
"""Of one line; a longer one ends the connection."""

PAYLOAD_BYTES_MAX: Final = 1_048_576
"""Of one message with its headers; a larger one ends the connection."""

TOO_LONG: Final = "maximum control line exceeded"


class Refusal(Exception):
    """What a client sent ends its connection; says so in the words of NATS."""


class Connect(msgspec.Struct, frozen=True):
    """What a client says first.

    Attributes:
        echo: Whether it wants what it publishes itself.
        headers: Whether it takes headers.
        no_responders: Whether it wants to be told where nobody listens.
        verbose: Whether it wants each command confirmed.
    """

    echo: bool = True
    headers: bool = False
    no_responders: bool = False
    verbose: bool = True


class Publish(msgspec.Struct, frozen=True):
    """A message."""

    subject: bytes
    reply: bytes
    headers: bytes
    payload: bytes


class Subscribe(msgspec.Struct, frozen=True):
    """A wish to hear of a subject, as one of a group where it is named."""

    subject: bytes
    group: bytes
    id: bytes


class Unsubscribe(msgspec.Struct, frozen=True):
    """The end of one, after so many messages in all; at once where that is 0."""

    id: bytes
    most: int


class Ping(msgspec.Struct, frozen=True):
    """Whether somebody is there."""


class Pong(msgspec.Struct, frozen=True):
    """Somebody is."""


Wish = Connect | Publish | Subscribe | Unsubscribe | Ping | Pong

_connect = msgspec.json.Decoder(Connect)


@final
class Parser:
    r"""Takes bytes as they come.

    Example:
        >>> parser = Parser()
        >>> list(parser.feed(b"PING\r\nPUB orders.new 2\r\nh"))
        [Ping()]
        >>> list(parser.feed(b"i\r\n"))
        [Publish(subject=b'orders.new', reply=b'', headers=b'', payload=b'hi')]
    """

    def __init__(self, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        """Begin with nothing.

        Args:
            payload_bytes_max: Of one message.
        """
        self._most = payload_bytes_max
        self._came = bytearray()

    def feed(self, data: bytes) -> Iterator[Wish]:
        """What is whole by now.

        Raises:
            Refusal: It is nothing that the server takes.
        """
        came, at = self._came, 0
        came += data
        try:
            while (end := came.find(b"\r\n", at)) >= 0:
                if end - at > LINE_BYTES_MAX:
                    raise Refusal(TOO_LONG)
                word, *fields = bytes(came[at:end]).split(maxsplit=1) or [b""]
                rest = fields[0] if fields else b""
                begin = end + 2
                if word.upper() in {b"PUB", b"HPUB"}:
                    found = self._message(word.upper(), rest.split(), begin)
                    if found is None:
                        break
                    message, at = found
                    yield message
                else:
                    at = begin
                    yield _wish(word.upper(), rest)
            else:
                if len(came) - at > LINE_BYTES_MAX:
                    raise Refusal(TOO_LONG)
        finally:
            del came[:at]

    def _message(self, word: bytes, fields: list[bytes], begin: int) -> tuple[Publish, int] | None:
        """A message, and where the next begins; None where it is not whole."""
        sizes = 1 if word == b"PUB" else 2
        if not 1 + sizes <= len(fields) <= 2 + sizes or not all(field.isdigit() for field in fields[-sizes:]):
            raise Refusal("Unknown Protocol Operation")
        head, size = int(fields[-2]) if sizes == 2 else 0, int(fields[-1])  # noqa: PLR2004 - of headers, and in all
        if size > self._most:
            raise Refusal("Maximum Payload Violation")
        end = begin + size
        if len(self._came) < end + 2:
            return None
        if head > size or not self._came.startswith(b"\r\n", end):
            raise Refusal("Unknown Protocol Operation")
        reply = fields[1] if len(fields) > 1 + sizes else b""
        headers, payload = bytes(self._came[begin : begin + head]), bytes(self._came[begin + head : end])
        return Publish(fields[0], reply, headers, payload), end + 2


def _wish(word: bytes, rest: bytes) -> Wish:  # noqa: PLR0911 - a table
    fields = rest.split()
    match word, len(fields):
        case b"PING", 0:
            return Ping()
        case b"PONG", 0:
            return Pong()
        case b"SUB", 2:
            return Subscribe(fields[0], b"", fields[1])
        case b"SUB", 3:
            return Subscribe(*fields)
        case b"UNSUB", 1:
            return Unsubscribe(fields[0], 0)
        case b"UNSUB", 2 if fields[1].isdigit():
            return Unsubscribe(fields[0], int(fields[1]))
        case b"CONNECT", _:
            try:
                return _connect.decode(rest)
            except msgspec.DecodeError:
                raise Refusal("Parser Error") from None
        case _:
            raise Refusal("Unknown Protocol Operation")
