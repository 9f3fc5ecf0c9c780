"""OpenAPI 3.1 of what a gateway exposes: a pure function of contracts and paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from hanse.contract.derive import Description, Operation
from hanse.contract.openapi_parts import AT, answer_of, body_of, entry_of, faults_of, items_of, parameter_of, resolved
from hanse.contract.openapi_rest import ResourcePath, resource_paths
from hanse.contract.openapi_routes import RoutePath, route_entry
from hanse.contract.schema import Json, schemas_of

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_BODILESS = frozenset({"GET", "DELETE"})


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
        routes: Routes of one's own.
    """

    title: str
    resources: Sequence[ResourcePath] = ()
    operations: Sequence[OperationPath] = ()
    descriptions: Sequence[Description] = ()
    routes: Sequence[RoutePath] = ()


def openapi(exposed: Exposed) -> Json:
    """The OpenAPI 3.1 document of what is exposed. The same exposure gives the same document, byte for byte.

    Example:
        >>> openapi(Exposed("shop"))["info"]
        {'title': 'shop', 'version': '1'}
    """
    kinds: list[object] = [Problem, *(resource.kind for resource in exposed.resources)]
    kinds += [kind for item in exposed.operations for kind in (item.operation.arguments, item.operation.result)]
    kinds += [kind for route in exposed.routes for kind in route.kinds]
    schemas, definitions = schemas_of(kinds, at=AT)
    taken = iter(schemas[1:])
    paths: dict[str, Json] = {}
    for resource in exposed.resources:
        resource_paths(paths, resource, next(taken), definitions)
    for item in exposed.operations:
        entry = _operation(item, next(taken), next(taken), definitions)
        paths.setdefault(item.path, {})[item.method.lower()] = entry
    names = _names(paths)
    for route in exposed.routes:
        name = f"route_{route.name}" if route.name in names else route.name
        entry = route_entry(route, name, [next(taken) for _ in route.kinds])
        paths.setdefault(route.path, {})[route.method.lower()] = entry
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
            "responses": {"Problem": answer_of("An error.", schemas[0], "application/problem+json")},
        },
    }


def _names(paths: Mapping[str, Json]) -> set[object]:
    """The operationIds that are taken."""
    entries = (cast("Json", entry) for path in paths.values() for entry in path.values() if isinstance(entry, dict))
    return {entry.get("operationId") for entry in entries}


def _version(descriptions: Sequence[Description]) -> str:
    return descriptions[0].version if len(descriptions) == 1 else "1"


def _operation(item: OperationPath, arguments: Json, result: Json, definitions: Json) -> Json:
    operation = item.operation
    name = f"{operation.contract}_{operation.name}"
    answer = items_of(result) if operation.stream else answer_of("The result.", result)
    answers: Json = {"200": answer, **faults_of(operation.options.faults)}
    doc = operation.doc or f"Call {operation.address}."
    if not item.own:
        return entry_of(f"rpc_{name}", doc, operation.contract, answers, body=body_of(arguments))
    shape = resolved(arguments, definitions)
    properties = cast("dict[str, Json]", shape.get("properties", {}))
    required = cast("list[str]", shape.get("required", []))
    in_path = _PLACEHOLDER.findall(item.path)
    parameters = [parameter_of(name, properties[name], required=True, where="path") for name in in_path]
    rest = {name: part for name, part in properties.items() if name not in in_path}
    if item.method in _BODILESS:
        parameters += [parameter_of(name, part, required=name in required) for name, part in rest.items()]
        return {**entry_of(name, doc, operation.contract, answers), "parameters": parameters}
    needed = [name for name in required if name in rest]
    body = body_of({"type": "object", "properties": rest, "required": needed})
    return {**entry_of(name, doc, operation.contract, answers, body=body), "parameters": parameters}
