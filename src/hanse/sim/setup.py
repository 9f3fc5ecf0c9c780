"""What a world consists of: an app, and which machine hosts what of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.service.saga_method import pinned_in
from hanse.service.service import Service, reactions_of
from hanse.sim.environment import settings_under
from hanse.sim.transport import SimMedium
from hanse.sim.twin import Making

CLIENT = "client"
"""The machine of the story: it lasts as long as the world."""

STORE = "sqlite:///{service}.db?synchronous=full"
"""Where services keep their rows, unless the settings say otherwise."""


Where = type | str
"""A service, or a contract that it provides, which stands for its machine; or the name of a machine."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a world consists of.

    Attributes:
        app: The services.
        machines: Which services each machine hosts, by its name; by default each service has one of its own. A service
            that keeps no rows, and reacts to nothing, may be on several, which share its calls.
        settings: As for a node, the same on each machine; the store is a SQLite file that flushes each commit, unless
            they say otherwise.
        environment: Variables of each machine's own, by its name: `{"orders": {"HANSE_NODE__CALLS_MAX": "5"}}`. They
            are read as those of a real process, over `settings`; the environment of this process is not.
        upgrade: The version of the app that takes the place of the first where a plan replaces processes.
        door: Name of the machine through whose gateway the outside comes in; by default the first.
        transport: What carries messages between nodes: the URL of a real transport that a world can have, such as
            `tcp://` or `nats://`, or what makes another, once for each world; see `hanse.sim.twin`.
        dead_letters: Whether messages may be parked: without it, one that nobody could handle is a violation.
    """

    app: App
    machines: Mapping[str, Iterable[type[Service]]] | None = None
    settings: Settings = Settings(node=NodeSettings(store=STORE))
    environment: Mapping[str, Mapping[str, str]] = {}
    upgrade: App | None = None
    dead_letters: bool = False
    door: str = ""
    transport: Making | str = SimMedium


def placed(setup: Setup) -> dict[str, tuple[str, ...]]:
    """The names of the services of each machine.

    Raises:
        Misconfigured: A service has no machine, or more than it can be on; a machine hosts nothing, or what the app
            does not have; there is no machine of the door's name, or of one that has an environment; or a variable
            cannot be used.

    Example:
        >>> class Orders(Service): ...
        >>> class Mailer(Service): ...
        >>> placed(Setup(app=App("shop", Orders, Mailer)))
        {'orders': ('orders',), 'mailer': ('mailer',)}
        >>> placed(Setup(app=App("shop", Orders, Mailer), machines={"one": [Orders, Mailer]}))
        {'one': ('orders', 'mailer')}
    """
    names: dict[type[Any], str] = {part.cls: part.name for part in setup.app.parts}
    if setup.machines is not None:
        machines = _chosen(setup, names, setup.machines)
    else:
        machines = {name: (name,) for name in names.values()}
    if CLIENT in machines:
        raise Misconfigured(
            f"the machine of the story is named {CLIENT!r}; choose another name, in Setup(machines=...)"
        )
    if setup.door and setup.door not in machines:
        raise Misconfigured(f"expected Setup(door=...) to be one of {', '.join(machines)}; got {setup.door!r}")
    for machine, variables in setup.environment.items():
        if machine not in machines:
            raise Misconfigured(f"Setup(environment=...) has {machine!r}; expected names of {', '.join(machines)}")
        _ = settings_under(setup.settings, variables, machine)
    return machines


def _chosen(
    setup: Setup, names: dict[type[Any], str], machines: Mapping[str, Iterable[type[Service]]]
) -> dict[str, tuple[str, ...]]:
    wanted = {machine: tuple(services) for machine, services in machines.items()}
    hosted = [service for services in wanted.values() for service in services]
    strange = [service.__name__ for service in hosted if service not in names]
    if strange:
        there = ", ".join(one.__name__ for one in names)
        raise Misconfigured(f"the app {setup.app.name!r} has no service {', '.join(strange)}; it has {there}")
    missing = [name for service, name in names.items() if service not in hosted]
    if missing:
        raise Misconfigured(f"no machine hosts {', '.join(missing)}; each service has to be on one")
    if idle := [machine for machine, services in wanted.items() if not services]:
        raise Misconfigured(f"the machine {idle[0]!r} hosts no service; leave it out")
    for service, name in names.items():
        places = [machine for machine, services in wanted.items() for one in services if one is service]
        if len(places) > 1 and (why := _alone(setup.app, service, places)):
            raise Misconfigured(f"{name} is on {' and '.join(places)}, but {why}")
    return {machine: tuple(names[service] for service in services) for machine, services in wanted.items()}


def _alone(app: App, service: type[Service], places: list[str]) -> str:
    """Why a service can be on one machine only; empty where it can be on several."""
    if len({*places}) < len(places):
        return "a machine hosts a service once"
    owned = [kind.__name__ for kind, part in app.owners.items() if part.cls is service]
    if owned:
        return f"it keeps rows ({', '.join(owned)}), and each machine would have rows of its own"
    if reactions := reactions_of(service):
        return f"it reacts ({', '.join(reactions)}), and each machine would do that for itself"
    if sagas := pinned_in(service):
        return f"it has sagas ({', '.join(one.name for one in sagas)}), and each machine would keep those that it began"
    return ""
