"""What the edge shows of what runs: the routes of the settings, and who serves at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from hanse.control.desired import GATEWAY, GRPC_HEALTH, Desired
from hanse.control.edge_table import EdgeRoute, Pool, Server, Table, Target
from hanse.control.instances import Serving
from hanse.control.released import Overlay, mirror_of, overlaid, split_of
from hanse.kernel.settings import ServiceSettings, Settings

COOKIE = "hanse-instance-"
"""Begins the name of the cookie by which a visitor stays with one instance."""


def table_of(
    settings: Settings,
    desired: Mapping[str, Desired],
    overlays: Mapping[str, Overlay],
    serving: Iterable[Serving],
    revision: int,
) -> Table:
    """What the edge is to show.

    Args:
        settings: Which services have routes.
        desired: What should run: what is gone for good has no route.
        overlays: What releases want of them.
        serving: Who serves now.
        revision: Of the table.

    Example:
        >>> settings = Settings(services={"web": ServiceSettings(command="serve", route="/shop")})
        >>> from hanse.control.desired import Command
        >>> web = Desired("web", Command(("serve",)))
        >>> table = table_of(settings, {"web": web}, {}, [Serving("web-1", "web", "base", 80)], 1)
        >>> table.routes[0].path, table.pools[0].servers[0].id
        ('/shop', 'web-1')
    """
    return table_for(tuple(routes_of(settings, desired)), settings, desired, overlays, serving, revision)


def table_for(
    routes: Sequence[EdgeRoute],
    settings: Settings,
    desired: Mapping[str, Desired],
    overlays: Mapping[str, Overlay],
    serving: Iterable[Serving],
    revision: int,
) -> Table:
    """What shows these routes; see `table_of`."""
    there = list(serving)
    shown = {name: overlays.get(name, Overlay()) for name in dict.fromkeys(route.service for route in routes)}
    return Table(
        revision=revision,
        routes=tuple(routes),
        targets=tuple(
            Target(service=name, split=split_of(overlay), mirror=mirror_of(overlay), protocol=_protocol(settings, name))
            for name, overlay in shown.items()
        ),
        pools=tuple(
            _pool(one, settings.services.get(one.service, ServiceSettings()), there)
            for one in overlaid({name: desired[name] for name in shown}, shown).values()
        ),
    )


def routes_of(settings: Settings, desired: Mapping[str, Desired]) -> Iterator[EdgeRoute]:
    """Who is reached from outside: whoever has a route or a host, and the app's gateway where nobody else has all."""
    for name in desired:
        service = settings.services.get(name, ServiceSettings())
        if service.route or service.host or (name == GATEWAY and desired[name].own):
            path = "/" + service.route.strip("/")
            yield EdgeRoute(service=name, host=service.host, path=path, strip_prefix=service.strip_prefix)


def needs_http2(settings: Settings, desired: Mapping[str, Desired]) -> str:
    """The first service with a route to which an edge has to speak HTTP/2; empty where none needs that.

    Args:
        settings: What services speak.
        desired: What should run.

    Example:
        >>> settings = Settings(services={"stock": ServiceSettings(command="serve", route="/", protocol="h2c")})
        >>> from hanse.control.desired import Command
        >>> needs_http2(settings, {"stock": Desired("stock", Command(("serve",)))})
        'stock'
    """
    routed = (route.service for route in routes_of(settings, desired))
    return next((name for name in routed if _protocol(settings, name) == "h2c"), "")


def _protocol(settings: Settings, name: str) -> Literal["http", "h2c"]:
    return "h2c" if settings.services.get(name, ServiceSettings()).protocol == "h2c" else "http"


def _pool(one: Desired, service: ServiceSettings, serving: Sequence[Serving]) -> Pool:
    return Pool(
        service=one.service,
        release=one.release,
        servers=tuple(
            Server(
                id=each.instance,
                port=each.port,
                weight=each.weight,
                state="draining" if each.draining else "up",
            )
            for each in serving
            if (each.service, each.release) == one.key
        ),
        balance=service.balance,
        sticky=f"{COOKIE}{one.service}" if service.sticky else "",
        # Only that connections are taken can be asked of a server that speaks no HTTP/1.1.
        health="" if one.probe.path == GRPC_HEALTH else one.probe.path,
    )
