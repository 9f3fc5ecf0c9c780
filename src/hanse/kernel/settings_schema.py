"""What may stand at a path of the settings, read from the structs, and how text becomes a value of it."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Union, cast

import msgspec

from hanse.kernel.duration import seconds
from hanse.kernel.faults import Misdeclared
from hanse.kernel.settings_hide import hidden

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_WORDS: dict[object, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    tuple: "a list",
}
_UNITS = {"seconds": "a duration such as '30s' or a number of seconds", "bytes": "a size such as '2MiB' or '500kB'"}


class Unusable(Exception):
    """A path that nothing is known of (`suggestion` may be what was meant), or a value of the wrong kind.

    Where the value is made of others, `problem` says what is wrong with which of them.
    """

    def __init__(self, expected: str = "", *, suggestion: str = "", problem: str = "") -> None:
        super().__init__(expected, suggestion)
        self.problem: str = problem
        self.expected: str = expected
        self.suggestion: str = suggestion

    def told(self, path: tuple[str, ...], value: object) -> str:
        """The problem in words, with secrets hidden."""
        if self.problem:
            return self.problem
        if self.expected:
            return f"expected {self.expected}, got {hidden(value, path[-1])!r}"
        return "unknown" + (f"; did you mean {self.suggestion}?" if self.suggestion else "")


def type_at(root: object, path: tuple[str, ...]) -> object:
    """The type that the structs promise at a path.

    Raises:
        Unusable: There is nothing of that name.
    """
    for depth, name in enumerate(path):
        fields = fields_of(root)
        if fields is None:
            root = _item(root, path[:depth])
        elif name in fields:
            root = fields[name]
        else:
            raise Unusable(suggestion=".".join([*path[:depth], near]) if (near := nearest(name, fields)) else "")
    return root


def fields_of(kind: object) -> dict[str, object] | None:
    """The fields of a struct with their types, of one that stands for others too (`str | Struct`); else None."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {item.encode_name: item.type for item in msgspec.structs.fields(kind)}
    if typing.get_origin(kind) in (Union, types.UnionType):
        return next((fields for member in typing.get_args(kind) if (fields := fields_of(member)) is not None), None)
    return None


def nearest(name: str, names: typing.Iterable[str]) -> str:
    """The name that was probably meant; empty where none is near.

    Example:
        >>> nearest("gatway", ["gateway", "node"])
        'gateway'
    """
    return next(iter(difflib.get_close_matches(name, list(names), 1, 0.7)), "")


def as_table(value: object) -> Mapping[str, object] | None:
    """The value where it is a table, else None."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else None


def convert(kind: object, value: object) -> object:
    """The value as its type wants it: text becomes numbers, durations, sizes, lists and tables where those are due.

    Raises:
        Unusable: It is not of that type; says what was expected.
    """
    if fields_of(kind) is not None and (isinstance(kind, type) or as_table(value) is not None):
        # Tables came here leaf by leaf; only an empty one may stand for itself.
        return _empty_table(value)
    try:
        return msgspec.convert(_from_text(kind, value), kind, strict=not isinstance(value, str))
    except (msgspec.ValidationError, Misdeclared) as error:
        raise Unusable(expectation(kind), problem=_within(kind, error)) from None


def _within(kind: object, error: Exception) -> str:
    """What is wrong with a part of a list of tables, as msgspec says it; empty where it is the list itself."""
    items = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    what, at, where = str(error).partition(" - at `$")
    return f"in {where.rstrip('`')}: {what}" if at and items and fields_of(items[0]) is not None else ""


def expectation(kind: object) -> str:
    """A type in words, as an error tells what was expected.

    Example:
        >>> expectation(Annotated[int, msgspec.Meta(ge=0, le=65535)])
        'a whole number from 0 to 65535'
    """
    plain, meta = _bare(kind)
    if unit := _unit(meta):
        return _UNITS[unit]
    if meta is not None and meta.extra and "expected" in meta.extra:
        return str(meta.extra["expected"])
    if typing.get_origin(plain) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(plain))
    if typing.get_origin(plain) in (Union, types.UnionType):
        return " or ".join(expectation(member) for member in typing.get_args(plain))
    words = "a table" if fields_of(plain) else _WORDS.get(typing.get_origin(plain) or plain, "a value")
    low, high = (meta.ge if meta else None), (meta.le if meta else None)
    return words + ("" if low is None else f" from {low}") + ("" if high is None else f" to {high}")


def choices(kind: object) -> tuple[str, ...]:
    """The texts that a type allows, where it lists them.

    Example:
        >>> choices(Literal["log", "broker"]), choices(int)
        (('log', 'broker'), ())
    """
    plain, _ = _bare(kind)
    return tuple(map(str, typing.get_args(plain))) if typing.get_origin(plain) is Literal else ()


def _item(kind: object, path: tuple[str, ...]) -> object:
    """The type of what stands in a table of free names."""
    if kind is object:
        return object
    for member in typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,):
        if typing.get_origin(member) is dict:
            return cast("object", typing.get_args(member)[1])
    raise Unusable(suggestion=f"{'.'.join(path)} without more after it")


def _empty_table(value: object) -> dict[str, object]:
    if value != {}:
        raise Unusable("a table")
    return {}


def _from_text(kind: object, value: object) -> object:
    """The text of a flag or a variable as what its type needs: units, names with commas, JSON for lists and tables."""
    if not isinstance(value, str):
        return value
    plain, meta = _bare(kind)
    if unit := _unit(meta):
        return _MEASURES[unit](value)
    wants_text = plain is str or typing.get_origin(plain) is Literal
    if not wants_text and value[:1] in ("{", "[", '"'):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    if typing.get_origin(plain) is tuple:
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


def _bare(kind: object) -> tuple[object, msgspec.Meta | None]:
    if typing.get_origin(kind) is not Annotated:
        return kind, None
    plain, *rest = cast("tuple[object, ...]", typing.get_args(kind))
    return plain, next((meta for meta in rest if isinstance(meta, msgspec.Meta)), None)


def _unit(meta: msgspec.Meta | None) -> str:
    return str(meta.extra.get("unit", "")) if meta is not None and meta.extra else ""


def _duration(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return seconds(text)


def _size(text: str) -> object:
    match = _SIZE.fullmatch(text.strip())
    return int(float(match[1]) * _FACTORS[(match[2] or "").lower()]) if match else text


_MEASURES: dict[str, Callable[[str], object]] = {"seconds": _duration, "bytes": _size}
