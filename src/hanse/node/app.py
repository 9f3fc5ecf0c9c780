"""`App`: services composed. It names them, and checks that together they make sense."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from hanse.contract.derive import contracts_in
from hanse.contract.model import Resource, collection_of
from hanse.kernel.cron import Cron
from hanse.kernel.faults import Misconfigured, Misdeclared
from hanse.service.about import About
from hanse.service.reaction import Every, On, Reaction
from hanse.service.service import Field, Service, descriptions_of, fields_of, reactions_of, service_name


class Door(Protocol):
    """Whatever lets the outside in, such as `hanse.Gateway`."""

    def asgi(self, node: Any, /) -> Any:  # noqa: ANN401 - a Node, which is built on this module; an ASGI application
        """The ASGI application that serves this node."""
        ...

    async def drain(self, node: Any = None, /) -> None:  # noqa: ANN401 - as above
        """End the streams of a node, or of all, with a hint to resume: it is about to stop."""
        ...


@runtime_checkable
class Brings(Protocol):
    """A door that has services of its own, such as the one that sends webhooks."""

    @property
    def services(self) -> Sequence[type[Service]]:
        """The services that it brings into the app."""
        ...


class Part(msgspec.Struct, frozen=True):
    """A service of an app, and what is known about it."""

    name: str
    cls: type[Service]
    fields: list[Field]

    @property
    def resources(self) -> list[type[Resource]]:
        """Resources that it has a collection of."""
        return [field.resource for field in self.fields if field.resource is not None]


class App:
    """Services composed: run them combined in one process, or apart, without changing a line.

    Example:
        >>> from hanse.contract.declare import rpc
        >>> class Greeter(Service):
        ...     @rpc
        ...     async def hello(self, name: str) -> str:
        ...         return f"Hello, {name}!"
        >>> App("hello", Greeter).name
        'hello'
    """

    def __init__(self, name: str, *services: type[Service], gateway: Door | None = None) -> None:
        """Compose services.

        Args:
            name: The app's name, in addresses, logs and announcements.
            services: The classes; their names are distinct.
            gateway: What the outside reaches of them; nothing without one. It may bring services along.

        Raises:
            Misdeclared: Two services have one name, or a resource has two owners.
        """
        door: object = gateway
        if isinstance(door, Brings):
            services = tuple(dict.fromkeys((*services, *door.services)))
        _check_classes(services)
        self.name: str = name
        self.gateway: Door | None = gateway
        self.parts: list[Part] = [Part(service_name(cls), cls, fields_of(cls)) for cls in services]
        self.owners: dict[type[Resource], Part] = _owners(self.parts)
        self.providers: dict[type, Part] = {
            promise: part for part in self.parts for promise in (part.cls, *contracts_in(part.cls))
        }
        _check_names(self.parts)

    @property
    def services(self) -> list[type[Service]]:
        """The service classes."""
        return [part.cls for part in self.parts]

    def check(self) -> None:
        """Make sure that whatever a service needs is provided by one of this app.

        Raises:
            Misdeclared: A contract has no provider, a resource that a handler reacts to has no owner, or two services
                share a group.
        """
        groups: dict[str, type[Service]] = {}
        for part in self.parts:
            self._check_needs(part)
            for name, reaction in reactions_of(part.cls).items():
                self._check_reaction(part, name, reaction)
                if isinstance(reaction, On) and reaction.group:
                    other = groups.setdefault(reaction.group, part.cls)
                    if other is not part.cls:
                        raise Misdeclared(
                            f"{other.__name__} and {part.cls.__name__} both have the group {reaction.group!r}, but "
                            f"keep what was handled in stores of their own; a group belongs to one service"
                        )

    def _check_needs(self, part: Part) -> None:
        for field in part.fields:
            self._check_replica(part, field)
            if field.about is not None:
                self._check_about(part, field.name, field.about)
            elif field.contract is not None and field.contract not in self.providers:
                raise Misdeclared(
                    f"{part.cls.__name__}.{field.name} needs {field.contract.__name__}, which no service of the "
                    f"app {self.name!r} provides; add one: App({self.name!r}, ..., {field.contract.__name__}...)"
                )

    def _check_about(self, part: Part, name: str, about: About) -> None:
        if about.service not in self.services:
            known = ", ".join(cls.__name__ for cls in self.services)
            raise Misdeclared(
                f"{part.cls.__name__}.{name} is about {about.service.__name__}, which is no service of the app "
                f"{self.name!r}; it has {known}"
            )

    def _check_replica(self, part: Part, field: Field) -> None:
        if field.replica is None:
            return
        source = field.replica.source
        owner = self.owners.get(source)
        if owner is None or owner is part:
            raise Misdeclared(
                f"{part.cls.__name__}.{field.name} copies {source.__name__}, which "
                + ("it owns itself; " if owner is part else f"no service of the app {self.name!r} owns; ")
                + ("read its own" if owner is part else "add a service with a field")
                + f" `Collection[{source.__name__}]`"
            )

    def _check_reaction(self, part: Part, name: str, reaction: Reaction) -> None:
        kind = None if isinstance(reaction, Every | Cron) else reaction.kind
        if kind is not None and issubclass(kind, Resource) and kind not in self.owners:
            raise Misdeclared(
                f"{part.cls.__name__}.{name} reacts to {kind.__name__}, which no service of the app "
                f"{self.name!r} owns; add a service with a field `Collection[{kind.__name__}]`"
            )


GATEWAY = "gateway"
"""Names the gateway among the services that a node hosts."""


def parts_named(app: App, names: Sequence[str]) -> list[Part]:
    """The services of an app that have these names, in the app's order; all of them where no name is given.

    Args:
        app: Whose services.
        names: Theirs, and `GATEWAY`, which is no service.

    Raises:
        Misconfigured: There is no service of such a name.
    """
    known = [part.name for part in app.parts]
    if unknown := [name for name in names if name not in known and name != GATEWAY]:
        there = ", ".join((*known, GATEWAY))
        raise Misconfigured(f"the app {app.name!r} has no service {unknown[0]!r}; it has {there}")
    return [part for part in app.parts if not names or part.name in names]


def has_gateway(names: Sequence[str]) -> bool:
    """Whether a node that hosts what has these names also lets the outside in.

    Example:
        >>> has_gateway([]), has_gateway(["orders"]), has_gateway(["gateway"])
        (True, False, True)
    """
    return not names or GATEWAY in names


def _owners(parts: list[Part]) -> dict[type[Resource], Part]:
    """Who owns each resource: the one service that has a collection of it, or the one of several that says so."""
    having: dict[type[Resource], list[Part]] = {}
    for part in parts:
        for kind in dict.fromkeys((*part.cls.__hanse_owns__, *part.resources)):
            having.setdefault(kind, []).append(part)
    owners: dict[type[Resource], Part] = {}
    for kind, candidates in having.items():
        owning = [part for part in candidates if kind in part.cls.__hanse_owns__] or candidates
        if len(owning) > 1:
            names = " and ".join(part.cls.__name__ for part in owning)
            raise Misdeclared(
                f"{names} both have a Collection[{kind.__name__}]; say which one owns it: "
                f"`class {owning[0].cls.__name__}(..., owns=({kind.__name__},))`"
            )
        owners[kind] = owning[0]
    _check_collections(owners)
    return owners


def _check_collections(owners: dict[type[Resource], Part]) -> None:
    names: dict[str, type[Resource]] = {}
    for kind in owners:
        other = names.setdefault(collection_of(kind), kind)
        if other is not kind:
            raise Misdeclared(
                f"{other.__module__}.{other.__name__} and {kind.__module__}.{kind.__name__} would both be the "
                f"collection {collection_of(kind)!r}; name one: `class {kind.__name__}(Resource, collection=...)`"
            )


def _check_classes(services: Iterable[object]) -> None:
    for cls in services:
        if not (isinstance(cls, type) and issubclass(cls, Service)):
            raise Misdeclared(f"App takes Service classes, got {cls!r}")


def _check_names(parts: list[Part]) -> None:
    taken: dict[str, type[Service]] = {}
    for part in parts:
        if part.name == GATEWAY:
            raise Misdeclared(
                f"{part.cls.__name__} is called {GATEWAY!r}, as what lets the outside in; "
                f"name it otherwise: `class {part.cls.__name__}(..., name=...)`"
            )
        for name in dict.fromkeys((part.name, *(description.name for description in descriptions_of(part.cls)))):
            other = taken.setdefault(name, part.cls)
            if other is not part.cls:
                raise Misdeclared(
                    f"{other.__name__} and {part.cls.__name__} are both called {name!r}; "
                    f"name one: `class {part.cls.__name__}(..., name=...)`"
                )
