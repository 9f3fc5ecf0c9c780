"""Values that are of their type and yet cannot travel: integers of more than 64 bits, moments before year 1.

JSON has no limit for integers, and rows and events are kept as JSON; MessagePack, in which calls are asked and
answered, ends at 64 bits. Encoders only say that something did not fit; this says where, once it has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from hanse.kernel.codec import SUMMARY_FLAWS
from hanse.kernel.faults import CannotTell, Flaw
from hanse.kernel.finite import members
from hanse.kernel.validate import FLAWS_MAX, escape

UNFIT = (OverflowError, ValueError)
"""What encoders raise for values that do not fit."""


Encode = Callable[[object], bytes]


def unfit(encode: Encode, value: object) -> list[Flaw]:
    """Everything in a value that an encoder refuses, with JSON pointers, at most `FLAWS_MAX`; empty where it takes all.

    Example:
        >>> from hanse.kernel.codec import encode
        >>> unfit(encode, {"seats": [1, 2**64]})[0].pointer
        '/seats/1'
    """
    return list(islice(_unfit(encode, value, ""), FLAWS_MAX))


def telling(encode: Encode, operation: str) -> Encode:
    """An encoder of what an operation answers, which says what of an answer does not fit, by `CannotTell`."""

    def tell(answer: object) -> bytes:
        try:
            return encode(answer)
        except UNFIT as error:
            raise CannotTell(operation, told(unfit(encode, answer)) or str(error)) from None

    return tell


def told(found: list[Flaw]) -> str:
    """What does not fit, in one line.

    Example:
        >>> told([Flaw("/n", "range", "Expected an integer within 64 bits, got one of 65 bits")])
        '/n: Expected an integer within 64 bits, got one of 65 bits'
    """
    lines = [f"{flaw.pointer}: {flaw.detail}" if flaw.pointer else flaw.detail for flaw in found[:SUMMARY_FLAWS]]
    shown = "; ".join(lines)
    more = len(found) - SUMMARY_FLAWS
    return f"{shown}; and {more} more" if more > 0 else shown


def _unfit(encode: Encode, value: object, at: str) -> Iterator[Flaw]:
    try:
        _ = encode(value)
    except UNFIT as error:
        inner = [flaw for name, one in members(value) for flaw in _unfit(encode, one, f"{at}/{escape(name)}")]
        yield from inner or [Flaw(at, "range", _problem(value, error))]


def _problem(value: object, error: Exception) -> str:
    if isinstance(value, int):
        return f"Expected an integer within 64 bits, got one of {value.bit_length()} bits; a text takes any"
    return str(error)
