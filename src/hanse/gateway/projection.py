"""`fields=sku,address.city`: a row with only those of its fields, cut out of its JSON bytes. Pure.

What is kept is never decoded: the row is read into slices of its own bytes, and these are put together again. The id
and the revision are always kept, so that a row can be named and written whatever was asked of it.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import cast

import msgspec

from hanse.contract.model import Resource
from hanse.gateway.fields import Wrong, field_at
from hanse.gateway.limits import NAMES_MAX
from hanse.kernel.codec import encode_json

OWN = ("id", "rev")

_ESCAPED = re.compile(r'[\x00-\x1f"\\]')
"""What JSON does not write as it is."""

Project = Callable[[bytes], bytes]
"""Makes of a row's JSON that of its view."""

_Wanted = dict[str, "_Wanted"]
"""Fields by name, with what is wanted of each; empty for all of it."""


def names_of(text: str) -> tuple[str, ...]:
    """The names in `sku,address.city`."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def projection(kind: type[Resource], names: Iterable[str]) -> Project | None:
    """What cuts the fields of these names out of a row; None for no name, which is the whole row.

    Raises:
        Wrong: There is no such field, or there are too many names.

    Example:
        >>> class Order(Resource):
        ...     sku: str
        ...     count: int = 1
        >>> projection(Order, ["sku"])(b'{"id":"1","rev":7,"sku":"tea","count":2}')
        b'{"id":"1","rev":7,"sku":"tea"}'
    """
    chosen = tuple(dict.fromkeys(names))
    return _projection(kind, chosen) if chosen else None


@lru_cache(maxsize=1024)
def _projection(kind: type[Resource], names: tuple[str, ...]) -> Project:
    if len(names) > NAMES_MAX:
        raise Wrong("/fields", "length", f"expected at most {NAMES_MAX} names, got {len(names)}")
    wanted: _Wanted = {name: {} for name in OWN}
    for name in names:
        _ = field_at(kind, name, "/fields", through_lists=True)
        path = name.split(".")
        if _ESCAPED.search(name):
            # Keys of a mapping may be anything; those that JSON escapes are not looked for among its bytes.
            told = f"expected names without quotes, backslashes and control characters; ask for {path[0]} instead"
            raise Wrong("/fields", "pattern", told)
        _want(wanted, path)
    decode = msgspec.json.Decoder(_slices(wanted)).decode
    return lambda value: encode_json(decode(value))


def _want(wanted: _Wanted, path: list[str]) -> None:
    """Add a path; what is wanted whole by one name stays whole."""
    for index, name in enumerate(path):
        if name in wanted and not wanted[name]:
            return
        wanted = wanted.setdefault(name, {})
        if index == len(path) - 1:
            wanted.clear()


def _slices(wanted: Mapping[str, _Wanted]) -> type[msgspec.Struct]:
    """A struct that keeps the wanted fields as the bytes that they are, in the order in which they are wanted."""
    fields = [
        (f"field_{index}", _slice(inner) | msgspec.UnsetType, msgspec.UNSET)
        for index, inner in enumerate(wanted.values())
    ]
    names = {f"field_{index}": name for index, name in enumerate(wanted)}
    return msgspec.defstruct("View", cast("list[tuple[str, type, object]]", fields), rename=names, frozen=True)


def _slice(wanted: _Wanted) -> typing.Any:  # noqa: ANN401 - a type form
    if not wanted:
        return msgspec.Raw
    inner = _slices(wanted)
    return inner | list[inner | None] | None  # type: ignore[valid-type]
