"""Discovery between simulated machines: each is told of all others, a moment after they come, change or go.

It knows what no real one could: who lives. So it tells of nobody's death but the dead's, cuts do not matter to it, and
what a mesh makes of what it is told is seen by itself. How gossip finds that out is tested on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from hanse.sim.chance import Draws
from hanse.sim.network import Network, Port
from hanse.sim.sockets import Sockets
from hanse.transport.discovery import Announcement

TOLD_SECONDS_MAX: Final = 0.5
"""How long it takes at most until a node is told of another."""


@final
class Member:
    """The discovery of one process; see `hanse.transport.discovery.Discovery`."""

    def __init__(self, registry: Registry, sockets: Sockets) -> None:
        """Take part in nothing yet.

        Args:
            registry: Knows the others.
            sockets: Those of the process.
        """
        self.port: Port = sockets.port
        self.here: Announcement = Announcement("", "")
        self._registry = registry
        self._told: Callable[[Announcement], None] = _nobody
        self._gone: Callable[[str], None] = _nobody
        self._last = 0.0
        sockets.losses.append(self._lost)

    async def open(
        self, here: Announcement, told: Callable[[Announcement], None], gone: Callable[[str], None], /
    ) -> None:
        """See `Discovery.open`."""
        self.here, self._told, self._gone = here, told, gone
        for other in self._registry.others(self):
            self.learn(other.here)
        self._registry.members[here.instance] = self
        self.announce(here)

    def announce(self, here: Announcement, /) -> None:
        """See `Discovery.announce`."""
        self.here = here
        for other in self._registry.others(self):
            other.learn(here)

    def suspect(self, instance: str, /) -> None:
        """See `Discovery.suspect`."""
        found = self._registry.members.get(instance)
        if found is None or not found.port.lane.alive:
            self.forget(instance)

    async def close(self) -> None:
        """See `Discovery.close`."""
        if self._registry.members.pop(self.here.instance, None) is not None:
            for other in self._registry.others(self):
                other.forget(self.here.instance)

    def learn(self, announcement: Announcement) -> None:
        """Be told of another, soon."""
        _ = self._registry.network.loop.at(self._soon(), self._told, announcement, lane=self.port.lane)

    def forget(self, instance: str) -> None:
        """Be told that another has gone, soon."""
        _ = self._registry.network.loop.at(self._soon(), self._gone, instance, lane=self.port.lane)

    def _soon(self) -> float:
        """In the order in which things became so."""
        self._last = max(self._last, self._registry.network.loop.now + self._registry.draws.draw() * TOLD_SECONDS_MAX)
        return self._last

    def _lost(self, port: Port) -> None:
        """A connection broke, maybe as the other process is no more."""
        for instance, other in list(self._registry.members.items()):
            if other.port is port and not port.lane.alive:
                self.forget(instance)


@final
class Registry:
    """All nodes of a world.

    Attributes:
        network: Has the clock.
        draws: How long it takes until somebody is told.
        members: By their instances.
    """

    def __init__(self, network: Network, seed: int) -> None:
        """Know nobody yet."""
        self.network: Network = network
        self.draws: Draws = Draws(seed, "registry")
        self.members: dict[str, Member] = {}

    def others(self, than: Member) -> list[Member]:
        """Those that live, but for one."""
        return [member for member in self.members.values() if member is not than and member.port.lane.alive]


def _nobody(_: object) -> None:
    """Is told nothing."""
