"""Whether values of a type may hold moments, which MessagePack and JSON tell differently. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec
from msgspec import inspect


def has_moment(kind: object) -> bool:
    """Whether a value of a type may hold a datetime, as far as the type says.

    Example:
        >>> from datetime import date, datetime
        >>> has_moment(dict[str, list[datetime | None]]), has_moment(date)
        (True, False)
    """
    seen: set[int] = set()
    left: list[msgspec.Struct] = [inspect.type_info(kind)]
    while left:
        info = left.pop()
        if isinstance(info, inspect.DateTimeType) or _is_foreign(info):
            return True
        if id(info) not in seen:
            seen.add(id(info))
            left += _parts(info)
    return False


def _is_foreign(info: msgspec.Struct) -> bool:
    """Whether nothing is known of what it holds, as of a pydantic model; of `object` nothing is asked."""
    return isinstance(info, inspect.CustomType) and info.cls is not object


def _parts(info: msgspec.Struct) -> Iterator[msgspec.Struct]:
    for name in info.__struct_fields__:
        value: object = getattr(info, name)
        for one in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(one, (inspect.Type, inspect.Field)):
                yield one
