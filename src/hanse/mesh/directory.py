"""Who serves what: the instances that discovery told of, by the names that they serve. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hanse.mesh.instance import Instance
from hanse.mesh.standing import State, may_leave
from hanse.transport.discovery import Announcement

INSTANCES_MAX = 10_000
"""Instances that are known at once; more are not listened to."""

NAMES_MAX = 100_000
"""Names that were served once and are remembered, to tell what is away from what never was."""

NAMES_OF_ONE_MAX = 10_000
"""Names that one instance may serve; of more, the first ones count."""


class Directory:
    """The instances of one app, but for this one.

    Example:
        >>> directory = Directory("shop")
        >>> directory.told(Announcement("orders-1", "tcp://10.0.0.7:7421", ("orders",), "shop"), now=0.0)
        True
        >>> [instance.name for instance in directory.serving("orders")]
        ['orders-1']
        >>> directory.gone("orders-1"), directory.serving("orders"), directory.knows("orders")
        (True, [], True)
    """

    def __init__(self, app: str = "", here: str = "") -> None:
        """Know of nobody.

        Args:
            app: Name of the app: instances of others are not listened to.
            here: Name of this instance, which is not listened to either.
        """
        self._app = app
        self._here = here
        self._instances: dict[str, Instance] = {}
        self._serving: dict[str, dict[str, Instance]] = {}
        self._names: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._instances)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._instances.values())

    @property
    def names(self) -> list[str]:
        """What is served by somebody."""
        return sorted(self._serving)

    def serving(self, name: str) -> list[Instance]:
        """Who serves a name, whether they are given calls or not."""
        return list(self._serving.get(name, {}).values())

    def knows(self, name: str) -> bool:
        """Whether somebody serves a name, or did."""
        return name in self._names

    def at(self, address: str) -> list[Instance]:
        """Who can be reached at an address: two, where one process follows another and nobody has noticed yet."""
        return [instance for instance in self._instances.values() if instance.address == address]

    def told(self, said: Announcement, now: float) -> bool:
        """An instance says something of itself; whether that is news.

        The same once more is news only of one that was lost: it lives. What is older than what is known is no news.
        """
        if said.app != self._app or said.instance == self._here:
            return False
        known = self._instances.get(said.instance)
        if known is None:
            if len(self._instances) >= INSTANCES_MAX:
                return False
            known = self._instances[said.instance] = Instance(said, latency=self._usual_latency(said, now))
            self._list(known)
            return True
        if said.version < known.said.version:
            return False
        lost = known.standing.state is State.LOST
        known.standing.found(now)
        if said == known.said:
            return lost
        self._unlist(known)
        known.told(said)
        self._list(known)
        return True

    def gone(self, instance: str) -> bool:
        """An instance has gone; whether it was known."""
        known = self._instances.pop(instance, None)
        if known is None:
            return False
        self._unlist(known)
        return True

    def may_leave(self, instance: Instance) -> bool:
        """Whether it may be out as an outlier: see `hanse.mesh.standing`."""
        groups = [self._serving.get(name, {}) for name in _names_of(instance)]
        states = [{name: one.standing.state for name, one in group.items()} for group in groups]
        return may_leave(instance.name, states)

    def like(self, instance: Instance) -> list[Instance]:
        """The others that serve something that it serves."""
        found = {one.name: one for name in _names_of(instance) for one in self._serving.get(name, {}).values()}
        _ = found.pop(instance.name, None)
        return list(found.values())

    def _usual_latency(self, said: Announcement, now: float) -> float:
        latencies = sorted(one.latency_at(now) for name in said.names for one in self._serving.get(name, {}).values())
        return latencies[len(latencies) // 2] if latencies else 0.0

    def _list(self, instance: Instance) -> None:
        for name in _names_of(instance):
            self._serving.setdefault(name, {})[instance.name] = instance
            if len(self._names) < NAMES_MAX:
                self._names[name] = None

    def _unlist(self, instance: Instance) -> None:
        for name in _names_of(instance):
            serving = self._serving.get(name, {})
            _ = serving.pop(instance.name, None)
            if not serving:
                _ = self._serving.pop(name, None)


def _names_of(instance: Instance) -> tuple[str, ...]:
    return instance.said.names[:NAMES_OF_ONE_MAX]
