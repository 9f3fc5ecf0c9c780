"""Where a request goes, by the table in force: to which service, which release of it, and which server."""

from __future__ import annotations

import msgspec

from hanse.control.edge_choice import Asking, Released
from hanse.control.edge_passing import OUTSIDE, neighbours_of, passage
from hanse.control.edge_table import EdgeRoute, Target
from hanse.deploy.edge.builtin.edge import Edge, Pick
from hanse.deploy.edge.builtin.heads import Line
from hanse.deploy.edge.faults import NotANeighbour, NotForwarded, NotRouted
from hanse.kernel.faults import Fault, Unavailable


class Nowhere(msgspec.Struct, frozen=True):
    """Nobody takes a request.

    Attributes:
        fault: What is answered.
        route: What it asked for; None where that is nothing of this system.
        release: The one that was to answer.
    """

    fault: Fault
    route: EdgeRoute | None = None
    release: str = ""


class Destination(msgspec.Struct, frozen=True):
    """Who takes it.

    Attributes:
        route: What it asked for.
        target: The service.
        pick: The server.
        cookie: What has its visitor stay with the release; empty for nothing.
    """

    route: EdgeRoute
    target: Target
    pick: Pick
    cookie: str = ""

    @property
    def is_outside(self) -> bool:
        """Whether it leaves the system."""
        return self.route.service == OUTSIDE

    @property
    def told_release(self) -> str:
        """The release that a request tree is to stay with; empty where there is no other."""
        return self.pick.release if len(self.target.split.shares) > 1 else ""


def destination(edge: Edge, line: Line, asking: Asking, avoided: set[str]) -> Destination | Nowhere:
    """Where a request goes.

    Args:
        edge: Whose table is asked, and who is left alone there.
        line: What is asked for.
        asking: Who asks.
        avoided: Ids of servers at which it failed already.
    """
    choices = edge.choices
    route = choices.route(line.host, line.path)
    if choices.table.egress is not None and line.scheme == "https":
        # To ask it in plain would tell everybody on the way what was meant to be secret.
        return Nowhere(NotForwarded("https:// in plain; let no HTTPS_PROXY name it"), route)
    if route is None:
        return _elsewhere(edge, line)
    target = choices.targets[route.service]
    released: Released = choices.release(target, asking, edge.host.chance.random)
    pick = edge.pick(target, asking, released, avoided)
    if pick is None:
        nobody = Unavailable(f"no server of {target.service} takes requests; try again in a moment")
        return Nowhere(nobody, route, released.release)
    return Destination(route, target, pick, released.cookie)


def _elsewhere(edge: Edge, line: Line) -> Destination | Nowhere:
    """No service is asked for; perhaps a host outside is, to which requests are passed on."""
    table = edge.choices.table
    if table.egress is None or not line.scheme:
        return Nowhere(NotRouted(line.path[:200]) if table.routes else Unavailable("nothing runs yet"))
    if passed := passage(line.host, table.egress):
        route, target, server = passed
        return Destination(route, target, Pick(server, ""))
    return Nowhere(NotANeighbour(line.host[:200], neighbours_of(table) or "none yet"))
