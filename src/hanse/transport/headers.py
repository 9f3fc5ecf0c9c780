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
    """Encodes headers, unless they are those that it has just encoded."""

    __slots__ = ("_encoded", "_headers")

    def __init__(self) -> None:
        self._headers: Headers = NO_HEADERS
        self._encoded = b""

    def encoded(self, headers: Headers) -> bytes:
        """Headers as bytes."""
        if headers is not self._headers:
            self._encoded = encode_headers(headers)
            self._headers = headers
        return self._encoded


@final
class KnownHeaders:
    """Headers that came before, by their bytes: who asks often has the same identity and story each time.

    What a handler could change in place is not handed to two: headers with tags, and others that somebody has written
    into, are made anew.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Headers] = {}

    def of(self, encoded: bytes) -> Headers:
        """The headers that these bytes stand for. Raises `msgspec.DecodeError`."""
        if not encoded:
            return NO_HEADERS
        headers = self._known.get(encoded)
        if headers is not None and not headers.tags and not headers.extra:
            return headers
        headers = _decode(encoded)
        if len(encoded) <= KNOWN_BYTES_MAX and not headers.tags and not headers.extra:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[encoded] = headers
        return headers
