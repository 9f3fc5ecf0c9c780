"""OpenAPI 3.1 of what a gateway exposes: a pure function of contracts and paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import msgspec

from hanse.contract.derive import Description, Operation
from hanse.contract.model import Event, collection_of, topic_of
from hanse.contract.openapi_faults import PROBLEM, fault_answers, fault_name, fault_schema, fields_of
from hanse.contract.openapi_finish import (
    describe_fields,
    operations_of,
    with_examples,
    with_prose,
    with_shared_bodies,
    without_prefix,
    without_twins,
)
from hanse.contract.openapi_jobs import job_path, with_job
from hanse.contract.openapi_parts import (
    AT,
    BEARER,
    answer_of,
    body_of,
    entry_of,
    guarded,
    items_of,
    parameter_of,
    resolved,
)
from hanse.contract.openapi_rest import ResourcePath, rest_components, rest_paths
from hanse.contract.openapi_routes import RoutePath, route_entry
from hanse.contract.openapi_topics import TopicPath, topic_paths
from hanse.contract.openapi_webhooks import webhooks_of
from hanse.contract.prose import prose_of
from hanse.contract.schema import Json, schemas_of
from hanse.kernel.faults import Fault

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
        prefix: Stands before all paths.
        identified: Whether it is asked who is asking.
        limits: What is taken at most, by name.
        jobs: Path of calls that are answered later; empty where there are none.
        topics: Events that may be followed or emitted.
        sent: Events that are sent to whoever subscribes, as webhooks.
    """

    title: str
    resources: Sequence[ResourcePath] = ()
    operations: Sequence[OperationPath] = ()
    descriptions: Sequence[Description] = ()
    routes: Sequence[RoutePath] = ()
    prefix: str = ""
    identified: bool = False
    limits: Mapping[str, float] = {}
    jobs: str = ""
    topics: Sequence[TopicPath] = ()
    sent: Sequence[type[Event]] = ()

    @property
    def faults(self) -> list[type[Fault]]:
        """Every fault that something lists."""
        listed = [item.operation.options.faults for item in self.operations] + [one.faults for one in self.routes]
        return list(dict.fromkeys(fault for faults in listed for fault in faults))


def openapi(exposed: Exposed, *, root: str = "") -> Json:
    """The OpenAPI 3.1 document of what is exposed. The same exposure gives the same document, byte for byte.

    Args:
        exposed: What it tells of.
        root: Path that the whole application is mounted at.

    Example:
        >>> openapi(Exposed("shop"))["info"]
        {'title': 'shop', 'version': '1'}
    """
    schemas, definitions = schemas_of(_kinds(exposed), at=AT)
    taken = iter(schemas)
    problem = next(taken)
    with_prose(definitions)
    for fault in exposed.faults:
        fields = resolved(next(taken), definitions)
        definitions[fault_name(fault)] = fault_schema(fault, resolved(problem, definitions), fields)
        definitions.pop(fields_of(fault).__name__, None)
    paths = _paths(exposed, taken, definitions)
    # What is left of the schemas after those of all paths.
    webhooks = webhooks_of({topic_of(kind): next(taken) for kind in exposed.sent})
    without_twins(paths)
    with_shared_bodies(paths, definitions)
    with_examples(paths, definitions, frozenset(resource.kind.__name__ for resource in exposed.resources))
    return {
        "openapi": "3.1.0",
        "info": _info(exposed),
        "servers": [{"url": f"{root}{exposed.prefix}" or "/"}],
        "x-hanse-services": [
            {"name": one.name, "version": one.version, "fingerprint": one.fingerprint, "description": one.doc}
            for one in exposed.descriptions
        ],
        **_feeds(exposed),
        "tags": _tags(exposed),
        "paths": without_prefix(paths, exposed.prefix),
        **webhooks,
        "components": {
            "schemas": definitions,
            "responses": {"Problem": answer_of("An error.", problem, PROBLEM)},
            **rest_components(exposed.resources),
            **_security(exposed, paths),
        },
        # Who says nothing is anonymous, and may do what has no guard.
        **({"security": [{}, {BEARER: []}]} if exposed.identified else {}),
    }


def _feeds(exposed: Exposed) -> Json:
    """Where changes and events are followed, below the servers' URL: what JSON Schema has no words for."""
    rows: Json = {
        collection_of(one.kind): {"path": one.path.removeprefix(exposed.prefix), "live": one.live, "write": one.write}
        for one in exposed.resources
    }
    topics: Json = {
        topic_of(one.kind): {"path": one.path.removeprefix(exposed.prefix), "live": one.live, "emit": one.emit}
        for one in exposed.topics
    }
    return {"x-hanse-collections": rows, "x-hanse-topics": topics}


