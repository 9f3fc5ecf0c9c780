"""What an OpenAPI document tells of the rows of a resource."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec

from hanse.contract.link import links_of
from hanse.contract.model import Resource, collection_of, topic_of
from hanse.contract.openapi_jobs import JOB
from hanse.contract.openapi_parts import AT, answer_of, body_of, entry_of, parameter_of, resolved
from hanse.contract.openapi_shared import (
    HEADERS,
    IDS_NAMED,
    OPERATIONS,
    PAGE_MAX,
    PARAMETERS,
    fields_of,
    filters_of,
    listed_of,
    operators_of,
)
from hanse.contract.schema import Json

_OWN_NAMES = ("id", "rev")
_OWN = frozenset(_OWN_NAMES)


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


def rest_paths(
    paths: dict[str, Json],
    resources: Sequence[ResourcePath],
    schemas: Sequence[Json],
    definitions: Json,
) -> None:
    """Add the paths of all resources: for each its list, and one row.

    Args:
        paths: Where they are added.
        resources: What is exposed.
        schemas: The schema of each.
        definitions: What the schemas refer to.
    """
    reached = {collection_of(one.kind): schema for one, schema in zip(resources, schemas, strict=True)}
    for resource, schema in zip(resources, schemas, strict=True):
        about = _About(resource, schema, definitions, reached)
        paths.setdefault(resource.path, {}).update(about.listing())
        paths.setdefault(f"{resource.path}/{{id}}", {}).update(about.row())


def rest_components(resources: Sequence[ResourcePath]) -> Json:
    """What the paths of resources refer to; nothing where there are none."""
    return {"parameters": {**PARAMETERS}, "headers": {**HEADERS}} if resources else {}


class _About:
    """What is told of one resource."""

    def __init__(self, resource: ResourcePath, schema: Json, definitions: Json, reached: Mapping[str, Json]) -> None:
        self._resource = resource
        self._schema = schema
        self._definitions = definitions
        self._links = {link: reached[link.collection] for link in links_of(resource.kind) if link.collection in reached}
        self._name = topic_of(resource.kind)
        self._collection = collection_of(resource.kind)

    def listing(self) -> Json:
        """The list path: a page, a query; new rows, rows that go."""
        page = self._page()
        listed = self._entry(f"list_{self._collection}", f"A page of {self._collection}.", page, _LIST_FAULTS)
        listed["parameters"] = [*map(_parameter, _LISTED), self._sort(), *self._shown(), *self._filters()]
        asking = body_of(self._question())
        query = self._entry(f"query_{self._collection}", _QUERY, page, (*_LIST_FAULTS, 415), body=asking)
        # OpenAPI knows the method from version 3.2 on.
        path: Json = {"get": listed, "x-query": query}
        if self._resource.write:
            path["post"] = self._create()
            if not self._resource.require_match:
                path["delete"] = self._delete_many()
        return path

    def row(self) -> Json:
        """The path of one row."""
        found = _with_headers(answer_of("The row.", self._expanded()), "ETag")
        cast("Json", found["content"])[PART] = {"schema": _PART_OF_ROW}
        get = self._entry(
            f"get_{self._name}", f"One {self._name}.", {"200": found, **_KNOWN}, (400, 404, 406, 412, 422)
        )
        get["parameters"] = [*self._shown(), *map(_parameter, ("IfMatch", "IfNoneMatch"))]
        identity: Json = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        path: Json = {"parameters": [identity], "get": get}
        if self._resource.write:
            path |= {"put": self._put(), "patch": self._patch(), "delete": self._delete()}
        return path

    def _create(self) -> Json:
        several: Json = {"type": "array", "items": self._schema, "minItems": 1, "maxItems": PAGE_MAX}
        written = {"type": "array", "items": {"anyOf": [self._schema, _NAMED]}}
        items: Json = {"type": "object", "properties": {"items": written}, "required": ["items"]}
        told = "The new row; of a list, all of them (with return=minimal, only id and rev of each)."
        answer = answer_of(told, {"anyOf": [self._schema, items]})
        new = _with_headers(answer, "ETag", "Location", "PreferenceApplied")
        answers = {"201": new, "204": _NOTHING, **_LATER}
        body = body_of({"anyOf": [self._schema, several]})
        doc = f"A new {self._name}; of a list, all of them or none."
        return self._writing(f"create_{self._name}", doc, answers, (409, 413, 415), body=body)

    def _put(self) -> Json:
        written = _with_headers(answer_of("The row as it was written.", self._schema), "ETag", "PreferenceApplied")
        new = _with_headers(answer_of("The row, which is new.", self._schema), "ETag", "Location", "PreferenceApplied")
        answers = {"200": written, "201": new, "204": _NOTHING, **_LATER}
        doc = "The row, whole."
        faults = (409, 412, 413, 415, *self._required)
        body = body_of(self._schema)
        return self._writing(f"put_{self._name}", doc, answers, faults, body=body, conditions=_CONDITIONS)

    def _patch(self) -> Json:
        written = _with_headers(answer_of("The row as it was written.", self._schema), "ETag", "PreferenceApplied")
        body = body_of(
            {"type": "object", "description": "Fields to replace; null removes."}, _MERGE, "application/json"
        )
        cast("Json", body["content"])[_JSON_PATCH] = {"schema": OPERATIONS}
        faults = (404, 409, 412, 413, 415, *self._required)
        answers = {"200": written, "204": _NOTHING, **_LATER}
        doc = "Some fields of the row."
        return self._writing(f"patch_{self._name}", doc, answers, faults, body=body, conditions=self._conditions)

    def _delete(self) -> Json:
        answers = {"204": {"description": "The row is gone."}, **_LATER}
        faults = (404, 409, 412, *self._required)
        return self._writing(f"delete_{self._name}", "No row any more.", answers, faults, conditions=self._conditions)

    def _delete_many(self) -> Json:
        answers = {"204": {"description": "The rows are gone."}, **_LATER}
        doc = "None of the rows that are named any more, or all of them still."
        faults = (404, 409)
        entry = self._writing(f"delete_{self._collection}", doc, answers, faults)
        cast("list[Json]", entry["parameters"]).insert(0, {**IDS_NAMED, "required": True})
        return entry

    @property
    def _required(self) -> tuple[int, ...]:
        return (428,) if self._resource.require_match else ()

    @property
    def _conditions(self) -> Sequence[Json]:
        """Of a write of a row that is there."""
        required = {**PARAMETERS["IfMatch"], "required": True}
        return (required, _parameter("IfNoneMatch")) if self._resource.require_match else _CONDITIONS

    def _entry(
        self, name: str, doc: str, answers: Mapping[str, object], faults: Iterable[int], *, body: Json | None = None
    ) -> Json:
        return entry_of(name, doc, self._collection, {**answers, **_problems(faults)}, body=body)

    def _writing(
        self,
        name: str,
        doc: str,
        answers: Mapping[str, object],
        faults: Iterable[int],
        *,
        body: Json | None = None,
        conditions: Sequence[Json] = (),
    ) -> Json:
        entry = self._entry(name, doc, answers, (400, 422, 503, *faults), body=body)
        entry["parameters"] = [*conditions, _parameter("Prefer"), _parameter("IdempotencyKey")]
        return entry

    def _page(self) -> Json:
        schema: Json = {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": self._expanded()},
                "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
                "total": {"type": "integer", "description": "How many match; only where it was asked for."},
            },
            "required": ["items", "next"],
        }
        answer = _with_headers(answer_of("A page of rows.", schema), "ETag", "Link")
        content = cast("Json", answer["content"])
        of_parts = {**cast("Json", schema["properties"]), "items": {"type": "array", "items": _PART_OF_ROW}}
        content[PART] = {"schema": {**schema, "properties": of_parts}}
        content["application/jsonl"] = {"schema": {"type": "string", "description": "All rows that match, one a line."}}
        if self._resource.live:
            told = "Rows, then their changes; the id is the cursor."
            content["text/event-stream"] = {"schema": {"type": "string", "description": told}}
        return {"200": answer, **_KNOWN}

    def _expanded(self) -> Json:
        """A row, with what its links lead to where it is asked for."""
        if not self._links:
            return self._schema
        shown: Json = {}
        for link, schema in self._links.items():
            one = {"anyOf": [schema, {"type": "null"}]}
            shown[link.name] = {"type": "array", "items": one} if link.many else one
        beside = {"type": "object", "properties": {"expanded": {"type": "object", "properties": shown}}}
        return {"allOf": [self._schema, beside]}

    def _shown(self) -> list[Json]:
        """Parameters that say how rows are wanted."""
        names = [*_OWN_NAMES, *self._fields()]
        pattern = listed_of(map(re.escape, names), after=r"(?:\.[^,]+)?")
        told = f"Fields wanted, beside id and rev, with commas between; address.city for a part of one. Answers {PART}."
        fields = parameter_of("fields", {"type": "string", "pattern": pattern, "description": told}, required=False)
        if not self._links:
            return [fields]
        links = [link.name for link in self._links]
        pattern = listed_of(map(re.escape, links), after=r"(?:\.[^,]+)?")
        told = f"Links to follow, with commas between: {', '.join(links)}."
        expand: Json = {"type": "string", "pattern": pattern, "description": told}
        return [fields, parameter_of("expand", expand, required=False)]

    def _sort(self) -> Json:
        shapes = {name: resolved(schema, self._definitions) for name, schema in self._fields().items()}
        single = [name for name, shape in shapes.items() if "in" in operators_of(shape, text=False)]
        pattern = listed_of(map(re.escape, [*_OWN_NAMES, *single]), before="-?")
        told = "Fields to sort by, descending after a minus."
        return parameter_of("sort", {"type": "string", "pattern": pattern, "description": told}, required=False)

    def _filters(self) -> list[Json]:
        return [IDS_NAMED, *filters_of(self._resource.kind, self._fields(), self._definitions, _PAGE)]

    def _fields(self) -> dict[str, Json]:
        fields = fields_of(self._schema, self._definitions)
        return {name: schema for name, schema in fields.items() if name not in _OWN}

    def _question(self) -> Json:
        """What the body of a QUERY is."""
        names: Json = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        example = next(iter(self._fields()), "id")
        where = (
            f'Fields with what they equal, or with operators; "$and", "$or", "$not": {{"{example}": {{"ne": null}}}}.'
        )
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "where": {"type": ["object", "null"], "description": where},
                "sort": names,
                "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX},
                "cursor": {"type": ["string", "null"]},
                "fields": names,
                "expand": names,
                "total": {"type": "boolean"},
            },
        }


_QUERY = "A page, as a JSON document asks for it.\n\nThe same as a list, for filters that no query string holds."
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_LIST_FAULTS = (400, 406, 413, 422)
PART = "application/vnd.hanse.part+json"
"""Media type of rows of which some fields were asked for: what has not all that a row needs is no row, and cannot be
taken for one, nor written back as one."""

_PART_OF_ROW: Json = {
    "type": "object",
    "description": "The fields of a row that were asked for.",
    "properties": {"id": {"type": "string"}, "rev": {"type": "integer"}},
    "required": ["id", "rev"],
}

_PAGE = frozenset({"limit", "cursor", "sort", "total", "fields", "expand", "after", "snapshot"})
_LISTED = ("limit", "cursor", "total", "IfNoneMatch")
_NAMED: Json = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "rev": {"type": "integer"}},
    "required": ["id", "rev"],
    "additionalProperties": False,
}
_NOTHING: Json = {
    "description": "It was written, as return=minimal has it told; with Location where it is new.",
    "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("ETag", "Location")},
}
_KNOWN: Json = {"304": {"description": "It is what the client has, by If-None-Match."}}
_TEXTS = {
    400: "What came is malformed.",
    404: "There is no such row.",
    406: "The client waits for a stream of events, and this is none.",
    409: "It does not fit what is there.",
    412: "The row is at another revision than If-Match or If-None-Match lets pass.",
    413: "It is too large.",
    415: "The body is of another media type.",
    422: "What came is not valid; errors lists everything, with pointers.",
    428: "A revision has to be named: send If-Match, or If-None-Match: * for a new row.",
    503: "A limit is reached, or the server is stopping; come again after Retry-After.",
}


def _parameter(name: str) -> Json:
    return {"$ref": f"#/components/parameters/{name}"}


_CONDITIONS = (_parameter("IfMatch"), _parameter("IfNoneMatch"))


def _with_headers(answer: Json, *names: str) -> Json:
    headers = {_SPELLED.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}
    return {**answer, "headers": headers}


_SPELLED = {"PreferenceApplied": "Preference-Applied"}


def _problems(statuses: Iterable[int]) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": AT.format(name="Problem")}}}
    return {str(status): {"description": _TEXTS[status], "content": content} for status in sorted(set(statuses))}


_LATER: Json = {
    "202": {
        **answer_of("It will be done; Location says where its answer will be (respond-async).", JOB),
        "headers": {"Location": {"$ref": "#/components/headers/Location"}},
    }
}
