"""What a shell knows by name where the app runs in its own process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import cast

from hanse.contract.declare import is_contract
from hanse.contract.derive import Operation, contracts_in, describe
from hanse.contract.model import Event, Model, collection_of, topic_of
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault, UnknownOperation
from hanse.kernel.settings_schema import nearest
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service, descriptions_of, events_in, service_name


class Rows(SimpleNamespace):
    """The collections by name: `await rows.orders.find()`."""

    def __repr__(self) -> str:
        return f"<collections {', '.join(vars(self)) or 'none'}>"


def names_of(app: App, node: Node) -> dict[str, object]:
    """What code in the shell of an app may use: clients by the names of contracts, collections, classes, verbs."""
    found: dict[str, object] = {**classes_of(app)}
    for name, contract in contracts_of(app).items():
        found[identifier(name)] = node.client(contract)
    rows = Rows(**{identifier(collection_of(kind)): node.collection(kind) for kind in app.owners})
    return {**found, "rows": rows, "call": Caller(app, node).call, "emit": Emitter(app, node).emit, "app": app}


def contracts_of(app: App) -> dict[str, type]:
    """The contracts of an app by name, and services whose operations are their own."""
    found: dict[str, type] = {}
    for part in app.parts:
        found[service_name(part.cls)] = part.cls
        found.update((describe(contract).name, contract) for contract in contracts_in(part.cls))
    return found


def identifier(name: str) -> str:
    """A name as it may stand in code.

    Example:
        >>> identifier("acme.orders"), identifier("2nd-hand")
        ('acme_orders', '_2nd_hand')
    """
    text = "".join(char if char.isalnum() or char == "_" else "_" for char in name)
    return f"_{text}" if text[:1].isdigit() else text


def classes_of(app: App) -> dict[str, type]:
    """Resources, events, models and faults of the modules that an app's services are defined in."""
    found: dict[str, type] = {}
    for module in dict.fromkeys(part.cls.__module__ for part in app.parts):
        names = cast("Mapping[str, object]", vars(sys.modules[module]))
        found.update(
            (name, cast("type[object]", value))
            for name, value in names.items()
            if isinstance(value, type) and _is_theirs(cast("type[object]", value)) and not name.startswith("_")
        )
    return found


def _is_theirs(value: type[object]) -> bool:
    ours = value.__module__.partition(".")[0] == "hanse"
    return not ours and (issubclass(value, (Model, Fault, Service)) or is_contract(value))


class Caller:
    """Calls operations by their address."""

    def __init__(self, app: App, node: Node) -> None:
        self._operations: dict[str, Operation] = {
            operation.address: operation
            for part in app.parts
            for description in descriptions_of(part.cls)
            for operation in description.operations.values()
        }
        self._node = node

    async def call(self, address: str, /, **arguments: object) -> object:
        """Answer of the operation at an address; the items of a stream as a list.

        Such as `await call("orders.place", sku="tea")`.

        Raises:
            UnknownOperation: There is none.
        """
        operation = self._operations.get(address)
        if operation is None:
            near = nearest(address, list(self._operations))
            hint = f"; did you mean {near}?" if near else f"; there are {', '.join(self._operations)}"
            raise UnknownOperation(f"expected an operation of this app, got {address!r}{hint}")
        given = operation.arguments(**arguments)
        if operation.stream:
            return [item async for item in self._node.stream(operation, given)]
        return await self._node.invoke(operation, given)


class Emitter:
    """Tells of events as a gateway does for the outside."""

    def __init__(self, app: App, node: Node) -> None:
        self._kinds = {topic_of(kind): kind for kind in _events(app)}
        self._node = node

    async def emit(self, event: Event | str, /, **fields: object) -> str:
        """Id of the message that tells of an event, from now on.

        Such as `await emit(OrderPlaced(order_id="1"))`, or `await emit("order_placed", order_id="1")`.

        Raises:
            UnknownOperation: No service lists or hears of such an event.
            Misdeclared: No service may tell of it.
        """
        if isinstance(event, str):
            kind = self._kinds.get(event)
            if kind is None:
                known = ", ".join(self._kinds) or "none"
                raise UnknownOperation(f"expected an event of this app, got {event!r}; there are {known}")
            event = kind(**fields)
        return await self._node.topic(type(event)).first.events.emit(topic_of(type(event)), encode_json(event))


def _events(app: App) -> Iterator[type[Event]]:
    for part in app.parts:
        yield from events_in(part.cls)
