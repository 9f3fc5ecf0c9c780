"""The network between simulated machines: what it delays, loses, repeats and cuts.

Each direction between two machines is a link with a stream of draws of its own, and every packet takes the same number
of draws whatever is wrong with its link: so taking one incident out of a plan leaves all other packets as they were.
Packets are bytes; nothing else crosses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, final

from hanse.kernel.message import Message
from hanse.sim.chance import Draws
from hanse.sim.loop import Lane, Loop
from hanse.sim.plan import Delay, Loss, Repeat
from hanse.sim.trace import Trace

KEEPALIVE_SECONDS = 5.0
"""How long a connection may be silent through a cut, or with a machine that is dark, until its ends give it up."""

RESEND_SECONDS = 0.2
"""How much later what was lost of a connection arrives, or is tried again."""

NOTICE_SECONDS_MAX = 2.0
"""How long it takes at most until nobody is sent to a process that was killed."""


class End(Protocol):
    """Whoever sends and receives at a port: the twin of a transport."""

    def lost(self, port: Port, /) -> None:
        """Another port is no more, or cannot be reached any more."""
        ...


@final
class Port:
    """One life of a machine, on the network.

    Attributes:
        lane: Its process.
        end: Who sends and receives here.
        open: Whether it takes packets.
    """

    __slots__ = ("end", "lane", "name", "open")

    def __init__(self, lane: Lane, end: End) -> None:
        self.name: str = lane.name
        self.lane: Lane = lane
        self.end: End = end
        self.open: bool = True

    @property
    def alive(self) -> bool:
        """Whether it can send and receive."""
        return self.open and self.lane.alive


@final
class Link:
    """One direction between two machines.

    Attributes:
        cuts: How many incidents cut it.
        loss, repeat: Shares of packets.
        delay: Extra seconds at most.
        reorder: Whether packets may overtake each other.
        silent_since: When it was cut.
    """

    __slots__ = (
        "_spoilt",
        "cuts",
        "delay",
        "draws",
        "last",
        "loss",
        "peer",
        "reorder",
        "repeat",
        "silent_since",
        "source",
    )

    def __init__(self, seed: int, source: str, peer: str) -> None:
        self.source: str = source
        self.peer: str = peer
        self.draws: Draws = Draws(seed, "link", source, peer)
        self.cuts: int = 0
        self.loss: float = 0.0
        self.repeat: float = 0.0
        self.delay: float = 0.0
        self.reorder: bool = False
        self.last: float = 0.0
        self.silent_since: float = 0.0
        self._spoilt = (0.0, 0.0)

    def spoil(self, loss: float, delay: float) -> None:
        """Lose a share of packets, and delay them up to some seconds, until told otherwise; besides all incidents."""
        self.loss += loss - self._spoilt[0]
        self.delay += delay - self._spoilt[1]
        self._spoilt = (loss, delay)

    def disturb(self, incident: Delay | Loss | Repeat, sign: int) -> None:
        """Make it worse (1) or take that back (-1)."""
        match incident:
            case Delay():
                self.delay += sign * incident.most
                self.reorder = incident.reorder and sign > 0
            case Loss():
                self.loss += sign * incident.share
            case Repeat():
                self.repeat += sign * incident.share


Arrive = Callable[[bytes], None]
Heard = Callable[[str, str, Message, Message | None], None]


@final
class Network:
    """Carries packets between ports.

    Attributes:
        latency_low, latency_high: Seconds that a packet takes without any trouble.
        loss, repeat: Shares of packets, without any trouble.
        sent: Packets so far.
        under_way: Packets that have not arrived.
        heard: Told of each message that leaves a port alive, and of what it answers; None where nobody listens.
    """

    def __init__(self, loop: Loop, trace: Trace, seed: int) -> None:
        self.loop: Loop = loop
        self.latency_low: float = 0.0005
        self.latency_high: float = 0.002
        self.loss: float = 0.0
        self.repeat: float = 0.0
        self.sent: int = 0
        self.under_way: int = 0
        self.heard: Heard | None = None
        self._trace = trace
        self._seed = seed
        self._links: dict[tuple[str, str], Link] = {}
        self._ports: dict[str, list[Port]] = {}
        self._all: list[Port] = []
        self._choices = Draws(seed, "balance")

    def link(self, source: str, peer: str) -> Link:
        """The direction from one machine to another."""
        link = self._links.get((source, peer))
        if link is None:
            link = self._links[source, peer] = Link(self._seed, source, peer)
        return link

    def links_of(self, machine: str, machines: Iterable[str]) -> list[Link]:
        """All directions to and from a machine."""
        others = [other for other in machines if other != machine]
        return [link for other in others for link in (self.link(machine, other), self.link(other, machine))]

    def cut(self, links: Iterable[Link]) -> None:
        """Let nothing through any more; connections that stay silent for too long break."""
        for link in links:
            if not link.cuts:
                link.silent_since = self.loop.now
                _ = self.loop.at(self.loop.now + KEEPALIVE_SECONDS, self._give_up, link)
            link.cuts += 1

    def mend(self, links: Iterable[Link]) -> None:
        """Take back one `cut`."""
        for link in links:
            link.cuts -= 1

    # Who serves what.

    def join(self, port: Port) -> None:
        """A machine comes to life."""
        self._all.append(port)

    def listen(self, service: str, port: Port) -> None:
        """A port serves a service from now on."""
        ports = self._ports.setdefault(service, [])
        if port not in ports:
            ports.append(port)

    def leave(self, service: str, port: Port) -> None:
        """It serves it no more."""
        ports = self._ports.get(service, [])
        if port in ports:
            ports.remove(port)

    @property
    def services(self) -> list[str]:
        """What anybody has served so far."""
        return list(self._ports)

    def choose(self, service: str) -> Port | None:
        """Somebody who serves it, as far as is known; None where nobody does."""
        ports = self._ports.get(service)
        if not ports:
            return None
        return ports[int(self._choices.draw() * len(ports))] if len(ports) > 1 else ports[0]

    def died(self, port: Port, *, dark: bool) -> None:
        """A process was killed, or its machine went dark: the others notice, the one sooner, the other later."""
        if port in self._all:
            self._all.remove(port)
        if dark:
            after = KEEPALIVE_SECONDS * (0.5 + self._choices.draw() / 2)
            _ = self.loop.at(self.loop.now + after, self._forget, port)
            for other in self._all:
                _ = self.loop.at(self.loop.now + KEEPALIVE_SECONDS, other.end.lost, port)
            return
        _ = self.loop.at(self.loop.now + NOTICE_SECONDS_MAX * self._choices.draw(), self._forget, port)
        for other in self._all:
            # The system that it ran on still says for it that the connection is gone, where that gets through.
            link = self.link(port.name, other.name)
            after = KEEPALIVE_SECONDS if link.cuts else link.draws.between(self.latency_low, self.latency_high)
            _ = self.loop.at(self.loop.now + after, other.end.lost, port)

    def left(self, port: Port) -> None:
        """A process has said goodbye."""
        if port in self._all:
            self._all.remove(port)
        self._forget(port)

    def forget(self, service: str) -> None:
        """Nobody serves a service any more."""
        self._ports[service] = []

    def _forget(self, port: Port) -> None:
        for ports in self._ports.values():
            if port in ports:
                ports.remove(port)

    def _give_up(self, link: Link) -> None:
        """A cut has lasted: both ends take their connections for broken."""
        if not link.cuts or self.loop.now - link.silent_since < KEEPALIVE_SECONDS:
            return
        ends = [port for port in self._all if port.name in (link.source, link.peer)]
        for one in ends:
            for other in ends:
                if one.name != other.name:
                    one.end.lost(other)

    # What moves.

    def send(
        self, source: Port, target: Port, what: str, body: bytes, arrive: Arrive, *, repeats: bool = False
    ) -> None:
        """Send a packet that may get lost, and may arrive twice where `repeats`."""
        if not source.alive:
            return
        self.sent += 1
        link, now = self.link(source.name, target.name), self.loop.now
        lost, late, again = link.draws.draw(), link.draws.draw(), link.draws.draw()
        self._trace.add(now, source.name, "send", what, body, target.name)
        if link.cuts or lost < self.loss + link.loss:
            self._trace.add(now, target.name, "lose", what, peer=source.name)
            return
        self._deliver(link, target, what, body, arrive, late)
        if repeats and again < self.repeat + link.repeat:
            self._deliver(link, target, what, body, arrive, 1.0 + 50.0 * late)

    def carry(self, source: Port, target: Port, what: str, body: bytes, arrive: Arrive) -> None:
        """Send a packet of a connection: in order, and again until it arrives; the connection breaks if it cannot."""
        if not source.alive:
            return
        self.sent += 1
        self._trace.add(self.loop.now, source.name, "send", what, body, target.name)
        self._carry(source, target, what, body, arrive)

    def _carry(self, source: Port, target: Port, what: str, body: bytes, arrive: Arrive) -> None:
        link, now = self.link(source.name, target.name), self.loop.now
        lost, late = link.draws.draw(), link.draws.draw()
        if link.cuts:
            # Held back until the cut is over, or both ends give the connection up.
            if now - link.silent_since < KEEPALIVE_SECONDS:
                self.under_way += 1
                _ = self.loop.at(now + RESEND_SECONDS, self._resend, source, target, what, body, arrive)
            return
        again = RESEND_SECONDS if lost < self.loss + link.loss else 0.0
        self._deliver(link, target, what, body, arrive, late, again, in_order=True)

    def _resend(self, source: Port, target: Port, what: str, body: bytes, arrive: Arrive) -> None:
        self.under_way -= 1
        self._carry(source, target, what, body, arrive)

    def _deliver(  # noqa: PLR0913, PLR0917 - a packet's fields
        self,
        link: Link,
        target: Port,
        what: str,
        body: bytes,
        arrive: Arrive,
        late: float,
        again: float = 0.0,
        *,
        in_order: bool = False,
    ) -> None:
        low, high = self.latency_low, self.latency_high
        moment = self.loop.now + again + low + (high - low) * late + link.delay * late
        if in_order or not link.reorder:
            moment = link.last = max(moment, link.last)
        self.under_way += 1
        _ = self.loop.at(moment, self._arrived, link, target, what, body, arrive)

    def _arrived(self, link: Link, target: Port, what: str, body: bytes, arrive: Arrive) -> None:
        self.under_way -= 1
        if link.cuts or not target.alive:
            self._trace.add(self.loop.now, target.name, "lose", what, peer=link.source)
            return
        self._trace.add(self.loop.now, target.name, "receive", what, peer=link.source)
        arrive(body)
