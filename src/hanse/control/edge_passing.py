"""Hosts outside of a system to which its egress passes requests on, where the settings name them."""

from __future__ import annotations

from hanse.control.edge_table import EdgeRoute, Egress, Retries, Server, Split, Table, Target

OUTSIDE = "(outside)"
"""Whom figures count it for, whatever the host: no service is called so."""

NAMED_MAX = 20
"""Services that are named to whoever asks for something else."""

_PORT_MAX = 65_535


def passage(host: str, egress: Egress) -> tuple[EdgeRoute, Target, Server] | None:
    """Where a request to a host outside is passed on to; None where it is not.

    Args:
        host: As the request names it, perhaps with a port.
        egress: What is passed on.

    Example:
        >>> route, target, server = passage("api.example:81", Egress(passing=("*.example",)))
        >>> route.service, target.service, server.host, server.port
        ('(outside)', 'api.example', 'api.example', 81)
        >>> passage("api.example", Egress(passing=("other.example",)))
    """
    name, port = _parted(host.lower())
    if not name or not port or not any(_is_meant(name, one.lower()) for one in egress.passing):
        return None
    # Whoever asks knows whether it may be asked again: here nobody knows of a second server.
    target = Target(service=name, split=Split(shares=()), retries=Retries(attempts=1))
    return EdgeRoute(service=OUTSIDE), target, Server(id=OUTSIDE, host=name, port=port)


def neighbours_of(table: Table) -> str:
    """The names by which the services of an egress are found, in words."""
    names = sorted(route.host for route in table.routes if route.path == "/")
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _parted(host: str) -> tuple[str, int]:
    """Name and port; the port is 0 where it is none."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    if not port:
        return name, 80
    return name, int(port) if port.isascii() and port.isdigit() and int(port) <= _PORT_MAX else 0


def _is_meant(name: str, pattern: str) -> bool:
    return pattern in {"*", name} or (pattern.startswith("*.") and name.endswith(pattern[1:]))
