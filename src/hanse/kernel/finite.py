"""Numbers that are none: a Decimal or float from outside has to be finite.

JSON has no NaN, but the text of a Decimal may be one, and so may a parameter. To compare with it fails, or is never
true.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar, cast

import msgspec

from hanse.kernel.faults import Flaw, Invalid
from hanse.kernel.validate import FLAWS_MAX, escape

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_LISTS = (list, tuple, set, frozenset)


def finite(value: T) -> T:
    """The value, if every number in it is finite.

    Raises:
        Invalid: One is not; lists them with their pointers.

    Example:
        >>> finite({"price": Decimal("1.5")})
        {'price': Decimal('1.5')}
        >>> finite({"price": [Decimal("NaN")]})
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Invalid: /price/0: Expected a finite number, got NaN
    """
    found = [Flaw(at, "type", f"Expected a finite number, got {number}") for at, number in _endless(value, "")]
    if found:
        raise Invalid("; ".join(f"{flaw.pointer}: {flaw.detail}" for flaw in found[:3]), found[:FLAWS_MAX])
    return value


def _endless(value: object, at: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, (Decimal, float)):
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            yield at, value
        return
    for name, member in members(value):
        yield from _endless(member, f"{at}/{escape(name)}")


def members(value: object) -> Iterable[tuple[str, object]]:
    """What a value consists of, by name or place; nothing of one that has no parts."""
    if isinstance(value, msgspec.Struct):
        return zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)
    if isinstance(value, dict):
        return ((str(key), member) for key, member in cast("dict[object, object]", value).items())
    if isinstance(value, _LISTS):
        return ((str(index), member) for index, member in enumerate(cast("list[object]", value)))
    # Dataclasses, and models of pydantic.
    names = getattr(type(value), "__dataclass_fields__", None) or getattr(type(value), "model_fields", None)
    if not isinstance(names, dict):
        return ()
    return ((name, getattr(value, name)) for name in cast("dict[str, object]", names))


@lru_cache(maxsize=4096)
def may_be_endless(kind: Hashable) -> bool:
    """Whether a value of a type may hold a number that is not finite.

    Example:
        >>> [may_be_endless(kind) for kind in (dict[str, float], Decimal | None, list[int])]
        [True, True, False]
    """
    try:
        schema = msgspec.json.encode(msgspec.json.schema(kind))
    except TypeError:
        return True  # it holds something that only its own library describes
    return b'"decimal"' in schema or b'"number"' in schema


def checked(value: T) -> T:
    """The value, if every number in it is finite; a struct whose type has no Decimal and no float is not looked into.

    Raises:
        Invalid: One is not; lists them with their pointers.
    """
    return value if _is_sound(value) else finite(value)


def checked_arguments(value: S) -> S:
    """Arguments, if every number that came is finite; a default is the developer's own affair.

    Raises:
        Invalid: One is not; lists them with their pointers.
    """
    if not _is_sound(value):
        came = [(field, cast("object", getattr(value, field.name))) for field in msgspec.structs.fields(value)]
        _ = finite({field.encode_name: one for field, one in came if one is not field.default})
    return value


_suspects: dict[type, tuple[str, ...] | None] = {}
"""By type, the fields of a struct that may hold a number that is not finite; None where it is no struct."""


def _suspects_of(kind: type) -> tuple[str, ...] | None:
    names = None
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        names = tuple(field.name for field in fields if may_be_endless(cast("Hashable", field.type)))
    _suspects[kind] = names
    return names


def _is_sound(value: object) -> bool:
    """Whether all numbers are finite, told without pointers: every row that is read or written is asked this."""
    kind = type(value)
    names = _suspects[kind] if kind in _suspects else _suspects_of(kind)
    if names is None:
        return next(_endless(value, ""), None) is None
    for name in names:
        member: object = getattr(value, name)
        if type(member) is float:  # most are; written out, as a call would cost more than the look
            if not math.isfinite(member):
                return False
        elif not _is_sound(member):
            return False
    return True
