"""Who is asked, decided: of those who serve a name, one that is given calls, of the right release, near and light.

What is asked with each call is kept in tables, one for each service and release, until something changes or somebody
who is out may come back. Pure: the moment and chance come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from hanse.kernel.message import Headers
from hanse.kernel.route import Route
from hanse.mesh.balance import Draw, Pool, nearest
from hanse.mesh.directory import Directory
from hanse.mesh.instance import Instance
from hanse.mesh.rendezvous import score
from hanse.mesh.routes import ANY, Way, way_for
from hanse.mesh.standing import CALLS_MIN, FAILURES_MAX, GAP_MIN, State, is_outlier
from hanse.transport.discovery import Announcement

TABLES_MAX = 10_000
"""Tables that are kept at once; with one more, all are made anew when they are asked for."""

_Key = str | tuple[str, str]


_OUT = {
    State.LOST: "cannot be reached",
    State.SILENT: "has not answered several times in a row",
    State.OUTLIER: "fails where others do not",
}


class _Table(msgspec.Struct, frozen=True):
    """Who may be asked for a service.

    Attributes:
        near, far: Those of the own zone, and all others.
        pool: Both, where one of them is empty.
        until: The moment when somebody who is out may come back.
    """

    near: Pool
    far: Pool
    pool: Pool | None
    until: float


class Chooser:
    """Chooses among the instances of a directory, and leaves alone those that fail.

    Example:
        >>> from hanse.transport.discovery import Announcement
        >>> directory = Directory()
        >>> directory.told(Announcement("orders-1", "tcp://10.0.0.7:7421", ("orders",)), now=0.0)
        True
        >>> Chooser(directory).choose("orders", ANY, 0.0, lambda: 0.5).name
        'orders-1'
    """

    def __init__(self, directory: Directory, *, zone: str = "") -> None:
        """Begin with no routes.

        Args:
            directory: Who serves what; whoever changes it says `changed`.
            zone: Whose instances are preferred.
        """
        self.directory: Directory = directory
        self.zone: str = zone
        self.routes: Mapping[str, Route] = {}
        """By service."""
        self._tables: dict[_Key, _Table] = {}

    def changed(self) -> None:
        """Somebody came, went, or changed: look again with the next call."""
        self._tables.clear()

    def way(self, service: str, headers: Headers, draw: Draw, here: str = "") -> Way:
        """Where a call goes, as far as its route says.

        Args:
            service: What is called.
            headers: What the call carries.
            draw: Chance.
            here: The release of this process, where it serves the service itself.
        """
        route = self.routes.get(service)
        if route is None:
            return Way(headers.release) if headers.release else ANY
        offered = {one.said.release for one in self.directory.serving(service) if asked(one)}
        return way_for(route, headers, offered | {here} if here else offered, draw())

    def is_near(self, service: str, instance: Instance) -> bool:
        """Whether an instance is asked for a service before those of other zones are."""
        route = self.routes.get(service)
        return instance.said.zone == self.zone or (route is not None and route.zones == "any")

    def choose(
        self, service: str, way: Way, now: float, draw: Draw, avoided: Sequence[Instance] = ()
    ) -> Instance | None:
        """Who is asked; None where nobody can be.

        Args:
            service: What is called.
            way: What its route says.
            now: The moment.
            draw: Chance.
            avoided: Whom to ask only if there is nobody else, such as those that failed this call before.
        """
        table = self._tables.get((service, way.release) if way.release else service)
        if table is None or now >= table.until:
            table = self._look(service, way.release, now)
        if avoided:
            table = _without(table, avoided)
        pool = table.pool
        if pool is None:
            if way.key:
                return Pool((*table.near.members, *table.far.members)).of_key(way.key)
            return nearest(table.near, table.far, now, draw)
        if pool.members:
            return pool.of_key(way.key) if way.key else pool.lighter_of_two(now, draw)
        # A release is a wish, once it was chosen: what it does not have, or not at the moment, others answer.
        return self.choose(service, Way(key=way.key), now, draw, avoided) if way.release else None

    def back_at(self, service: str) -> float:
        """The moment when somebody may be asked again, where nobody could be just now; infinity where none is known."""
        table = self._tables.get(service)
        return table.until if table is not None else float("inf")

    def lost(self, instance: Instance, now: float) -> bool:
        """Its connection broke, or there is none to be had; whether all was well with it until now."""
        was_in = instance.standing.state is State.IN
        instance.standing.leave(State.LOST, now)
        self.changed()
        return was_in

    def failed(self, instance: Instance, now: float, *, silent: bool) -> bool:
        """A call to it failed; whether it is out from now on.

        Args:
            instance: Who was asked.
            now: The moment.
            silent: Whether nothing at all came back.
        """
        standing = instance.standing
        was = standing.state
        standing.failed(now, silent=silent)
        if standing.state is State.IN and self._is_suspicious(instance):
            others = [one.tally for one in self.directory.like(instance) if one.standing.state is State.IN]
            if is_outlier(instance.tally, others) and self.directory.may_leave(instance):
                standing.leave(State.OUTLIER, now)
        if standing.state is was:
            return False
        self.changed()
        return True

    @staticmethod
    def _is_suspicious(instance: Instance) -> bool:
        """Whether it is worth being compared with all others: not at each failure, as there may be many of both."""
        tally = instance.tally
        return tally.failures % FAILURES_MAX == 0 and (
            tally.row >= FAILURES_MAX or (tally.calls >= CALLS_MIN and tally.failures >= GAP_MIN * tally.calls)
        )

    def _look(self, service: str, release: str, now: float) -> _Table:
        near: list[Instance] = []
        far: list[Instance] = []
        until = float("inf")
        for instance in self.directory.serving(service):
            instance.standing.look(now)
            if instance.standing.state.out:
                until = min(until, instance.standing.until)
            if asked(instance) and (not release or instance.said.release == release):
                (near if self.is_near(service, instance) else far).append(instance)
        if len(self._tables) >= TABLES_MAX:
            self._tables.clear()
        table = self._tables[(service, release) if release else service] = _table(Pool(near), Pool(far), until)
        return table


def asked(instance: Instance) -> bool:
    """Whether an instance is given calls: it does not drain, and is not out.

    Example:
        >>> from hanse.transport.discovery import Announcement
        >>> asked(Instance(Announcement("orders-1", "", ("orders",), weight=0)))
        False
    """
    return instance.said.weight > 0 and not instance.standing.state.out


def why_out(instance: Instance) -> str:
    """Why an instance is given no calls; empty where it is.

    Example:
        >>> from hanse.transport.discovery import Announcement
        >>> why_out(Instance(Announcement("orders-1", "", ("orders",), weight=0)))
        'takes no more calls, as it drains'
    """
    if instance.said.weight <= 0:
        return "takes no more calls, as it drains"
    return _OUT.get(instance.standing.state, "")


def is_here(here: Announcement, way: Way, other: Instance | None) -> bool:
    """Whether a process that serves what is called handles it itself.

    Args:
        here: What it says of itself.
        way: What the call's route says.
        other: Who would be asked among the others.
    """
    if way.release and way.release != here.release:
        return other is None or other.said.release != way.release
    if not way.key or other is None:
        return True
    own, its = (score(way.key, one.instance, one.weight) for one in (here, other.said))
    return own > its


def _without(table: _Table, avoided: Sequence[Instance]) -> _Table:
    """A table without some; as it is, where nobody else is left."""
    near, far = table.near.without(avoided), table.far.without(avoided)
    return _table(near, far, table.until) if near.members or far.members else table


def _table(near: Pool, far: Pool, until: float) -> _Table:
    pool = None if near.members and far.members else near if near.members else far
    return _Table(near, far, pool, until)
