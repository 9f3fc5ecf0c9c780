"""How the programs of a system find each other: the egress, an edge for those inside, and what tells them of it.

Whoever serves HTTP is behind it by its name: as a host, for programs that go by `HTTP_PROXY`, and as the first part of
a path, for those that are told a URL. Instances, releases and their shares are those of the edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from hanse.control.desired import Desired
from hanse.control.edge_shown import table_for
from hanse.control.edge_table import EdgeRoute, Egress, Table
from hanse.control.instances import Serving
from hanse.control.released import Overlay
from hanse.kernel.settings import ServiceSettings, Settings

ADDRESS = "127.0.0.1"
"""Where the egress listens: only for this machine."""

DIRECT = ("localhost", ADDRESS, "::1")
"""What is asked straight by whoever goes by a proxy: the machine itself."""

INSIDE = ("127.0.0.0/8", "::1/128")
"""Who is believed about whom they ask for: those inside hand on what they were told themselves."""


def inner_table(
    settings: Settings,
    desired: Mapping[str, Desired],
    overlays: Mapping[str, Overlay],
    serving: Iterable[Serving],
    revision: int,
) -> Table:
    """What the egress is to show; see `hanse.control.edge_shown.table_of`.

    Example:
        >>> from hanse.control.desired import Command
        >>> mail = Desired("mail", Command(("serve",)))
        >>> [(route.host, route.path) for route in inner_table(Settings(), {"mail": mail}, {}, [], 1).routes]
        [('mail', '/'), ('127.0.0.1', '/mail')]
    """
    table = table_for(tuple(_routes(settings, desired)), settings, desired, overlays, serving, revision)
    return replace(table, egress=Egress(passing=settings.edge.egress_hosts), proxies=INSIDE)


def is_wanted(settings: Settings, desired: Mapping[str, Desired]) -> bool:
    """Whether there is anybody for whom an egress does something: neighbours, or whoever wishes for a proxy."""
    names = list(_served(settings, desired))
    wished = any(goes_by_proxy(settings, name) for name in desired)
    return bool(names) and (wished or (len(desired) > 1 and settings.edge.engine != "none"))


def goes_by_proxy(settings: Settings, name: str) -> bool:
    """Whether a service is told the egress as its proxy."""
    own = settings.services.get(name, ServiceSettings()).egress
    return settings.edge.egress if own is None else own


def variable_of(name: str) -> str:
    """The variable by which a service is found.

    Example:
        >>> variable_of("town-hall")
        'HANSE_URL_TOWN_HALL'
    """
    return f"HANSE_URL_{name.upper().replace('-', '_')}"


def url_of(name: str, settings: Settings, desired: Mapping[str, Desired], egress: str, straight: str) -> str:
    """Where neighbours find a service: through the egress, or straight where it speaks no HTTP.

    Args:
        name: Of the service.
        settings: What it speaks.
        desired: What should run.
        egress: URL of the egress; empty where there is none.
        straight: URL of its first instance.
    """
    return f"{egress}/{name}" if egress and name in _served(settings, desired) else straight


def proxy_variables(egress: str, given: Mapping[str, str]) -> dict[str, str]:
    """What has a program ask the egress, whatever library it asks with.

    Nothing is said of HTTPS: what is encrypted goes where it went before.

    Args:
        egress: URL of the egress.
        given: Variables that all have: who is asked straight there still is.

    Example:
        >>> proxy_variables("http://127.0.0.1:4711", {"NO_PROXY": "db.example"})["no_proxy"]
        'db.example,localhost,127.0.0.1,::1'
    """
    before = given.get("no_proxy") or given.get("NO_PROXY") or ""
    direct = ",".join(dict.fromkeys([*filter(None, before.split(",")), *DIRECT]))
    return {"HTTP_PROXY": egress, "http_proxy": egress, "NO_PROXY": direct, "no_proxy": direct}


def _served(settings: Settings, desired: Mapping[str, Desired]) -> Iterator[str]:
    """Names of those who answer HTTP."""
    for name, one in desired.items():
        protocol = settings.services.get(name, ServiceSettings()).protocol
        if name not in settings.resources and not one.is_job and protocol == "http":
            yield name


def _routes(settings: Settings, desired: Mapping[str, Desired]) -> Iterator[EdgeRoute]:
    hosts = set[str]()
    for name in _served(settings, desired):
        # Hosts are the same in capital letters: of two such names, the first is found by it.
        if name.lower() not in hosts:
            hosts.add(name.lower())
            yield EdgeRoute(service=name, host=name)
        yield EdgeRoute(service=name, host=ADDRESS, path=f"/{name}", strip_prefix=True)
