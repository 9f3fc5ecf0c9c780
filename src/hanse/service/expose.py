"""`expose`: an object that knows nothing of Hanse becomes a service, by its public methods and their type hints."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Literal, cast

import msgspec

from hanse.contract.declare import rpc
from hanse.contract.derive import describe
from hanse.contract.guard import Guard
from hanse.contract.schema import schemas_of
from hanse.kernel.closing import closing
from hanse.kernel.faults import Misdeclared
from hanse.service.service import Service
from hanse.service.threads import Threads

Kind = Literal["plain", "awaited", "items", "awaited items"]

_EMPTY = inspect.Parameter.empty
_END = object()
_ITEMS = (Iterator, Generator)
_ASYNC_ITEMS = (AsyncIterator, AsyncGenerator)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class _Method(msgspec.Struct, frozen=True):
    """A public method, as an operation sees it."""

    name: str
    kind: Kind
    parameters: list[inspect.Parameter]
    hints: dict[str, Any]
    doc: str


class _Wrong(Exception):
    """Why a method cannot be an operation."""


def expose(
    target: object,
    *,
    name: str = "",
    only: Iterable[str] = (),
    threads: int = 1,
    allow: Guard | None = None,
    contract: type | None = None,
) -> type[Service]:
    """Make a service of an object or a class that was not written as one.

    Its public methods become operations, with the types that their hints say: `async def` ones run on the loop, plain
    ones in threads, generators are streams. One call at a time reaches the object, unless `threads` says that it bears
    more. An object is shared by all nodes of the process; of a class each node makes its own, and what the constructor
    takes are the service's settings and dependencies.

    Args:
        target: The object, or the class.
        name: The service's name; by default that of the class, in snake case.
        only: The methods to expose; by default all public ones.
        threads: Calls at once.
        allow: Who may call, such as `scope("calc")`; by default the gateway's exposure decides alone.
        contract: What the service promises, for typed clients: its operations are what is exposed, with its types
            and guards, so that the object needs no hints.

    Raises:
        Misdeclared: Something cannot be exposed; names each method, and why.

    Example:
        >>> class Calculator:
        ...     def add(self, left: int, right: int = 1) -> int:
        ...         return left + right
        >>> async def main() -> int:
        ...     from hanse import App, Node
        ...     async with Node(App("calc", expose(Calculator()))) as node:
        ...         operation = node.descriptions[0].operations["add"]
        ...         return await node.invoke(operation, operation.arguments(2, 3))
        >>> import asyncio
        >>> asyncio.run(main())
        5
    """
    cls = cast("type[object]", target) if isinstance(target, type) else type(target)
    _check(target, cls, threads)
    problems: list[str] = []
    if contract is None:
        methods = _methods(cls, list(only), problems)
    else:
        methods = _promised(cls, contract, problems)
        if only or allow is not None:
            problems.append(f"only and allow are what {contract.__name__} says; leave them out")
    fields = _fields(cls, problems) if isinstance(target, type) else []
    if problems:
        raise Misdeclared(f"{cls.__name__} cannot be exposed: {'; '.join(problems)}")
    frame = inspect.currentframe()
    module = cast("str", frame.f_back.f_globals["__name__"]) if frame and frame.f_back else cls.__module__
    body: dict[str, object] = {
        "__module__": module,
        "__doc__": inspect.getdoc(cls) or "",
        "__init__": _constructor(target, threads),
        "__annotations__": {field.name: field.annotation for field in fields},
        **{field.name: field.default for field in fields if field.default is not _EMPTY},
        "stopping": _stopping,
    }
    for method in methods:
        operation = _operation(method)
        body[method.name] = rpc(allow=allow)(operation) if contract is None else operation
    keywords = {"name": name} if name else {}
    bases = (Service,) if contract is None else (Service, contract)
    return cast("type[Service]", types.new_class(cls.__name__, bases, keywords, lambda space: space.update(body)))


def _check(target: object, cls: type[object], threads: int) -> None:
    if issubclass(cls, Service):
        raise Misdeclared(f"{cls.__name__} is a Service already; give it to App(...) as it is")
    if inspect.isroutine(target) or inspect.ismodule(target) or cls.__module__ == "builtins":
        raise Misdeclared(f"expected an object with typed methods, or its class, got {target!r}")
    if threads < 1:
        raise Misdeclared(f"expected at least one thread for {cls.__name__}, got {threads}")


def _methods(cls: type[object], only: list[str], problems: list[str]) -> list[_Method]:
    public = {name: found for name in dir(cls) if (found := _function(cls, name)) is not None}
    if unknown := [name for name in only if name not in public]:
        problems.append(f"it has no method {unknown[0]!r}, but {', '.join(public) or 'none'}")
    if not public:
        problems.append("it has no public methods")
    methods: list[_Method] = []
    for name, (function, bound) in public.items():
        if only and name not in only:
            continue
        try:
            methods.append(_method(name, function, bound=bound))
        except _Wrong as error:
            problems.append(f"{name} {error}")
    if problems and public and not only:
        fine = ", ".join(repr(method.name) for method in methods) or "..."
        problems[-1] += f". Write what is missing, or say which methods to expose: only=[{fine}]"
    return methods


def _promised(cls: type[object], contract: type, problems: list[str]) -> list[_Method]:
    """The methods that a contract names; their types are the contract's."""
    methods: list[_Method] = []
    for name, operation in describe(contract).operations.items():
        found = _function(cls, name)
        if found is None:
            problems.append(f"it has no method {name!r}, which {contract.__name__} promises")
            continue
        function, bound = found
        parameters = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
        if inspect.isasyncgenfunction(function):
            kind: Kind = "awaited items"
        elif inspect.iscoroutinefunction(function):
            kind = "awaited"
        else:
            kind = "items" if operation.stream else "plain"
        methods.append(_Method(name, kind, parameters, {}, operation.doc))
    return methods


