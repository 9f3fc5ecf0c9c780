"""Headers as bytes: most messages carry those of the one before, so both sides make them once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import msgspec

from hanse.kernel.message import NO_HEADERS, Headers

KNOWN_MAX: Final = 1_000
"""Headers that are remembered where messages come in; with one more, all are forgotten."""

KNOWN_BYTES_MAX: Final = 2 * 1024
"""Larger ones are not."""

_encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Headers).decode


def encode_headers(headers: Headers) -> bytes:
    """Headers as bytes: none for `NO_HEADERS`."""
    return b"" if headers is NO_HEADERS else _encode(headers)


@final
class LastHeaders:
    """Encodes headers, unless they are those that it has just encoded.

    Attributes:
        headers, encoded: Those, and their bytes.
    """

    __slots__ = ("encoded", "headers")

    def __init__(self) -> None:
        self.headers: Headers = NO_HEADERS
        self.encoded: bytes = b""

    def encode(self, headers: Headers) -> bytes:
        """Headers as bytes."""
        if headers is not self.headers:
            self.encoded = encode_headers(headers)
            self.headers = headers
        return self.encoded


@final
class KnownHeaders:
    """Headers that came before, by their bytes: who asks often has the same identity and story each time.

    What a handler could change in place is not handed to two: headers with tags, and others that somebody has written
    into, are made anew.

    Attributes:
        known: What is remembered.
    """

    __slots__ = ("_encoded", "_last", "known")

    def __init__(self) -> None:
        self.known: dict[bytes, Headers] = {}
        # Those that came last: to compare bytes costs less than to look them up.
        self._encoded: bytes = b""
        self._last: Headers = NO_HEADERS

    def of(self, encoded: bytes) -> Headers:
        """The headers that these bytes stand for. Raises `msgspec.DecodeError`."""
        headers = self._last if encoded == self._encoded else self.known.get(encoded)
        if headers is None or headers.tags or headers.extra:
            return self._decoded(encoded)
        self._last, self._encoded = headers, encoded
        return headers

    def _decoded(self, encoded: bytes) -> Headers:
        if not encoded:
            return NO_HEADERS
        headers = _decode(encoded)
        if len(encoded) <= KNOWN_BYTES_MAX and not headers.tags and not headers.extra:
            if len(self.known) >= KNOWN_MAX:
                self.known.clear()
            self.known[encoded] = headers
        return headers
