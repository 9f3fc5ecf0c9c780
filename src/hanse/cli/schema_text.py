"""JSON Schema as people read types: `list[Order] | null` rather than a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from hanse.kernel.codec import encode_json

_AT = "#/$defs/"
_NAMES = {"array": "list", "object": "table"}

Schema = Mapping[str, object]


def type_text(schema: object) -> str:
    """A type in one line.

    Example:
        >>> type_text({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Order"}}, {"type": "null"}]})
        'list[Order] | null'
    """
    if not isinstance(schema, Mapping):
        return "anything"
    found = cast("Schema", schema)
    if "$ref" in found:
        return str(found["$ref"]).removeprefix(_AT)
    for word in ("anyOf", "oneOf", "type"):
        members = found.get(word)
        if isinstance(members, Sequence) and not isinstance(members, str):
            options = [type_text(one if word != "type" else {"type": one}) for one in cast("list[object]", members)]
            return " | ".join(options)
    if "enum" in found:
        return " | ".join(encode_json(one).decode() for one in cast("list[object]", found["enum"]))
    if "const" in found:
        return encode_json(found["const"]).decode()
    return _plain(found)


def _plain(schema: Schema) -> str:
    name = str(schema.get("type", "anything"))
    inner = schema.get("items" if name == "array" else "additionalProperties")
    if isinstance(inner, Mapping):
        return f"{_NAMES.get(name, name)}[{type_text(cast('Schema', inner))}]"
    return str(schema.get("format") or _NAMES.get(name, name))


def fields_text(schema: object, definitions: object) -> str:
    """The fields of a struct as a signature has them, with defaults.

    Example:
        >>> shape = {"properties": {"sku": {"type": "string"}, "left": {"type": "integer", "default": 3}}}
        >>> fields_text({"$ref": "#/$defs/Stock"}, {"Stock": shape})
        'sku: string, left: integer = 3'
    """
    found = cast("Schema", schema)
    if "$ref" in found:
        name = str(found["$ref"]).removeprefix(_AT)
        found = cast("Mapping[str, Schema]", definitions)[name]
    fields = cast("Mapping[str, Schema]", found.get("properties", {}))
    return ", ".join(f"{name}: {type_text(inner)}{_default(inner)}" for name, inner in fields.items())


def _default(schema: Schema) -> str:
    return f" = {encode_json(schema['default']).decode()}" if "default" in schema else ""