def _function(cls: type[object], name: str) -> tuple[Callable[..., object], bool] | None:
    """The function behind a public method, and whether it takes an object or class first; None for anything else."""
    if name.startswith("_"):
        return None
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, staticmethod):
        return cast("Callable[..., object]", found.__func__), False
    if isinstance(found, classmethod):
        return cast("Callable[..., object]", found.__func__), True
    return (cast("Callable[..., object]", found), True) if inspect.isfunction(found) else None


def _method(name: str, function: Callable[..., object], *, bound: bool) -> _Method:
    if hasattr(Service, name):
        raise _Wrong("is what every service has; name it otherwise")
    parameters = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise _Wrong(f"has a hint that names {error.name!r}, which does not exist in {function.__module__}") from None
    for parameter in parameters:
        if parameter.kind in _VARIADIC:
            raise _Wrong(f"takes {parameter}, which has no schema")
        if parameter.name not in hints:
            raise _Wrong(f"takes {parameter.name!r}, which has no type hint")
    if "return" not in hints:
        raise _Wrong("does not say what it returns")
    kind, result = _kind(function, hints["return"])
    hints = {parameter.name: hints[parameter.name] for parameter in parameters} | {"return": result}
    try:
        fields = [_field(parameter, hints) for parameter in parameters]
        arguments = msgspec.defstruct("Arguments", cast("list[str]", fields))
        _ = schemas_of([arguments, typing.get_args(result)[0] if kind in ("items", "awaited items") else result])
    except TypeError as error:
        raise _Wrong(f"cannot be called from elsewhere ({str(error).removeprefix('Arguments.')})") from None
    return _Method(name, kind, parameters, hints, inspect.getdoc(function) or "")


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[object, ...]:
    field = (parameter.name, hints[parameter.name])
    return field if parameter.default is _EMPTY else (*field, parameter.default)


