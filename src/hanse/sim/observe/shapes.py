"""What may be said at an address, as the contracts of an app publish it: checks made of their JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import cast

import msgspec

from hanse.contract.derive import Description
from hanse.contract.model import Event, Resource, collection_of, topic_of
from hanse.contract.schema import schemas_of
from hanse.kernel.faults import Fault
from hanse.node.app import App
from hanse.service.reaction import On
from hanse.service.rows import rows_contract
from hanse.service.service import descriptions_of, reactions_of
from hanse.sim.observe.per_app import per_app
from hanse.sim.observe.validator import Check, Json, validator


class Shape(msgspec.Struct, frozen=True):
    """What may be said at one address.

    Attributes:
        arguments: Checks what is asked.
        result: Checks the answer, or one item of a stream.
        faults: Codes of the faults that its contract lists, and of those that derive from them; none where it lists
            none, and says nothing about them by that.
    """

    arguments: Check
    result: Check
    faults: frozenset[str] = frozenset()


@per_app
def shapes_of(app: App) -> dict[str, Shape]:
    """The operations of an app's services and of its rows, by address."""
    shapes: dict[str, Shape] = {}
    for part in app.parts:
        for description in descriptions_of(part.cls):
            shapes.update(_operations(description))
    for kind in app.owners:
        name = collection_of(kind)
        shapes.update({f"rows/{name}.{verb}": shape for verb, shape in _rows().items()})
    return shapes


@per_app
def events_of(app: App) -> dict[str, Check]:
    """The events that anybody reacts to, by topic."""
    kinds = {
        reaction.kind
        for part in app.parts
        for reaction in reactions_of(part.cls).values()
        if isinstance(reaction, On) and issubclass(reaction.kind, Event)
    }
    checks: dict[str, Check] = {}
    for kind in kinds:
        [schema], definitions = schemas_of([kind])
        checks[topic_of(kind)] = validator(schema, definitions)
    return checks


@lru_cache(maxsize=1)
def framework_faults() -> frozenset[str]:
    """Codes of the faults that any call may end with."""
    return frozenset(fault.code for fault in _derived(Fault) if fault.__module__.startswith("hanse."))


@lru_cache(maxsize=1)
def _rows() -> dict[str, Shape]:
    """Rows of any kind travel in one shape."""
    operations = _operations(rows_contract(_Any))
    return {address.rpartition(".")[2]: shape for address, shape in operations.items()}


class _Any(Resource):
    """Any row."""


def _operations(description: Description) -> dict[str, Shape]:
    document = description.publish()
    definitions = cast("Json", document["$defs"])
    published = cast("dict[str, dict[str, Json]]", document["operations"])
    return {
        operation.address: Shape(
            arguments=validator(published[name]["arguments"], definitions),
            result=validator(published[name]["result"], definitions),
            faults=frozenset(one.code for fault in operation.options.faults for one in (fault, *_derived(fault))),
        )
        for name, operation in description.operations.items()
    }


def _derived(fault: type[Fault]) -> Iterator[type[Fault]]:
    for one in fault.__subclasses__():
        yield one
        yield from _derived(one)
