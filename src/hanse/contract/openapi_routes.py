"""Routes of one's own in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hanse.contract.openapi_faults import fault_answers
from hanse.contract.openapi_parts import answer_of, entry_of, guarded, items_of, parameter_of
from hanse.contract.prose import prose_of
from hanse.contract.schema import Json
from hanse.kernel.faults import Fault

NO_CONTENT = 204


class RouteParameter(msgspec.Struct, frozen=True):
    """What a route takes beside its body: its name in the request, where it is, its type, and whether it has to be."""

    name: str
    where: str
    hint: object
    required: bool


class RoutePath(msgspec.Struct, frozen=True):
    """A route of one's own, as its function declares it.

    Attributes:
        name: Its operationId.
        method: HTTP method.
        path: Its path.
        doc: The function's docstring.
        parameters: What it takes from path, query and headers.
        body: Type of the JSON body; `bytes` for any body, as it came; None for none.
        body_required: Whether a body has to come.
        result: Type of the answer, or of one item of a stream; None where the function makes its own response.
        status: Of an answer that succeeds.
        stream: Whether it answers with items until an end.
        faults: What it raises.
        needs: Who may call it, to end the sentence "this needs ..."; empty for everybody.
    """

    name: str
    method: str
    path: str
    doc: str
    parameters: Sequence[RouteParameter] = ()
    body: object = None
    body_required: bool = True
    result: object = None
    status: int = 200
    stream: bool = False
    faults: Sequence[type[Fault]] = ()
    needs: str = ""

    @property
    def kinds(self) -> list[object]:
        """The types whose schemas `route_entry` takes, in its order."""
        body = object if self.body in (None, bytes) else self.body
        result = object if self.result in (None, bytes) else self.result
        return [body, result, *(parameter.hint for parameter in self.parameters)]


def route_entry(route: RoutePath, name: str, schemas: Sequence[Json]) -> Json:
    """The entry of a route.

    Args:
        route: The route.
        name: Its operationId in this document.
        schemas: Those of its `kinds`.
    """
    body, result, *rest = schemas
    prose = prose_of(route.doc)
    answer = {**_answer(route, result), **({"description": prose.answer} if prose.answer else {})}
    answers: Json = {str(route.status): answer, **fault_answers(route.faults, prose.faults)}
    given = None if route.body is None else _body(route, body)
    entry = entry_of(name, route.doc or f"{route.method} {route.path}.", "routes", answers, body=given)
    if rest:
        entry["parameters"] = [
            parameter_of(item.name, _said(schema, prose.items.get(item.name)), required=item.required, where=item.where)
            for item, schema in zip(route.parameters, rest, strict=True)
        ]
    if route.needs:
        guarded(entry, route.needs)
    return entry


def _said(schema: Json, text: str | None) -> Json:
    return {"description": text, **schema} if text else schema


def _body(route: RoutePath, schema: Json) -> Json:
    media_type = "application/octet-stream" if route.body is bytes else "application/json"
    content = {} if route.body is bytes else {"schema": schema}
    return {"required": route.body_required, "content": {media_type: content}}


def _answer(route: RoutePath, schema: Json) -> Json:
    if route.status == NO_CONTENT:
        return {"description": "Done; there is nothing to tell."}
    if route.result is None:
        return {"description": "What the route answers."}
    if route.result is bytes:
        return {"description": "Bytes.", "content": {"application/octet-stream": {}}}
    return items_of(schema) if route.stream else answer_of("The result.", schema)
