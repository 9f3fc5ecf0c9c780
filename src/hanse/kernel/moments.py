"""What values of a type may hold that has to be encoded with care. Pure.

Moments, which MessagePack and JSON tell differently; and sets, such as the scopes of identities, whose texts lie in
another order in each process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import msgspec
from msgspec import inspect

from hanse.kernel.message import Identity


def delicate(kind: object) -> Literal["", "moment", "identity"]:
    """What a value of a type may hold that has to be encoded with care, as far as the type says; a moment first.

    Example:
        >>> from datetime import date, datetime
        >>> from hanse.kernel.message import Headers
        >>> delicate(dict[str, list[datetime | None]]), delicate(list[Headers]), delicate(date)
        ('moment', 'identity', '')
    """
    found: Literal["", "identity"] = ""
    for info in _within(kind):
        if isinstance(info, inspect.DateTimeType) or _is_foreign(info):
            return "moment"
        if isinstance(info, inspect.StructType) and info.cls is Identity:
            found = "identity"
    return found


def holds_sets(kind: object) -> bool:
    """Whether a value of a type may hold a set, as far as the type says.

    Example:
        >>> holds_sets(dict[str, list[frozenset[str]]]), holds_sets(dict[str, list[str]])
        (True, False)
    """
    return any(isinstance(info, (inspect.SetType, inspect.FrozenSetType)) for info in _within(kind))


def _within(kind: object) -> Iterator[msgspec.Struct]:
    seen: set[int] = set()
    left: list[msgspec.Struct] = [inspect.type_info(kind)]
    while left:
        info = left.pop()
        yield info
        if id(info) not in seen:
            seen.add(id(info))
            left += _parts(info)


def _is_foreign(info: msgspec.Struct) -> bool:
    """Whether nothing is known of what it holds, as of a pydantic model; of `object` nothing is asked."""
    return isinstance(info, inspect.CustomType) and info.cls is not object


def _parts(info: msgspec.Struct) -> Iterator[msgspec.Struct]:
    for name in info.__struct_fields__:
        value: object = getattr(info, name)
        for one in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(one, (inspect.Type, inspect.Field)):
                yield one
