"""What an OpenAPI document tells of the rows of a resource."""

from __future__ import annotations

from typing import cast

import msgspec

from hanse.contract.model import Resource, collection_of, topic_of
from hanse.contract.openapi_parts import answer_of, body_of, entry_of, parameter_of, resolved
from hanse.contract.schema import Json

_OWN = frozenset({"id", "rev"})


class ResourcePath(msgspec.Struct, frozen=True):
    """A resource and where it is exposed.

    Attributes:
        kind: The resource.
        path: Path of its collection; one row is below it.
        live: Whether its changes are exposed too.
        write: Whether it may be written from outside.
        require_match: Whether a row that is there is written only by who names the revision that it read.
        strict: Whether fields that do not exist are refused, unless a client prefers otherwise.
    """

    kind: type[Resource]
    path: str
    live: bool = True
    write: bool = True
    require_match: bool = False
    strict: bool = False


def resource_paths(paths: dict[str, Json], resource: ResourcePath, schema: Json, definitions: Json) -> None:
    """Add the paths of a resource: its list, and one row."""
    collection, topic = collection_of(resource.kind), topic_of(resource.kind)
    listing: Json = {"get": _list(resource, schema, definitions)}
    row: Json = {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": entry_of(f"get_{topic}", f"One {topic}.", collection, {"200": answer_of("The row.", schema)}),
    }
    if resource.write:
        written = {"200": answer_of("The row as it was written.", schema)}
        created = {"201": answer_of("The new row.", schema)}
        patch = body_of({"type": "object"}, "application/merge-patch+json", "application/json")
        listing["post"] = entry_of(f"create_{topic}", f"A new {topic}.", collection, created, body=body_of(schema))
        row["put"] = entry_of(
            f"put_{topic}", "The row, whole.", collection, {**written, **created}, body=body_of(schema)
        )
        row["patch"] = entry_of(f"patch_{topic}", "Some fields of the row.", collection, written, body=patch)
        gone: Json = {"204": {"description": "The row is gone."}}
        row["delete"] = entry_of(f"delete_{topic}", "No row any more.", collection, gone)
    paths.setdefault(resource.path, {}).update(listing)
    paths.setdefault(f"{resource.path}/{{id}}", {}).update(row)


def _list(resource: ResourcePath, schema: Json, definitions: Json) -> Json:
    page: Json = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": schema},
            "next": {"type": ["string", "null"]},
            "total": {"type": "integer"},
        },
        "required": ["items", "next"],
    }
    answer = answer_of("A page of rows.", page)
    if resource.live:
        stream = {"schema": {"type": "string", "description": "Rows, then their changes; the id is the cursor."}}
        answer = {**answer, "content": {**cast("Json", answer["content"]), "text/event-stream": stream}}
    collection = collection_of(resource.kind)
    entry = entry_of(f"list_{collection}", f"A page of {collection}.", collection, {"200": answer})
    properties = cast("dict[str, Json]", resolved(schema, definitions).get("properties", {}))
    filters = [parameter_of(name, part, required=False) for name, part in properties.items() if name not in _OWN]
    return {**entry, "parameters": [*_PAGE, *filters]}


_PAGE: list[Json] = [
    parameter_of("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, required=False),
    parameter_of("cursor", {"type": "string", "description": "What the page before gave as next."}, required=False),
    parameter_of("sort", {"type": "string", "description": "Such as -created_at,name."}, required=False),
    parameter_of("total", {"type": "boolean", "description": "Whether to count all that match."}, required=False),
]
