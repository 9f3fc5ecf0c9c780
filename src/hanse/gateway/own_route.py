"""Routes of one's own: plain functions that are called with what their annotations ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypedDict

import msgspec

from hanse.contract.guard import Guard
from hanse.contract.openapi_routes import NO_CONTENT, RouteParameter, RoutePath
from hanse.gateway.parameters import Needs, read
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Fault

_EMPTY = inspect.Parameter.empty


class RouteOptions(TypedDict, total=False):
    """What a route of one's own may say beside its path.

    Attributes:
        name: Its operationId; by default the function's name.
        allow: Who may call it, such as `scope("orders:write")`; by default everybody.
        status: Of an answer that succeeds; by default 200, or 204 for a function that returns None.
        timeout: How long it may take, such as `"2s"`, streams excepted; by default as long as a call.
        faults: What it raises, for the documents.
    """

    name: str
    allow: Guard | None
    status: int
    timeout: Duration | None
    faults: tuple[type[Fault], ...]


class OwnRoute(msgspec.Struct, frozen=True):
    """A declared route.

    Attributes:
        function: What answers.
        needs: How it is called.
        about: What the documents tell.
        allow: Who may call it; None for everybody.
        timeout: Seconds that it may take; None for as long as a call.
    """

    function: Callable[..., object]
    needs: Needs
    about: RoutePath
    allow: Guard | None
    timeout: float | None


def own_route_of(
    function: Callable[..., object], method: str, path: str, prefix: str, options: RouteOptions
) -> OwnRoute:
    """What a function under `@gateway.get(path)` and its like declares.

    Raises:
        Misdeclared: It cannot be called with what a request brings.
    """
    needs = read(function, method, path)
    timeout = options.get("timeout")
    about = RoutePath(
        name=options.get("name") or function.__name__,
        method=method,
        path=prefix + path,
        doc=inspect.getdoc(function) or "",
        parameters=_told(needs),
        body=needs.hints[needs.body] if needs.body else None,
        body_required=needs.body_default is _EMPTY,
        result=needs.result,
        status=options.get("status") or (NO_CONTENT if needs.empty else 200),
        stream=needs.stream,
        faults=options.get("faults", ()),
        needs=allow.wants if (allow := options.get("allow")) is not None else "",
    )
    return OwnRoute(function, needs, about, allow, None if timeout is None else seconds(timeout))


def _told(needs: Needs) -> list[RouteParameter]:
    return [
        RouteParameter(needs.headers.get(field.name, field.name), needs.kinds[field.name], field.type, field.required)
        for field in msgspec.structs.fields(needs.arguments)
    ]
