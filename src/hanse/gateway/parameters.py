"""What a function asks of a request, by its annotations: path, query, headers, body, parts of the node. Pure.

`read` turns a function into its `Needs`, and tells what cannot be where the function is declared.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal, cast
from uuid import UUID  # noqa: TID251 - the type, of values that come

import msgspec

from hanse.contract.declare import is_contract
from hanse.contract.model import Resource
from hanse.contract.schema import schemas_of
from hanse.gateway.asgi import Request, Response
from hanse.gateway.routes import parts_of
from hanse.kernel.codec import codec_for
from hanse.kernel.context import Context
from hanse.kernel.faults import Misdeclared
from hanse.kernel.hints import UNIONS, bare, hints_of
from hanse.service.collection import Collection
from hanse.service.service import Service

Kind = Literal["path", "query", "header", "body", "request", "context", "client", "collection"]

_TEXTS = (str, int, float, Decimal, datetime, date, time, timedelta, UUID, Enum)
_LISTS = (list, tuple, set, frozenset)
_BODILESS = frozenset({"GET", "DELETE"})
_ITEMS = (AsyncIterator, AsyncGenerator)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Header:
    """Marks a parameter of a route as the value of a header, such as `Annotated[str, Header("x-tenant")]`.

    Example:
        >>> Header("X-Tenant").name
        'x-tenant'
    """

    def __init__(self, name: str = "") -> None:
        """Name the header.

        Args:
            name: Without one it is the parameter's, with dashes for underscores.
        """
        self.name: str = name.lower()


class Needs(msgspec.Struct, frozen=True):
    """What a function needs of a request, and how it is called with that.

    Attributes:
        kinds: What each parameter is, by name.
        hints: The types of all parameters.
        headers: The header that a parameter is the value of.
        lists: Parameters that take all values of their name.
        arguments: A struct of what comes as text: from path, query and headers.
        body: The parameter that takes the body; empty where none does.
        body_default: What it is where no body comes; `Parameter.empty` where one has to.
        result: What it answers, or one item of its stream; None where it answers by itself.
        stream: Whether it answers with items.
        blocks: Whether it is a plain `def`, which needs a thread.
        empty: Whether it says that it returns nothing.
    """

    kinds: Mapping[str, Kind]
    hints: Mapping[str, object]
    headers: Mapping[str, str]
    lists: frozenset[str]
    arguments: type[msgspec.Struct]
    body: str
    body_default: object
    result: object
    stream: bool
    blocks: bool
    empty: bool

    def named(self, kind: Kind) -> list[str]:
        """The parameters of a kind."""
        return [name for name, other in self.kinds.items() if other == kind]


def read(function: Callable[..., object], method: str, path: str) -> Needs:
    """What a function asks of a request.

    Raises:
        Misdeclared: It cannot be called with what a request of this method and path brings.
    """
    where = f"{method} {path}, {getattr(function, '__qualname__', repr(function))},"
    if not inspect.isfunction(function):
        raise Misdeclared(f"expected a function for {method} {path}, got {function!r}")
    if inspect.isgeneratorfunction(function):
        raise Misdeclared(f"{where} is a plain generator, which would block; write `async def`, and `yield` in it")
    hints = _hints(function, where)
    parameters = inspect.signature(function).parameters
    in_path = [part[1:-1] for part in parts_of(path) if part.startswith("{")]
    if unknown := [name for name in in_path if name not in parameters]:
        known = ", ".join(parameters) or "none"
        raise Misdeclared(f"{where} has {{{unknown[0]}}} in its path, but its parameters are {known}")
    for parameter in parameters.values():
        _check(parameter, where)
    kinds: dict[str, Kind] = {name: _kind(hints[name], name in in_path) for name in parameters}
    body = _body(kinds, method, where)
    result, stream = _result(hints["return"])
    blocks = not stream and not inspect.iscoroutinefunction(function)
    _check_thread(kinds, where, blocks=blocks)
    needs = Needs(
        kinds=kinds,
        hints=hints,
        headers={name: _header(hints[name], name) for name, kind in kinds.items() if kind == "header"},
        lists=frozenset(name for name in kinds if typing.get_origin(bare(hints[name])) in _LISTS),
        arguments=_struct(function, kinds, hints, where),
        body=body,
        body_default=parameters[body].default if body else inspect.Parameter.empty,
        result=result,
        stream=stream,
        blocks=blocks,
        empty=hints["return"] is type(None),
    )
    _check_types(needs, where)
    return needs


def resource_of(hint: object) -> type[Resource]:
    """The resource of a `Collection[...]`."""
    return cast("type[Resource]", typing.get_args(bare(hint))[0])


def is_text(hint: object) -> bool:
    """Whether a value of this type can come as text: a number, a date, a choice, or a list of such.

    Example:
        >>> [is_text(hint) for hint in (int, list[str], int | str | None, list[int] | str, dict[str, int])]
        [True, True, True, False, False]
    """
    hint = bare(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return True
    if origin in UNIONS:
        return all(member is type(None) or (is_text(member) and not _is_list(member)) for member in args)
    if origin in _LISTS:
        return bool(args) and all(arg is Ellipsis or (is_text(arg) and not _is_list(arg)) for arg in args)
    return isinstance(hint, type) and issubclass(hint, _TEXTS)


def _is_list(hint: object) -> bool:
    return typing.get_origin(bare(hint)) in _LISTS


def _hints(function: Callable[..., object], where: str) -> dict[str, object]:
    hints = hints_of(function, f"a type hint of {where}")
    for name in inspect.signature(function).parameters:
        if name not in hints:
            raise Misdeclared(f"{where} has the parameter {name!r} without a type; write `{name}: str`")
    if "return" not in hints:
        raise Misdeclared(f"{where} does not say what it returns; write `-> None` if nothing")
    return hints


def _check(parameter: inspect.Parameter, where: str) -> None:
    if parameter.kind in _VARIADIC:
        raise Misdeclared(f"{where} takes {parameter}, which has no schema; name every parameter")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise Misdeclared(f"{where} takes {parameter.name!r} by position only; leave out the `/`")


def _kind(hint: object, in_path: bool) -> Kind:  # noqa: FBT001 - read at its only call
    if in_path:
        return "path"
    if _marker(hint) is not None:
        return "header"
    kind = bare(hint)
    if typing.get_origin(kind) is Collection:
        return "collection"
    if isinstance(kind, type) and (injected := _injected(cast("type[object]", kind))) is not None:
        return injected
    return "query" if is_text(hint) else "body"


def _injected(kind: type[object]) -> Kind | None:
    if issubclass(kind, Request):
        return "request"
    if issubclass(kind, Context):
        return "context"
    return "client" if is_contract(kind) or issubclass(kind, Service) else None


def _marker(hint: object) -> Header | None:
    if typing.get_origin(hint) is not Annotated:
        return None
    extras = typing.get_args(hint)[1:]
    return next((Header() if extra is Header else extra for extra in extras if _is_marker(extra)), None)


def _is_marker(extra: object) -> bool:
    return isinstance(extra, Header) or extra is Header


def _header(hint: object, name: str) -> str:
    marker = _marker(hint)
    assert marker is not None
    return marker.name or name.replace("_", "-").lower()


def _body(kinds: Mapping[str, Kind], method: str, where: str) -> str:
    found = [name for name, kind in kinds.items() if kind == "body"]
    if len(found) > 1:
        raise Misdeclared(f"{where} wants two bodies, {found[0]} and {found[1]}; put them into one Model")
    if found and method in _BODILESS:
        raise Misdeclared(
            f"{where} wants {found[0]} from a body, which {method} does not have; take plain values from the query, "
            f"or another method"
        )
    return found[0] if found else ""


def _result(hint: object) -> tuple[object, bool]:
    if typing.get_origin(hint) in _ITEMS:
        return typing.get_args(hint)[0], True
    kind = bare(hint)
    by_itself = isinstance(kind, type) and _answers(cast("type[object]", kind))
    return (None if by_itself else hint), False


def _answers(kind: type[object]) -> bool:
    """Whether instances of a class are responses: ours, or ASGI applications, as those of Starlette are."""
    return issubclass(kind, Response) or inspect.iscoroutinefunction(getattr(kind, "__call__", None))  # noqa: B004 - not whether it can be called


def _check_thread(kinds: Mapping[str, Kind], where: str, *, blocks: bool) -> None:
    """A thread cannot await what lives on the loop."""
    asked = [name for name, kind in kinds.items() if kind in ("client", "collection")]
    if blocks and asked:
        raise Misdeclared(f"{where} is a plain `def`, which cannot await {asked[0]}; write `async def`")


def _struct(
    function: Callable[..., object], kinds: Mapping[str, Kind], hints: Mapping[str, object], where: str
) -> type[msgspec.Struct]:
    parameters = inspect.signature(function).parameters
    fields: list[tuple[str, object] | tuple[str, object, object]] = []
    for name, kind in kinds.items():
        if kind not in ("path", "query", "header"):
            continue
        default = parameters[name].default
        if not is_text(hints[name]):
            raise Misdeclared(f"{where} has {name!r} in its {kind}, which is text; take a plain type such as str")
        bound = kind == "path" or default is inspect.Parameter.empty
        fields.append((name, hints[name]) if bound else (name, hints[name], default))
    title = function.__name__.title().replace("_", "")
    try:
        return msgspec.defstruct(
            f"{title}Arguments", cast("list[str]", fields), frozen=True, module=function.__module__, kw_only=True
        )
    except TypeError as error:
        raise Misdeclared(f"{where} cannot take what it says: {error}") from None


def _check_types(needs: Needs, where: str) -> None:
    body = needs.hints[needs.body] if needs.body else object
    result = object if needs.result is None else needs.result
    try:
        _ = schemas_of([needs.arguments, object if body is bytes else body, object if result is bytes else result])
        _ = codec_for(needs.arguments), codec_for(cast("type[object]", body))
    except TypeError as error:
        raise Misdeclared(f"{where} cannot take or give what it says: {error}") from None
