"""The seam at which a world gets its transport: what it needs of a twin.

A *medium* carries the messages of one world, and is made anew for each. Every process that takes part in it, those of
machines, the story's and those of observers, has a *twin* there: the end that its node takes for its transport. What
lies between the twins is the medium's own: nothing, or *appliances*, such as a broker, which can be broken as well.
Whatever they say to each other goes over the world's network, as packets from port to port, and takes its chances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, final

from hanse.kernel.settings import NodeSettings
from hanse.sim.lane import Lane
from hanse.sim.network import End, Network, Port
from hanse.sim.trace import Trace
from hanse.transport.base import Transport


class Twin(Transport, Protocol):
    """The twin of a transport, in one process: it keeps all that a `Transport` promises.

    Handlers run on the lane of its process. Observers see what `Network.heard` is told, by whoever in the medium knows
    it first: of each request, as soon as it is clear which machine is to handle it; of each answer, and each item of a
    stream, as it leaves the machine that handled the request. Both name the machines at the two ends, and no broker.
    """

    @property
    def port(self) -> Port:
        """Where it sends and receives; it dies with its process."""
        ...

    def serving(self, more_than: int = 0) -> int:
        """How many requests are being handled: begun, and waiting for something. Streams are not counted.

        Args:
            more_than: Where there cannot be more than that, they need not be counted, and 0 is returned.
        """
        ...


class Medium(Protocol):
    """Carries the messages of one world."""

    @property
    def appliances(self) -> Mapping[str, Appliance]:
        """The machines of its own, by name; empty where messages go straight from twin to twin."""
        ...

    @property
    def idle(self) -> bool:
        """Whether it holds nothing that is still to be delivered; packets under way are the network's to count."""
        ...

    def join(self, lane: Lane, settings: NodeSettings, /) -> Twin:
        """Have a process take part.

        Args:
            lane: The process.
            settings: How it hosts: what others are told of it, such as its release, is in them.
        """
        ...

    def forget(self, service: str, /) -> None:
        """Nobody serves a service any more: a fake is about to."""
        ...


class Making(Protocol):
    """Makes the medium of a world; what `Setup.transport` holds."""

    def __call__(self, network: Network, trace: Trace, seed: int, /) -> Medium:
        """Make one.

        Args:
            network: Carries its packets.
            trace: What happened.
            seed: Decides all that it leaves to chance; see `hanse.sim.chance.Draws`.
        """
        ...


class Serving(End, Protocol):
    """What runs in one life of an appliance; all that it holds in memory goes with it."""

    @property
    def port(self) -> Port:
        """Where it sends and receives."""
        ...


@final
class Appliance:
    """A machine that hosts no service, such as a broker's: one process after the other, each of which begins anew.

    Stories break it by its name, as any machine, and a world that heals has it up again.

    Attributes:
        name: Of the machine.
        process: What runs; None while it is down.
        lives: How many processes there were.
        dead: The processes that there were, as the loop knows them.
        died_at: When the last process ended; 0 before.
        went_dark: Whether the power went with it.
    """

    def __init__(self, name: str, begin: Callable[[Lane], Serving], network: Network, trace: Trace) -> None:
        """Describe one; `start` brings it up.

        Args:
            name: Of the machine.
            begin: Makes what runs in each life of it, on its lane.
            network: Where its ports are.
            trace: What happened.
        """
        self.name: str = name
        self.process: Serving | None = None
        self.lives: int = 0
        self.dead: list[Lane] = []
        self.died_at: float = 0.0
        self.went_dark: bool = False
        self._begin = begin
        self._network = network
        self._trace = trace

    @property
    def state(self) -> str:
        """What it does."""
        return "down" if self.process is None else "up"

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.process is not None

    def start(self) -> None:
        """Start a process, unless there is one."""
        if self.process is None:
            loop = self._network.loop
            self.lives += 1
            self._trace.add(loop.now, self.name, "start", f"{self.lives}")
            self.process = self._begin(Lane(loop, self.name, offset=100.0 * self.lives))
            self._network.join(self.process.port)

    def kill(self, *, dark: bool = False) -> None:
        """End the process as by `kill -9`; where it goes `dark`, the power goes too."""
        if self.process is not None:
            port, self.process = self.process.port, None
            self._trace.add(self._network.loop.now, self.name, "dark" if dark else "kill")
            self.died_at, self.went_dark = self._network.loop.now, dark
            port.lane.kill()
            self.dead.append(port.lane)
            self._network.died(port, dark=dark)

    def pause(self, seconds: float) -> None:
        """Have the process stand still."""
        if self.process is not None:
            self._trace.add(self._network.loop.now, self.name, "pause", f"{seconds:.3f}")
            self.process.port.lane.pause(seconds)
