"""The fields of a resource as filters see them: what a path leads to, and how a value from outside becomes typed.

Pure. The types come from the class's own hints, so that a filter takes what the field takes.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence, Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal, cast

import msgspec

from hanse.contract.model import Event, Resource, topic_of
from hanse.gateway.depth import INTEGER_MAX, INTEGER_MIN
from hanse.kernel.codec import from_builtin
from hanse.kernel.faults import Flaw, Invalid
from hanse.kernel.finite import finite
from hanse.kernel.hints import UNIONS, bare
from hanse.service.query import scalar
from hanse.store.query import Path, Scalar

_ORDERED = (int, float, str, Decimal, datetime, date, time, timedelta)
_MAPPINGS = (dict, Mapping)
_LISTS = (list, tuple, set, frozenset, Sequence, AbstractSet)


class Wrong(Exception):
    """A filter that cannot be; carries the flaw to report."""

    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.flaw: Flaw = Flaw(pointer, code, detail)


class FieldType(msgspec.Struct, frozen=True):
    """What a field holds, without its null.

    Attributes:
        hint: Type of the value; of an item, where the field is a list.
        many: Whether it is a list.
    """

    hint: object
    many: bool = False

    @property
    def textual(self) -> bool:
        """Whether pieces of it may be asked for."""
        return self.hint is str or self.hint is object or typing.get_origin(self.hint) is Literal

    @property
    def ordered(self) -> bool:
        """Whether it has a smaller and a larger."""
        hint = self.hint
        if self.many or hint is bool:
            return False
        return hint is object or typing.get_origin(hint) is Literal or _is_one_of(hint, _ORDERED)

    @property
    def single(self) -> bool:
        """Whether it is one value that can be compared, rather than an object."""
        return bool(not names_in(self.hint) and typing.get_origin(self.hint) not in (*_MAPPINGS, *_LISTS))


def field_at(
    kind: type[Resource | Event], name: str, pointer: str, *, through_lists: bool = False
) -> tuple[Path, FieldType]:
    """What a dotted name leads to, such as `address.city`.

    Args:
        kind: Where it begins.
        name: The dotted name.
        pointer: Where it came from, for the error.
        through_lists: Whether it may lead into the items of a list, as `lines.sku`.

    Raises:
        Wrong: There is no such field; names those that there are.
    """
    path = tuple(name.split("."))
    hint: object = kind
    for index, part in enumerate(path):
        if through_lists and typing.get_origin(hint) in _LISTS and typing.get_args(hint):
            hint = plain(typing.get_args(hint)[0])
        known = names_in(hint)
        if part in known:
            hint = plain(known[part])
        elif typing.get_origin(hint) in _MAPPINGS and part:
            hint = plain(typing.get_args(hint)[1])
        else:
            raise Wrong(pointer, "unknown_field", _unknown(kind, path[:index], part, known))
    if typing.get_origin(hint) in _LISTS:
        inner = typing.get_args(hint)
        return path, FieldType(plain(inner[0]) if inner else object, many=True)
    return path, FieldType(hint)


def typed(field: FieldType, value: object, pointer: str, *, text: bool) -> Scalar:
    """A value to compare with, as the field's type has it in JSON.

    Args:
        field: What it is compared with.
        value: As it came.
        pointer: Where it came from, for the error.
        text: Whether it came as text (a query string), where "7" is a number.

    Raises:
        Wrong: It is not of the field's type.
    """
    if value is None or (text and value == "null" and field.hint is not str):
        return None
    try:
        converted = msgspec.convert(value, cast("type[object]", field.hint), strict=not text, dec_hook=from_builtin)
        return _in_range(_scalar(finite(converted)))
    except (msgspec.ValidationError, Invalid, TypeError, ValueError) as error:
        raise Wrong(pointer, "type", f"{error}, in {str(value)[:100]!r}") from None


def names_in(hint: object) -> dict[str, object]:
    """The fields that a struct has, by name, with their types; none of anything else."""
    if not (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        return {}
    return {field.encode_name: field.type for field in msgspec.structs.fields(hint)}


def plain(hint: object) -> object:
    """A bare hint; what could be several types is any."""
    found = bare(hint)
    return object if typing.get_origin(found) in UNIONS else found


def _unknown(kind: type[Resource | Event], parents: Path, part: str, known: Mapping[str, object]) -> str:
    where = ".".join((topic_of(kind), *parents))
    return f"{where} has no field {part[:100]!r}; it has {', '.join(known) or 'none'}"


def _is_one_of(hint: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(hint, type) and issubclass(hint, kinds)


def _scalar(value: object) -> Scalar:
    return scalar(msgspec.to_builtins(value))


def _in_range(value: Scalar) -> Scalar:
    if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
        raise ValueError(f"Expected a whole number from {INTEGER_MIN} to {INTEGER_MAX}")
    return value