def _kinds(exposed: Exposed) -> list[object]:
    """The types whose schemas the document needs, in the order in which they are taken."""
    kinds: list[object] = [Problem, *map(fields_of, exposed.faults)]
    kinds += [resource.kind for resource in exposed.resources]
    kinds += [kind for item in exposed.operations for kind in (item.operation.arguments, item.operation.result)]
    kinds += [topic.kind for topic in exposed.topics]
    kinds += [kind for route in exposed.routes for kind in route.kinds]
    return [*kinds, *exposed.sent]


def _paths(exposed: Exposed, taken: Iterator[Json], definitions: Json) -> dict[str, Json]:
    paths: dict[str, Json] = {}
    schemas_of_rows = [next(taken) for _ in exposed.resources]
    rest_paths(paths, exposed.resources, schemas_of_rows, definitions)
    if exposed.jobs:
        paths[exposed.jobs] = job_path()
    for item in exposed.operations:
        entry = _operation(item, next(taken), next(taken), definitions)
        if exposed.jobs and not item.operation.stream and item.method not in _BODILESS:
            with_job(entry)
        paths.setdefault(item.path, {})[item.method.lower()] = entry
    for topic in exposed.topics:
        topic_paths(paths, topic, next(taken), definitions)
    names = {entry.get("operationId") for entry in operations_of(paths)}
    for route in exposed.routes:
        name = f"route_{route.name}" if route.name in names else route.name
        entry = route_entry(route, name, [next(taken) for _ in route.kinds])
        paths.setdefault(route.path, {})[route.method.lower()] = entry
    return paths


def _info(exposed: Exposed) -> Json:
    descriptions = exposed.descriptions
    alone = descriptions[0] if len(descriptions) == 1 else None
    info: Json = {"title": exposed.title, "version": alone.version if alone else "1"}
    if alone and alone.doc:
        info["description"] = alone.doc
    return {**info, **({"x-hanse-limits": dict(exposed.limits)} if exposed.limits else {})}


def _tags(exposed: Exposed) -> list[Json]:
    """What operations are told together: collections first, then services, with what their classes say."""
    tags: dict[str, str] = {}
    for resource in exposed.resources:
        tags[collection_of(resource.kind)] = prose_of(resource.kind.__doc__ or "").summary
    for topic in exposed.topics:
        tags[topic_of(topic.kind)] = prose_of(topic.kind.__doc__ or "").summary
    for one in exposed.descriptions:
        tags[one.name] = tags.get(one.name) or prose_of(one.doc).summary
    return [{"name": name, **({"description": text} if text else {})} for name, text in tags.items()]


def _security(exposed: Exposed, paths: Mapping[str, Json]) -> Json:
    if not exposed.identified and not any("security" in entry for entry in operations_of(paths)):
        return {}
    scheme = {"type": "http", "scheme": "bearer", "description": "Who is asking, as the app identifies them."}
    return {"securitySchemes": {BEARER: scheme}}


def _operation(item: OperationPath, arguments: Json, result: Json, definitions: Json) -> Json:
    operation = item.operation
    prose = prose_of(operation.doc)
    taken = resolved(arguments, definitions)
    describe_fields(taken, prose.items)
    taken["additionalProperties"] = False  # unless the client prefers handling=lenient
    answer = items_of(result) if operation.stream else answer_of("The result.", result)
    if prose.answer:
        answer["description"] = prose.answer
    answers: Json = {"200": answer, **fault_answers(operation.options.faults, prose.faults)}
    name = f"{operation.contract}_{operation.name}"
    if item.own:
        entry = _own(item, name, taken, answers)
    else:
        entry = entry_of(f"rpc_{name}", _doc(operation), operation.contract, answers, body=body_of(arguments))
    if operation.options.allow is not None:
        guarded(entry, operation.options.allow.wants)
    return entry


def _doc(operation: Operation) -> str:
    return operation.doc or f"Call {operation.address}."


def _own(item: OperationPath, name: str, arguments: Json, answers: Json) -> Json:
    """An operation at a route of its own: arguments in the path, and in the query or the body."""
    doc, tag = _doc(item.operation), item.operation.contract
    properties = cast("dict[str, Json]", arguments.get("properties", {}))
    required = cast("list[str]", arguments.get("required", []))
    in_path = _PLACEHOLDER.findall(item.path)
    parameters = [parameter_of(name, properties[name], required=True, where="path") for name in in_path]
    rest = {name: part for name, part in properties.items() if name not in in_path}
    if item.method in _BODILESS:
        parameters += [parameter_of(name, part, required=name in required) for name, part in rest.items()]
        return {**entry_of(name, doc, tag, answers), "parameters": parameters}
    needed = [name for name in required if name in rest]
    body = body_of({"type": "object", "properties": rest, "required": needed, "additionalProperties": False})
    return {**entry_of(name, doc, tag, answers, body=body), "parameters": parameters}
