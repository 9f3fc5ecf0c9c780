"""How deep, how wide and how long JSON from outside may be, and how large its numbers.

What comes after the decoder recurses too, on a smaller stack; and other programs, stores among them, count in 64 bits.
Pure. A body that is small enough to be harmless is only measured.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hanse.gateway.limits import Limits
from hanse.kernel.faults import Malformed, TooLarge

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*+"', re.DOTALL)
_DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
"""Makes one digit of all, and a space of anything else: to look for many of them is then a search for one text."""

_LONG_NUMBER = b"0" * 19
_WHOLE = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{19,}(?![0-9.eE])")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{},"))
_USUAL = Limits()
_SHOWN = 21
"""Digits of a number that are told back."""

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
"""Whole numbers of JSON from outside: what 64 bits hold, signed or not."""


def check_depth(body: bytes, limits: Limits = _USUAL) -> bytes:
    """The body, if it is not nested deeper, and nothing in it is longer or larger, than the limits say.

    Raises:
        Malformed: It is nested too deeply, its brackets do not match, or a whole number is over 64 bits.
        TooLarge: A text, an array or an object is over its limit.

    Example:
        >>> check_depth(b'{"a": "[[["}')
        b'{"a": "[[["}'
        >>> check_depth(b"[123456789012345678901234567890]")
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Malformed: expected whole numbers from -2^63 to 2^64-1, got 123456789012345678901...
    """
    long = len(body) > limits.text_bytes
    marks = len(body.translate(None, _NO_BRACKETS))
    deep = marks > limits.depth and body.count(b"[") + body.count(b"{") > limits.depth
    wide = marks >= limits.items and body.count(b",") >= limits.items
    digits = body.translate(_DIGITS).find(_LONG_NUMBER) >= 0
    if not (long or deep or wide or digits):
        return body
    if long and max(map(len, _TEXT.findall(body)), default=0) > limits.text_bytes + 2:
        raise TooLarge("a text in the body", f"{limits.text_bytes} bytes")
    rest = _TEXT.sub(b"", body)
    if digits:
        _check_numbers(rest)
    if deep or wide:
        _check_brackets(rest.translate(None, _NO_BRACKETS), limits)
    return body


def _check_numbers(rest: bytes) -> None:
    for match in _WHOLE.finditer(rest):
        text = match[0]
        if len(text.lstrip(b"-0")) > len(str(INTEGER_MAX)) or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
            shown = text[:_SHOWN].decode()
            raise Malformed(f"expected whole numbers from -2^63 to 2^64-1, got {shown}...")


@lru_cache(maxsize=16)
def _innermost(items: int) -> re.Pattern[bytes]:
    """An array or object with none inside, and so many members at most."""
    most = items - 1
    return re.compile(rb"\[,{0,%d}+\]|\{,{0,%d}+\}" % (most, most))


def _check_brackets(marks: bytes, limits: Limits) -> None:
    """Peel off the innermost, level by level: what is left at the end is too deep or too wide."""
    narrow = _innermost(limits.items)
    for _ in range(limits.depth):
        peeled = narrow.sub(b"", marks)
        if len(peeled) == len(marks):
            break
        marks = peeled
    if not marks.strip(b","):
        return
    if not narrow.search(marks) and marks.count(b",") >= limits.items:
        raise TooLarge("an array in the body", f"{limits.items} items")
    raise Malformed(f"expected JSON that is at most {limits.depth} levels deep, and whose brackets match")
