"""The log, as `CHANGES` tells it."""

from __future__ import annotations

from typing import cast

import msgspec

from hanse.kernel.message import Headers
from hanse.store.base import Entry, Op

_OPS = {op.value: op for op in Op}
_headers = msgspec.msgpack.Decoder(Headers).decode

_Rest = tuple[str, str, str, bytes | None, bytes | None, bytes]
_rest = msgspec.msgpack.Decoder(_Rest).decode
_Line = tuple[bytes, list[bytes]]


class Lines(msgspec.Struct, frozen=True):
    """A piece of the log.

    Attributes:
        head: The newest position.
        trimmed: The newest that was forgotten.
        upto: The position that it reaches to.
        looked: How many entries were looked at for it.
        entries: In order.
    """

    head: int
    trimmed: int
    upto: int
    looked: int
    entries: list[Entry]


def lines(came: object) -> Lines:
    """What `CHANGES` came to, where there is a store."""
    head, trimmed, upto, looked, found = cast("tuple[bytes, bytes, bytes, int, list[_Line]]", came)
    return Lines(int(head), int(trimmed), int(upto), looked, [_entry(one) for one in found])


def _entry(line: _Line) -> Entry:
    place, (_, name, _, at, _, before_rev, _, packed) = line
    op, id, message_id, before, after, headers = _rest(packed)
    seq = int(place.partition(b"-")[0])
    return Entry(
        seq, float(at), _OPS[op], name.decode(), id, message_id, before, after, int(before_rev), _headers(headers)
    )
