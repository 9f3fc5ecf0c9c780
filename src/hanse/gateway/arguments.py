"""The arguments of a call from outside: one that the operation does not have is told, as it may be a typing mistake.

Between services it is passed over, since a caller may be newer than whom it calls; a client of the gateway that may be
newer too says so.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from hanse.kernel.codec import Codec, codec_for


@lru_cache(maxsize=4096)
def strictly(arguments: type[msgspec.Struct]) -> Codec[msgspec.Struct]:
    """The codec of an operation's arguments that takes no others.

    Args:
        arguments: The struct of an operation.

    Example:
        >>> class AddArguments(msgspec.Struct, frozen=True):
        ...     left: int
        ...     right: int = 1
        >>> strictly(AddArguments).decode_json(b'{"left": 1, "rigth": 2}')
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Invalid: /rigth: expected one of left, right
    """
    kind = msgspec.defstruct(arguments.__name__, [], bases=(arguments,), frozen=True, forbid_unknown_fields=True)
    return codec_for(kind)


def arguments_codec(arguments: type[msgspec.Struct], *, strict: bool | None) -> Codec[msgspec.Struct]:
    """The codec that a client prefers.

    Args:
        arguments: The struct of an operation.
        strict: Whether others are refused; None where the client does not say, which is as True.
    """
    return codec_for(arguments) if strict is False else strictly(arguments)
