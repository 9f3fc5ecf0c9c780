"""The pieces that an OpenAPI document is put together from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from hanse.contract.prose import prose_of
from hanse.contract.schema import Json

AT = "#/components/schemas/{name}"
"""Where the document keeps its schemas."""

PROBLEM = "#/components/responses/Problem"
BEARER = "bearer"
"""Name of the one way to say who asks."""


def entry_of(name: str, doc: str, tag: str, answers: Mapping[str, object], *, body: Json | None = None) -> Json:
    """One operation of a path: its prose from a docstring, its answers, and any problem beside them."""
    prose = prose_of(doc)
    entry: Json = {"operationId": name, "summary": prose.summary, "tags": [tag]}
    reason = prose.deprecated
    if text := "\n\n".join(filter(None, (prose.description, f"Deprecated: {reason}" if reason else ""))):
        entry["description"] = text
    if reason is not None:
        entry["deprecated"] = True
    if body is not None:
        entry["requestBody"] = body
    entry["responses"] = {**answers, "default": {"$ref": PROBLEM}}
    return entry


def guarded(entry: Json, needs: str) -> None:
    """Say of an operation who may call it."""
    entry["security"] = [{BEARER: []}]
    entry["description"] = "\n\n".join(filter(None, (cast("str", entry.get("description", "")), f"Needs {needs}.")))
    entry["responses"] = {"401": {"$ref": PROBLEM}, "403": {"$ref": PROBLEM}, **cast("Json", entry["responses"])}


def answer_of(description: str, schema: Json, media_type: str = "application/json") -> Json:
    """An answer with a body."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def body_of(schema: Json, *media_types: str) -> Json:
    """A body that has to come, in any of the media types."""
    return {"required": True, "content": {name: {"schema": schema} for name in media_types or ("application/json",)}}


def parameter_of(name: str, schema: Json, *, required: bool, where: str = "query") -> Json:
    """A parameter; what it is by default is left to the server."""
    plain = {key: value for key, value in schema.items() if key not in {"default", "description", "deprecated"}}
    said: Json = {key: schema[key] for key in ("description", "deprecated") if key in schema}
    return {"name": name, "in": where, "required": required, **said, "schema": plain}


def resolved(schema: Json, definitions: Json) -> Json:
    """A schema, or what it refers to."""
    reference = cast("str", schema.get("$ref", ""))
    return cast("Json", definitions[reference.rpartition("/")[2]]) if reference else schema


def items_of(schema: Json) -> Json:
    """An answer that is a stream of items."""
    return {
        "description": "The items, one a line, or as events.",
        "content": {
            "application/jsonl": {"schema": schema},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
