"""Values as scripts take them: in MessagePack, of which their server knows texts, and no bytes.

To Lua a text is bytes, whatever they are. So bytes are written as texts, which only what reads them as such may do.
"""

from __future__ import annotations

import msgspec

_LENGTH_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode


def lua(value: bytes) -> msgspec.Raw:
    """Bytes within what `pack` packs."""
    return msgspec.Raw(b"\xdb" + len(value).to_bytes(_LENGTH_BYTES, "big") + value)


def pack(value: object) -> bytes:
    r"""An argument of a script.

    Example:
        >>> pack([1, lua(b"\xff")])
        b'\x92\x01\xdb\x00\x00\x00\x01\xff'
    """
    return _encode(value)
