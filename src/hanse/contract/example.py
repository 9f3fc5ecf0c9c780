"""Example values of schemas: the same schema gives the same example, and the example fits it. Pure.

What a field declares (`Meta(examples=[...])`), then its default, then the simplest value that fits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import cast

from hanse.contract.schema import Json

DEPTH_MAX = 8
"""Levels of an example: what refers to itself has to end."""

FORMATS: Mapping[str, str] = {
    "date-time": "2026-01-31T12:30:00Z",
    "date": "2026-01-31",
    "time": "12:30:00",
    "duration": "PT1H",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
    "decimal": "9.99",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
ID = FORMATS["uuid"]
"""An id as rows get it."""

_TEXTS = ("text", "a", "A", "0", "1", "a1", "A1", "abc", "ABC", "123", "AB-123", "a-b", "a.b", "a@b.c", "+123456789")
_LIST_MAX = 3


class NoExample(Exception):
    """Nothing that surely fits is known."""


class Examples:
    """Makes examples of schemas that refer to the definitions of one document.

    Example:
        >>> examples = Examples({"Line": {"type": "object", "properties": {"sku": {"type": "string"}}}})
        >>> examples.of({"type": "array", "items": {"$ref": "#/components/schemas/Line"}})
        [{'sku': 'text'}]
    """

    def __init__(self, definitions: Mapping[str, object], given: Mapping[str, Json] | None = None) -> None:
        """Get ready.

        Args:
            definitions: Schemas by name.
            given: Values of fields by the definition that has them, where the schema does not know better.
        """
        self._definitions = definitions
        self._given = given or {}

    def of(self, schema: Json, *, writing: bool = False) -> object:
        """An example.

        Args:
            schema: What it has to fit.
            writing: Whether it is sent rather than got: fields that are given by the server are left out.

        Raises:
            NoExample: Nothing that surely fits is known.
        """
        return self._value(schema, 0, writing=writing)

    def _value(self, schema: Json, depth: int, *, writing: bool) -> object:
        if depth > DEPTH_MAX:
            raise NoExample
        if "$ref" in schema:
            name = cast("str", schema["$ref"]).rpartition("/")[2]
            found = self._value(cast("Json", self._definitions[name]), depth + 1, writing=writing)
            return self._completed(name, found, writing=writing)
        for key in ("examples", "enum"):
            if key in schema:
                return cast("list[object]", schema[key])[0]
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._first_of(cast("list[Json]", schema[key]), depth, writing=writing)
        if "allOf" in schema or "not" in schema:
            raise NoExample
        return self._of_type(schema, depth, writing=writing)

    def _completed(self, name: str, value: object, *, writing: bool) -> object:
        given = self._given.get(name)
        if given is None or not isinstance(value, dict):
            return value
        row = cast("Json", value)
        if writing:
            return {key: item for key, item in row.items() if key not in given}
        return {key: given.get(key, item) for key, item in row.items()}

    def _first_of(self, schemas: list[Json], depth: int, *, writing: bool) -> object:
        for schema in sorted(schemas, key=lambda one: one.get("type") == "null"):
            try:
                return self._value(schema, depth + 1, writing=writing)
            except NoExample:
                continue
        raise NoExample

    def _of_type(self, schema: Json, depth: int, *, writing: bool) -> object:
        kind = schema.get("type")
        kind = cast("list[str]", kind)[0] if isinstance(kind, list) else kind
        if kind == "array":
            return self._list(schema, depth, writing=writing)
        if kind == "object":
            return self._object(schema, depth, writing=writing)
        simple = _SIMPLE.get(cast("str", kind))
        return {} if simple is None else simple(schema)

    def _list(self, schema: Json, depth: int, *, writing: bool) -> list[object]:
        first = cast("list[Json]", schema.get("prefixItems", []))
        parts = [self._value(part, depth + 1, writing=writing) for part in first]
        least, items = cast("int", schema.get("minItems", 0)), schema.get("items")
        if not isinstance(items, dict) or schema.get("maxItems") == 0:
            if len(parts) < least:
                raise NoExample
            return parts
        if least > 1 and (least > _LIST_MAX or schema.get("uniqueItems")):
            raise NoExample
        try:
            one = self._value(cast("Json", items), depth + 1, writing=writing)
        except NoExample:
            if least:
                raise
            return parts
        return [*parts, *[one] * max(least, 1)]

    def _object(self, schema: Json, depth: int, *, writing: bool) -> Json:
        properties = cast("dict[str, Json]", schema.get("properties", {}))
        required = cast("list[str]", schema.get("required", []))
        value: Json = {}
        for name, part in properties.items():
            if writing and part.get("readOnly"):
                continue
            try:
                value[name] = self._value(part, depth + 1, writing=writing)
            except NoExample:
                if name in required:
                    raise
        more = schema.get("additionalProperties")
        if not properties and isinstance(more, dict):
            if cast("int", schema.get("minProperties", 0)) > 1 or "propertyNames" in schema:
                raise NoExample
            return {"key": self._value(cast("Json", more), depth + 1, writing=writing)}
        return value


def _text(schema: Json) -> str:
    if schema.get("contentEncoding") == "base64":
        return "aGFuc2U="
    least, most = cast("int", schema.get("minLength", 0)), cast("float", schema.get("maxLength", math.inf))
    candidates = [FORMATS[name]] if (name := cast("str", schema.get("format", ""))) in FORMATS else [*_TEXTS]
    candidates += [text * -(-least // len(text)) for text in candidates if least > len(text)]
    candidates += [text[: int(most)] for text in candidates if len(text) > most]
    pattern = re.compile(cast("str", schema.get("pattern", "")))
    for text in candidates:
        if least <= len(text) <= most and pattern.search(text):
            return text
    raise NoExample


def _number(schema: Json) -> float:
    least, most = cast("float", schema.get("minimum", -math.inf)), cast("float", schema.get("maximum", math.inf))
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    step = cast("float", schema.get("multipleOf", 0))
    whole = schema.get("type") == "integer"
    ends = [step or 1, 1, least, most, cast("float", above) + 1, cast("float", below) - 1]
    if step and math.isfinite(least):
        ends.append(math.ceil(least / step) * step)
    if not whole and math.isfinite(cast("float", above)) and math.isfinite(cast("float", below)):
        ends.append((cast("float", above) + cast("float", below)) / 2)
    for value in ends:
        if not math.isfinite(value):
            continue
        fits = least <= value <= most and cast("float", above) < value < cast("float", below)
        if fits and (not step or value % step == 0) and (not whole or value == int(value)):
            return value
    raise NoExample


_SIMPLE: Mapping[str, Callable[[Json], object]] = {
    "string": _text,
    "integer": lambda schema: math.floor(_number(schema)),
    "number": _number,
    "boolean": lambda _: True,
    "null": lambda _: None,
}
