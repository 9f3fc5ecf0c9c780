"""From type hints to a contract as data: operations, their schemas, and a fingerprint.

The same description feeds the typed clients, the server's decoders, OpenAPI, the CLI and the comparison of versions.
"""

from __future__ import annotations

import collections.abc
import hashlib
import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from functools import cached_property
from typing import cast

import msgspec

from hanse.contract.declare import Contract, Options, Promise, is_contract, options_of
from hanse.contract.model import Event, Resource, collection_of, topic_of, version_of
from hanse.contract.schema import canonical, schemas_of
from hanse.kernel.faults import Fault, Misdeclared
from hanse.kernel.hints import hints_of

Json = dict[str, object]


class Operation(msgspec.Struct, frozen=True, dict=True):
    """One operation of a contract.

    Attributes:
        contract: Name of its contract.
        name: The method's name.
        arguments: A struct with the arguments as fields: what travels.
        result: Type of the answer, or of one item of a stream.
        stream: Whether it answers with items until an end.
        doc: The method's docstring.
        options: What `@rpc` said.
    """

    contract: str
    name: str
    arguments: type[msgspec.Struct]
    result: type[object]
    stream: bool
    doc: str
    options: Options

    @cached_property
    def address(self) -> str:
        """Where it is called: `contract.operation`."""
        return f"{self.contract}.{self.name}"


class Description(msgspec.Struct, frozen=True, dict=True):
    """A contract as data.

    Attributes:
        name: Its name: the first half of every address.
        version: Its version.
        doc: The class's docstring.
        operations: By name.
        events: What the service emits.
        resources: What the service owns.
    """

    name: str
    version: str
    doc: str
    operations: dict[str, Operation]
    events: tuple[type[Event], ...] = ()
    resources: tuple[type[Resource], ...] = ()

    @cached_property
    def faults(self) -> tuple[type[Fault], ...]:
        """Every fault that an operation lists."""
        return tuple(dict.fromkeys(fault for op in self.operations.values() for fault in op.options.faults))

    def publish(self) -> Json:
        """The contract as JSON data, with JSON Schema (2020-12) for every shape under `$defs`."""
        shapes = [
            *(kind for op in self.operations.values() for kind in (op.arguments, op.result)),
            *self.events,
            *self.resources,
        ]
        schemas, definitions = schemas_of(shapes)
        taken = iter(schemas)
        operations = {name: _published(op, next(taken), next(taken)) for name, op in self.operations.items()}
        return {
            "name": self.name,
            "version": self.version,
            "description": self.doc,
            "operations": operations,
            "events": {topic_of(kind): {"version": version_of(kind), "schema": next(taken)} for kind in self.events},
            "resources": {
                collection_of(kind): {"version": version_of(kind), "schema": next(taken)} for kind in self.resources
            },
            "$defs": definitions,
        }

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when the promise does: not with the order of fields, prose or the machine."""
        return hashlib.sha256(canonical({**self.publish(), "version": ""})).hexdigest()[:16]


def _published(operation: Operation, arguments: Json, result: Json) -> Json:
    options = operation.options
    return {
        "description": operation.doc,
        "arguments": arguments,
        "result": result,
        "stream": operation.stream,
        "idempotent": options.idempotent,
        "timeout": options.timeout,
        "route": options.route,
        "allow": None if options.allow is None else options.allow.wants,
        "faults": {fault.code: {"status": fault.status, "fields": list(fault.fields)} for fault in options.faults},
    }


def describe(cls: type) -> Description:
    """The description of a contract class, made once.

    Raises:
        Misdeclared: The class is no contract, or a hint names something that does not exist.
    """
    if not is_contract(cls):
        raise Misdeclared(f"expected a contract such as `class Inventory(Contract, Protocol)`, got {cls.__name__}")
    known = cast("Description | None", vars(cls).get("__hanse_description__"))
    if known is None:
        known = describe_methods(cls, cast("type[Contract]", cls).__hanse_promise__)
        cls.__hanse_description__ = known  # type: ignore[attr-defined]
    return known


def describe_as(cls: type, name: str) -> Description:
    """The description of a contract class under another name: its types are looked at once, however many it has.

    Raises:
        Misdeclared: See `describe`.
    """
    known = describe(cls)
    operations = {own: msgspec.structs.replace(operation, contract=name) for own, operation in known.operations.items()}
    return msgspec.structs.replace(known, name=name, operations=operations)


def describe_methods(cls: type, promise: Promise, *, leave_out: Iterable[str] = ()) -> Description:
    """The description of whatever `@rpc` methods a class has, under the name and version given."""
    without = set(leave_out)
    methods = {name: method for base in reversed(cls.__mro__) for name, method in vars(base).items()}
    operations = {
        name: _operation(cls, promise.name, method, options)
        for name, method in methods.items()
        if name not in without and (options := _options(cls, name)) is not None
    }
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "")
    return Description(promise.name, promise.version, doc, operations, promise.events, promise.resources)


def _options(cls: type, name: str) -> Options | None:
    """What `@rpc` said about a method, here or where it is overridden: an operation stays one."""
    found = (options_of(vars(base).get(name)) for base in cls.__mro__)
    return next((options for options in found if options is not None), None)


def contracts_in(cls: type) -> list[type]:
    """The contracts that a class implements, nearest first."""
    return [base for base in cls.__mro__ if is_contract(base)]


def _operation(cls: type, contract: str, method: collections.abc.Callable[..., object], options: Options) -> Operation:
    hints = hints_of(method, f"a type hint of {method.__qualname__}")
    result, stream = _result(hints["return"])
    fields = [
        (parameter.name, hints[parameter.name])
        if parameter.default is parameter.empty
        else (parameter.name, hints[parameter.name], parameter.default)
        for parameter in list(inspect.signature(method).parameters.values())[1:]
    ]
    name = f"{cls.__name__}{method.__name__.title().replace('_', '')}Arguments"
    try:
        arguments = msgspec.defstruct(name, cast("list[str]", fields), frozen=True, module=cls.__module__)
        schemas_of([arguments, result])
    except TypeError as error:
        said = str(error).removeprefix(f"{name}.")
        raise Misdeclared(f"{method.__qualname__} cannot be called from elsewhere: {said}") from None
    return Operation(contract, method.__name__, arguments, result, stream, inspect.getdoc(method) or "", options)


def _result(hint: object) -> tuple[type[object], bool]:
    if typing.get_origin(hint) in (AsyncIterator, AsyncGenerator, collections.abc.AsyncIterable):
        return cast("type[object]", typing.get_args(hint)[0]), True
    return cast("type[object]", hint), False
