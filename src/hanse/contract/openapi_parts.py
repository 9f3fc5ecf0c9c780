"""The pieces that an OpenAPI document is put together from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from hanse.contract.schema import Json
from hanse.kernel.faults import Fault

AT = "#/components/schemas/{name}"
"""Where the document keeps its schemas."""


def entry_of(name: str, doc: str, tag: str, answers: Mapping[str, object], *, body: Json | None = None) -> Json:
    """One operation of a path: its prose from a docstring, its answers, and any problem beside them."""
    summary, _, rest = doc.partition("\n")
    entry: Json = {"operationId": name, "summary": summary, "tags": [tag]}
    if rest.strip():
        entry["description"] = rest.strip()
    if body is not None:
        entry["requestBody"] = body
    entry["responses"] = {**answers, "default": {"$ref": "#/components/responses/Problem"}}
    return entry


def answer_of(description: str, schema: Json, media_type: str = "application/json") -> Json:
    """An answer with a body."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def body_of(schema: Json, *media_types: str) -> Json:
    """A body that has to come, in any of the media types."""
    return {"required": True, "content": {name: {"schema": schema} for name in media_types or ("application/json",)}}


def parameter_of(name: str, schema: Json, *, required: bool, where: str = "query") -> Json:
    """A parameter; what it is by default is left to the server."""
    plain = {key: value for key, value in schema.items() if key != "default"}
    return {"name": name, "in": where, "required": required, "schema": plain}


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


def faults_of(faults: Iterable[type[Fault]]) -> Json:
    """The answers that tell of faults, by status."""
    codes: dict[str, list[str]] = {}
    for fault in faults:
        codes.setdefault(str(fault.status), []).append(fault.code)
    content = {"application/problem+json": {"schema": {"$ref": AT.format(name="Problem")}}}
    return {
        status: {"description": f"The code is {' or '.join(sorted(names))}.", "content": content}
        for status, names in sorted(codes.items())
    }