def _kind(function: Callable[..., object], result: object) -> tuple[Kind, Any]:
    origin = typing.get_origin(result)
    if origin in _ASYNC_ITEMS:
        return "awaited items", result
    if origin in _ITEMS:
        return "items", AsyncIterator[typing.get_args(result)[0]]  # type: ignore[misc]
    return ("awaited" if inspect.iscoroutinefunction(function) else "plain"), result


def _fields(cls: type[object], problems: list[str]) -> list[inspect.Parameter]:
    """What the constructor takes, with its types."""
    if cls.__init__ is object.__init__:
        return []
    try:
        hints = typing.get_type_hints(cls.__init__, include_extras=True)
    except NameError as error:
        problems.append(f"its constructor has a hint that names {error.name!r}, which does not exist")
        return []
    fields: list[inspect.Parameter] = []
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.kind in (*_VARIADIC, parameter.POSITIONAL_ONLY):
            problems.append(f"its constructor takes {parameter}; expose an object instead")
        elif parameter.name not in hints:
            problems.append(f"its constructor takes {parameter.name!r} without a type; write one, or expose an object")
        else:
            fields.append(parameter.replace(annotation=hints[parameter.name]))
    return fields


def _constructor(target: object, threads: int) -> Callable[..., None]:
    def construct(self: Service, **dependencies: object) -> None:
        Service.__init__(self, **dependencies)
        made = target(**dependencies) if isinstance(target, type) else target
        self.__dict__["_exposed"] = made, Threads(threads, f"hanse-{type(self).__name__.lower()}")

    return construct


async def _stopping(self: Service) -> None:
    _exposed(self)[1].close()


def _exposed(service: Service) -> tuple[object, Threads]:
    return cast("tuple[object, Threads]", service.__dict__["_exposed"])


def _operation(method: _Method) -> Callable[..., object]:
    """The operation that a method is: by name, whatever way the method wants its arguments."""
    make = {"plain": _plain, "awaited": _awaited, "items": _items, "awaited items": _awaited_items}[method.kind]
    operation, hints = make(method), method.hints
    by_name = [item.replace(kind=item.KEYWORD_ONLY, annotation=hints.get(item.name)) for item in method.parameters]
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    operation.__name__, operation.__qualname__ = method.name, f"expose.{method.name}"
    operation.__doc__, operation.__annotations__ = method.doc, hints
    operation.__signature__ = inspect.Signature([me, *by_name])  # type: ignore[attr-defined]
    return operation


def _bound(service: Service, method: _Method, values: dict[str, object]) -> Callable[[], Any]:
    function = getattr(_exposed(service)[0], method.name)
    first = [item.name for item in method.parameters if item.kind is item.POSITIONAL_ONLY]
    return partial(function, *(values.pop(name) for name in first), **values)


def _plain(method: _Method) -> Callable[..., object]:
    async def plain(self: Service, **values: object) -> object:
        return await _exposed(self)[1].run(_bound(self, method, values))

    return plain


def _awaited(method: _Method) -> Callable[..., object]:
    async def awaited(self: Service, **values: object) -> object:
        async with _exposed(self)[1].turn():
            return await _bound(self, method, values)()

    return awaited


def _items(method: _Method) -> Callable[..., object]:
    async def items(self: Service, **values: object) -> AsyncIterator[object]:
        threads = _exposed(self)[1]
        made: Iterator[object] = await threads.run(_bound(self, method, values))
        try:
            while (item := await threads.run(partial(next, made, _END))) is not _END:
                yield item
        finally:
            if isinstance(made, Generator):
                await threads.run(made.close)

    return items


def _awaited_items(method: _Method) -> Callable[..., object]:
    async def items(self: Service, **values: object) -> AsyncIterator[object]:
        threads = _exposed(self)[1]
        async with closing(cast("AsyncIterator[object]", _bound(self, method, values)())) as made:
            while True:
                async with threads.turn():
                    item = await anext(made, _END)
                if item is _END:
                    return
                yield item

    return items
