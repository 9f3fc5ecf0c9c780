"""What the descriptions of all resources share: parameters, headers, and the filters that a field has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from hanse.contract.model import Event, Resource
from hanse.contract.openapi_parts import parameter_of, resolved
from hanse.contract.schema import Json
from hanse.kernel.hints import bare

PAGE_MAX = 1_000
"""Rows of a page, of a batch, and operations of a JSON patch, as the layers above have them."""

_SCALARS = frozenset({"string", "integer", "number", "boolean"})
TEXT: Json = {"type": "string"}

IDS_NAMED: Json = parameter_of(
    "id[in]", {"type": "string", "minLength": 1, "description": "Ids, with commas between."}, required=False
)

OPERATIONS: Json = {
    "type": "array",
    "maxItems": PAGE_MAX,
    "items": {
        "type": "object",
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string", "description": "A JSON pointer."},
            "from": {"type": "string", "description": "A JSON pointer, for move and copy."},
            "value": {},
        },
        "required": ["op", "path"],
    },
}


def _header(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


PARAMETERS: dict[str, Json] = {
    "limit": parameter_of("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}, required=False),
    "cursor": parameter_of("cursor", {**TEXT, "description": "What the page before gave as next."}, required=False),
    "total": parameter_of(
        "total", {"type": "boolean", "description": "Whether to count what matches."}, required=False
    ),
    "IfMatch": _header("If-Match", TEXT, 'Only at this revision: its ETag, such as "7".'),
    "IfNoneMatch": _header("If-None-Match", TEXT, "Only if it is not this ETag; * on PUT: only a new row."),
    "Prefer": _header(
        "Prefer",
        {"type": "string", "examples": ["return=minimal, handling=strict", "respond-async, wait=5"]},
        "return=minimal or representation; handling=strict or lenient; respond-async, with wait=seconds.",
    ),
    "IdempotencyKey": _header(
        "Idempotency-Key", {"type": "string", "maxLength": 255}, "The same key with the same content is done once."
    ),
}
"""Parameters that all resources share."""

HEADERS: dict[str, Json] = {
    "ETag": {"description": "Its revision; a weak one is for If-None-Match alone.", "schema": TEXT},
    "Link": {"description": "The next page, and from a later one the first.", "schema": TEXT},
    "Location": {"description": "Where it is.", "schema": TEXT},
    "PreferenceApplied": {"description": "The preferences that were honoured.", "schema": TEXT},
}
"""Headers of answers that all resources share."""


def listed_of(names: Iterable[str], *, before: str = "", after: str = "") -> str:
    """The pattern of names with commas between, or of none; `before` and `after` are what may stand beside each."""
    one = f"{before}(?:{'|'.join(names)}){after}"
    return f"^(?:{one}(?:,{one})*)?$"


def fields_of(schema: Json, definitions: Json) -> dict[str, Json]:
    """The fields of a schema, or of what it refers to."""
    return cast("dict[str, Json]", resolved(schema, definitions).get("properties", {}))


def filters_of(
    kind: type[Resource | Event], fields: Mapping[str, Json], definitions: Json, taken: frozenset[str]
) -> list[Json]:
    """What a query may ask of fields: each of them, and each with each of its operators.

    Args:
        kind: Whose fields they are.
        fields: Their schemas.
        definitions: What the schemas refer to.
        taken: Names that mean something else in the query: a field of such a name is asked for by its operators alone.
    """
    found: list[Json] = []
    texts = texts_of(kind)
    for name, schema in fields.items():
        operators = operators_of(resolved(schema, definitions), text=name in texts)
        for operator, operand in operators.items():
            how = operator or ("eq" if name in taken else "")
            found.append(parameter_of(f"{name}[{how}]" if how else name, operand, required=False))
    return found


def texts_of(kind: type[Resource | Event]) -> frozenset[str]:
    """The fields that are any text, of which pieces may be asked for; dates are text in JSON too, but not any."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind) if bare(field.type) is str)


def operators_of(schema: Json, *, text: bool) -> dict[str, Json]:
    """What a filter takes of a field of this schema, by operator; equality has none.

    Args:
        schema: Of the field.
        text: Whether it is any text.
    """
    options = [part for part in cast("list[Json]", schema.get("anyOf", [])) if part.get("type") != "null"]
    if options:
        return operators_of(options[0], text=text) if len(options) == 1 else {}
    plain = {key: value for key, value in schema.items() if key not in {"default", "description", "title"}}
    several: Json = {"type": "string", "description": "Values, with commas between."}
    kind = schema.get("type")
    if kind == "array":
        items = cast("Json", schema.get("items", {}))
        return {"": items, "ne": items} if items.get("type") in _SCALARS else {}
    if kind == "boolean" or "enum" in schema:
        return {"": plain, "ne": plain, "in": several}
    if kind in _SCALARS:
        return {"": plain, **_more_operators(schema, plain, text=text), "in": several}
    return {}


def _more_operators(schema: Json, plain: Json, *, text: bool) -> dict[str, Json]:
    if "contentEncoding" in schema or schema.get("format") == "uuid":
        return {"ne": plain}
    if text:
        return {"ne": plain, "starts": TEXT, "ends": TEXT, "contains": TEXT}
    return dict.fromkeys(("ne", "lt", "lte", "gt", "gte"), plain)
