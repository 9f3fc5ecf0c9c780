"""Routes as settings name them, by services; as calls find them, by all that these serve."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.route import Route
from hanse.kernel.settings_schema import nearest
from hanse.node.app import App, Part
from hanse.service.events import events_contract
from hanse.service.rows import rows_contract
from hanse.service.service import descriptions_of


def routes_of(app: App, routes: Mapping[str, Route]) -> dict[str, Route]:
    """Routes by what is called: a service's is also that of its contracts, and of its rows and its events.

    One for a contract, or for `rows/orders`, goes before that of its service.

    Args:
        app: Whose services they are.
        routes: By names of settings.

    Raises:
        Misconfigured: The app serves nothing of such a name.
    """
    routes = {name: _named(name, route) for name, route in routes.items()}
    served = {part.name: names_of(app, part) for part in app.parts}
    known = {*served, *(name for names in served.values() for name in names)}
    for name, route in routes.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(sorted(served))}"
            raise Misconfigured(f"{route.source}: the app {app.name!r} has no service {name!r}; {hint}")
    of_services = {name: routes[service] for service, names in served.items() if service in routes for name in names}
    return of_services | {name: route for name, route in routes.items() if name not in served}


def routes_with(app: App, routes: Mapping[str, Route], kept: Mapping[str, Route]) -> dict[str, Route]:
    """Routes by what is called, of those of the settings and those that are kept as rows, which go before.

    What is kept for services that the app does not have is none of its business.

    Args:
        app: Whose services they are.
        routes: Those of the settings, by names of settings.
        kept: Those that are kept, by names of services.
    """
    names = {part.name for part in app.parts}
    ours = {name: msgspec.structs.replace(route, source="kept") for name, route in kept.items() if name in names}
    return routes_of(app, {**routes, **ours})


def _named(name: str, route: Route) -> Route:
    """With the key in its source, so that whoever is told of it finds it."""
    return msgspec.structs.replace(route, source=f"routes.{name}" + (f" ({route.source})" if route.source else ""))


def names_of(app: App, part: Part) -> list[str]:
    """All names under which a service of an app is called: its own, and those of its contracts, rows and events."""
    owned = [kind for kind, owner in app.owners.items() if owner is part]
    return [
        *(description.name for description in descriptions_of(part.cls)),
        *(rows_contract(kind).name for kind in owned),
        events_contract(part.name).name,
    ]
