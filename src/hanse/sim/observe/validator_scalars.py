"""What a JSON Schema demands of a value without looking into it: its type, its size, its form."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import cast

Json = Mapping[str, object]
Check = Callable[[object], "str | None"]

SHOWN_CHARACTERS_MAX = 80
"""Longest value that is shown."""

DIVISION_MAX = 1e-9
"""How far a number may be from a multiple of another, in that other's count."""

_TYPES: dict[str, tuple[type, ...]] = {
    # MessagePack has instants of its own.
    "string": (str, dt.datetime),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_ALSO: dict[str, tuple[type, ...]] = {"uuid": (bytes,), "binary": (bytes,), "decimal": (int, float)}
"""What else whoever reads a string of a format takes for it."""

_FORMS = {
    "date": r"\d{4}-\d\d-\d\d",
    "date-time": r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*",
    "duration": r"[+-]?P.+",
    "uuid": r"[0-9a-fA-F]{8}(-?)([0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}",
    "decimal": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?i:nan|inf|infinity)",
}


def _is_multiple(value: float, of: float) -> bool:
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    return math.isfinite(value) and abs(value / of - round(value / of)) <= DIVISION_MAX


_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("{} or more", operator.ge),
    "maximum": ("{} or less", operator.le),
    "exclusiveMinimum": ("more than {}", operator.gt),
    "exclusiveMaximum": ("less than {}", operator.lt),
    "multipleOf": ("a multiple of {}", _is_multiple),
}
_SIZES: dict[str, tuple[tuple[type, ...], str, Callable[[float, float], bool]]] = {
    "minLength": ((str, bytes), "{} characters or more", operator.ge),
    "maxLength": ((str, bytes), "{} characters or less", operator.le),
    "minItems": ((list,), "{} items or more", operator.ge),
    "maxItems": ((list,), "{} items or less", operator.le),
    "minProperties": ((dict,), "{} fields or more", operator.ge),
    "maxProperties": ((dict,), "{} fields or less", operator.le),
}


def problem_with(expected: str, value: object) -> str:
    """What is wrong with a value.

    Example:
        >>> problem_with("integer", "two")
        ": expected integer, got 'two'"
    """
    text = repr(value)
    shown = text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}..."
    return f": expected {expected}, got {shown}"


def type_check(schema: Json) -> Check:
    """Whether a value is of one of the types that a schema names."""
    named = schema["type"]
    names = [named] if isinstance(named, str) else cast("list[str]", named)
    types = [one for name in names for one in _TYPES[name]]
    if "contentEncoding" in schema:
        types = [bytes]
    types += _ALSO.get(str(schema.get("format")), ())
    # By their own types, not by `isinstance`: True is no integer.
    allowed, expected = frozenset(types), "bytes" if "contentEncoding" in schema else " or ".join(names)
    return lambda value: None if type(value) in allowed else problem_with(expected, value)


def scalar_checks(schema: Json) -> Iterable[Check]:
    """The checks of all that a schema demands besides types and parts."""
    if "enum" in schema or "const" in schema:
        yield _among(cast("list[object]", schema.get("enum", [schema.get("const")])))
    for keyword, (words, holds) in _LIMITS.items():
        if keyword in schema:
            yield _limit(cast("float", schema[keyword]), words, holds)
    for keyword, (kinds, words, holds) in _SIZES.items():
        if keyword in schema:
            yield _size(cast("int", schema[keyword]), kinds, words, holds)
    if "pattern" in schema:
        yield _form(re.compile(cast("str", schema["pattern"])).search, f"text like {schema['pattern']}")
    form = str(schema.get("format"))
    if form in _FORMS:
        yield _form(re.compile(_FORMS[form]).fullmatch, form)


def _among(values: list[object]) -> Check:
    # With their types: True is not 1.
    allowed = {(type(value), value) for value in values}
    expected = " or ".join(map(repr, values))

    def check(value: object) -> str | None:
        kind = type(value)
        known = kind not in (list, dict) and (kind, value) in allowed
        return None if known else problem_with(expected, value)

    return check


def _limit(limit: float, words: str, holds: Callable[[float, float], bool]) -> Check:
    def check(value: object) -> str | None:
        bad = isinstance(value, (int, float)) and not holds(value, limit)
        return problem_with(words.format(limit), value) if bad else None

    return check


def _size(limit: int, kinds: tuple[type, ...], words: str, holds: Callable[[float, float], bool]) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, kinds):
            return None
        size = len(cast("list[object]", value))
        if isinstance(value, bytes):
            # Schemas count what JSON has for them: four characters for each three bytes.
            size = 4 * -(-size // 3)
        return None if holds(size, limit) else problem_with(words.format(limit), value)

    return check


def _form(matches: Callable[[str], object], expected: str) -> Check:
    def check(value: object) -> str | None:
        return problem_with(expected, value) if isinstance(value, str) and not matches(value) else None

    return check
