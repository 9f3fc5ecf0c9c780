"""What type each field of a resource has to a store, by which it compares and sorts. Pure.

Read from the class itself, not from its JSON Schema: that of a datetime is a plain string where the time may lack an
offset, and stores would sort it as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import msgspec
from msgspec import inspect

from hanse.contract.schema import schemas_of
from hanse.store.base import Inside
from hanse.store.keys import KEYS, plain_key

_DEPTH_MAX = 5
"""Levels of models in models whose types are noted; deeper than that, values compare as JSON has them."""

_NAMES: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.DecimalType: "decimal",
    inspect.DateTimeType: "datetime",
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "duration",
    inspect.UUIDType: "uuid",
    **dict.fromkeys((inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType), "bytes"),
    **dict.fromkeys((inspect.DictType, inspect.TypedDictType, inspect.DataclassType, inspect.StructType), "object"),
    **dict.fromkeys((inspect.TupleType, inspect.NamedTupleType), "array"),
}
_PLAIN: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}


def type_name(info: inspect.Type) -> str:
    """The name of a type as `CollectionSchema` lists it.

    Example:
        >>> from datetime import datetime
        >>> type_name(inspect.type_info(datetime | None)), type_name(inspect.type_info(int | str))
        ('datetime', 'any')
    """
    info = _bare(info)
    match info:
        case inspect.UnionType(types=types):
            return _one_of(type_name(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return _one_of(_PLAIN[type(value)] for value in values if value is not None)
        case inspect.EnumType(cls=cls):
            return _one_of(_PLAIN.get(type(cast("object", member.value)), "any") for member in cls)
        case inspect.StructType(array_like=True) | inspect.CollectionType():
            return "array"
        case inspect.CustomType(cls=cls):
            return _foreign(cls)
        case _:
            return _NAMES.get(type(info), "any")


def inside_of(info: inspect.Type, depth: int = 1) -> dict[str, Inside]:
    """What lies inside a value and does not compare as JSON has it: by name, and by "" for any item of it.

    Example:
        >>> from decimal import Decimal
        >>> inside_of(inspect.type_info(list[Decimal])), inside_of(inspect.type_info(list[str]))
        ({'': Inside(type='decimal', inside={})}, {})
    """
    if depth > _DEPTH_MAX:
        return {}
    found = {name: Inside(type_name(part), inside_of(part, depth + 1)) for name, part in _parts(_bare(info))}
    return {name: one for name, one in found.items() if one.inside or KEYS[one.type] is not plain_key}


def _parts(info: inspect.Type) -> Iterable[tuple[str, inspect.Type]]:
    match info:
        case inspect.UnionType(types=types):
            options = [one for one in types if not isinstance(one, inspect.NoneType)]
            return _parts(_bare(options[0])) if len(options) == 1 else ()
        case inspect.StructType(array_like=True):
            return ()
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            return [(field.encode_name, field.type) for field in info.fields]
        case inspect.DictType(value_type=item) | inspect.CollectionType(item_type=item):
            return [("", item)]
        case _:
            return ()


def _bare(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _one_of(names: Iterable[str]) -> str:
    several = set(names)
    return several.pop() if len(several) == 1 else "any"


def _foreign(kind: type) -> str:
    """What a type that msgspec does not know, such as a pydantic model, is in JSON."""
    [schema], _ = schemas_of([kind])
    name = "object" if "$ref" in schema else schema.get("type")
    return name if isinstance(name, str) and name in KEYS else "any"


def fields_of(kind: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """The types of a class's fields, by the names that JSON has."""
    info = cast("inspect.StructType", inspect.type_info(kind))
    return {field.encode_name: field.type for field in info.fields}
