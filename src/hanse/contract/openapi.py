"""OpenAPI 3.1 of what a gateway exposes: a pure function of contracts and paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec

from hanse.contract.derive import Description, Operation
from hanse.contract.model import Resource, collection_of, topic_of
from hanse.contract.schema import Json, schemas_of
from hanse.kernel.faults import Fault

_AT = "#/components/schemas/{name}"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_OWN = frozenset({"id", "rev"})
_BODILESS = frozenset({"GET", "DELETE"})


class ResourcePath(msgspec.Struct, frozen=True):
    """A resource and where it is exposed.

    Attributes:
        kind: The resource.
        path: Path of its collection; one row is below it.
        live: Whether its changes are exposed too.
        write: Whether it may be written from outside.
    """

    kind: type[Resource]
    path: str
    live: bool = True
    write: bool = True


class OperationPath(msgspec.Struct, frozen=True):
    """An operation and where it is exposed.

    Attributes:
        operation: The operation.
        path: Its path; placeholders are arguments.
        method: HTTP method.
        own: Whether the path is the operation's own, with arguments in path and query, rather than `/rpc/...`.
    """

    operation: Operation
    path: str
    method: str = "POST"
    own: bool = False


class Flaw(msgspec.Struct):
    """One thing that is wrong with an input."""

    pointer: str
    code: str
    detail: str


class Problem(msgspec.Struct):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    trace_id: str = ""
    errors: list[Flaw] = []


class Exposed(msgspec.Struct, frozen=True):
    """All that a document tells of.

    Attributes:
        title: Name of the app.
        resources: What is exposed as REST.
        operations: What may be called.
        descriptions: The contracts that the operations are of.
    """

    title: str
    resources: Sequence[ResourcePath] = ()
    operations: Sequence[OperationPath] = ()
    descriptions: Sequence[Description] = ()


def openapi(exposed: Exposed) -> Json:
    """The OpenAPI 3.1 document of what is exposed. The same exposure gives the same document, byte for byte.

    Example:
        >>> openapi(Exposed("shop"))["info"]
        {'title': 'shop', 'version': '1'}
    """
    kinds: list[object] = [Problem, *(resource.kind for resource in exposed.resources)]
    kinds += [kind for item in exposed.operations for kind in (item.operation.arguments, item.operation.result)]
    schemas, definitions = schemas_of(kinds, at=_AT)
    taken = iter(schemas[1:])
    paths: dict[str, Json] = {}
    for resource in exposed.resources:
        _resource(paths, resource, next(taken), definitions)
    for item in exposed.operations:
        entry = _operation(item, next(taken), next(taken), definitions)
        paths.setdefault(item.path, {})[item.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {"title": exposed.title, "version": _version(exposed.descriptions)},
        "x-hanse-services": [
            {"name": one.name, "version": one.version, "fingerprint": one.fingerprint, "description": one.doc}
            for one in exposed.descriptions
        ],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {"Problem": _answer("An error.", schemas[0], "application/problem+json")},
        },
    }


def _version(descriptions: Sequence[Description]) -> str:
    return descriptions[0].version if len(descriptions) == 1 else "1"


def _resource(paths: dict[str, Json], resource: ResourcePath, schema: Json, definitions: Json) -> None:
    collection, topic = collection_of(resource.kind), topic_of(resource.kind)
    listing: Json = {"get": _list(resource, schema, definitions)}
    row: Json = {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": _entry(f"get_{topic}", f"One {topic}.", collection, {"200": _answer("The row.", schema)}),
    }
    if resource.write:
        written = {"200": _answer("The row as it was written.", schema)}
        created = {"201": _answer("The new row.", schema)}
        patch = _body({"type": "object"}, "application/merge-patch+json", "application/json")
        listing["post"] = _entry(f"create_{topic}", f"A new {topic}.", collection, created, body=_body(schema))
        row["put"] = _entry(f"put_{topic}", "The row, whole.", collection, {**written, **created}, body=_body(schema))
        row["patch"] = _entry(f"patch_{topic}", "Some fields of the row.", collection, written, body=patch)
        gone: Json = {"204": {"description": "The row is gone."}}
        row["delete"] = _entry(f"delete_{topic}", "No row any more.", collection, gone)
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
    answer = _answer("A page of rows.", page)
    if resource.live:
        stream = {"schema": {"type": "string", "description": "Rows, then their changes; the id is the cursor."}}
        answer = {**answer, "content": {**cast("Json", answer["content"]), "text/event-stream": stream}}
    collection = collection_of(resource.kind)
    entry = _entry(f"list_{collection}", f"A page of {collection}.", collection, {"200": answer})
    properties = cast("dict[str, Json]", _resolved(schema, definitions).get("properties", {}))
    filters = [_parameter(name, part, required=False) for name, part in properties.items() if name not in _OWN]
    return {**entry, "parameters": [*_PAGE, *filters]}


def _operation(item: OperationPath, arguments: Json, result: Json, definitions: Json) -> Json:
    operation = item.operation
    name = f"{operation.contract}_{operation.name}"
    answer = _answer("The result.", result)
    if operation.stream:
        answer = {
            "description": "The items, one a line, or as events.",
            "content": {
                "application/jsonl": {"schema": result},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }
    answers: Json = {"200": answer, **_faults(operation.options.faults)}
    doc = operation.doc or f"Call {operation.address}."
    if not item.own:
        return _entry(f"rpc_{name}", doc, operation.contract, answers, body=_body(arguments))
    resolved = _resolved(arguments, definitions)
    properties = cast("dict[str, Json]", resolved.get("properties", {}))
    required = cast("list[str]", resolved.get("required", []))
    in_path = _PLACEHOLDER.findall(item.path)
    parameters = [_parameter(name, properties[name], required=True, where="path") for name in in_path]
    rest = {name: part for name, part in properties.items() if name not in in_path}
    if item.method in _BODILESS:
        parameters += [_parameter(name, part, required=name in required) for name, part in rest.items()]
        return {**_entry(name, doc, operation.contract, answers), "parameters": parameters}
    needed = [name for name in required if name in rest]
    body = _body({"type": "object", "properties": rest, "required": needed})
    return {**_entry(name, doc, operation.contract, answers, body=body), "parameters": parameters}


def _faults(faults: Iterable[type[Fault]]) -> Json:
    codes: dict[str, list[str]] = {}
    for fault in faults:
        codes.setdefault(str(fault.status), []).append(fault.code)
    content = {"application/problem+json": {"schema": {"$ref": _AT.format(name="Problem")}}}
    return {
        status: {"description": f"The code is {' or '.join(sorted(names))}.", "content": content}
        for status, names in sorted(codes.items())
    }


def _entry(name: str, doc: str, tag: str, answers: Mapping[str, object], *, body: Json | None = None) -> Json:
    summary, _, rest = doc.partition("\n")
    entry: Json = {"operationId": name, "summary": summary, "tags": [tag]}
    if rest.strip():
        entry["description"] = rest.strip()
    if body is not None:
        entry["requestBody"] = body
    entry["responses"] = {**answers, "default": {"$ref": "#/components/responses/Problem"}}
    return entry


def _answer(description: str, schema: Json, media_type: str = "application/json") -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _body(schema: Json, *media_types: str) -> Json:
    return {"required": True, "content": {name: {"schema": schema} for name in media_types or ("application/json",)}}


def _parameter(name: str, schema: Json, *, required: bool, where: str = "query") -> Json:
    plain = {key: value for key, value in schema.items() if key != "default"}
    return {"name": name, "in": where, "required": required, "schema": plain}


def _resolved(schema: Json, definitions: Json) -> Json:
    reference = cast("str", schema.get("$ref", ""))
    return cast("Json", definitions[reference.rpartition("/")[2]]) if reference else schema


_PAGE: list[Json] = [
    _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, required=False),
    _parameter("cursor", {"type": "string", "description": "What the page before gave as next."}, required=False),
    _parameter("sort", {"type": "string", "description": "Such as -created_at,name."}, required=False),
    _parameter("total", {"type": "boolean", "description": "Whether to count all that match."}, required=False),
]
