"""What any door of a node has: who asks how the node is gets an answer, and every request meets the same manners."""

from __future__ import annotations

from collections.abc import Callable

from hanse.gateway.cors import Cors
from hanse.gateway.forwarded import Proxies
from hanse.gateway.front_door import Check
from hanse.gateway.health import Health
from hanse.gateway.hosts import Hosts
from hanse.gateway.ledgers import Ledgers
from hanse.gateway.manners import Manners
from hanse.gateway.nodes import Nodes
from hanse.gateway.rates import Meters
from hanse.gateway.routing import Routing
from hanse.node.node import Node


def checks_of(
    node: Node, metrics: Check, *, taken: Callable[[tuple[str, ...]], bool] = lambda _: False
) -> dict[str, Check]:
    """What answers who asks how a node is, by path.

    Args:
        node: Who is asked about.
        metrics: What tells its figures.
        taken: Whether a path, in parts, is answered otherwise; that wins over all but health.
    """
    health = Health(node)
    checks: dict[str, Check] = {"/livez": health.live, "/readyz": health.ready, "/startupz": health.started}
    if node.settings.gateway.metrics == "off":
        return checks
    figures: dict[str, Check] = {"metrics": metrics, "routez": Routing(node), "nodez": Nodes(node)}
    figures["ledgerz"] = Ledgers(node)
    return checks | {f"/{name}": check for name, check in figures.items() if not taken((name,))}


def manners_of(node: Node, meters: Meters | None = None, cors: Cors | None = None) -> Manners:
    """What every request to a node meets first, as its settings want it."""
    settings = node.settings.gateway
    proxies = Proxies(settings.trusted_proxies, settings.proxy_headers) if settings.trusted_proxies else None
    hosts = Hosts(settings.hosts) if settings.hosts else None
    forcing = Proxies(settings.forcing, setting="gateway.forcing") if settings.forcing else None
    return Manners(proxies, cors, meters, node.host.monotonic, hosts=hosts, forcing=forcing)
