"""The network between simulated machines: what it delays, loses, repeats and cuts.

Each direction between two machines is a link with a stream of draws of its own, and every packet takes the same number
of draws whatever is wrong with its link: so taking one incident out of a plan leaves all other packets as they were.
Packets are bytes; nothing else crosses.

There are two ways to send. A packet of `send` may get lost, may arrive twice, and may be overtaken where its link
reorders. Those of `carry` belong to connections: they arrive in order, once, and wait where their link is cut; a
connection whose packets wait for too long breaks, and both of its ends are told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, final

import msgspec

from hanse.kernel.message import Message
from hanse.sim.chance import Draws
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.plan import Delay, Loss, Repeat
from hanse.sim.trace import Trace

KEEPALIVE_SECONDS = 5.0
"""How long a connection may be silent through a cut, or with a machine that is dark, until its ends give it up."""

RESEND_SECONDS = 0.2
"""How much later what was lost of a connection arrives, and what waited for the end of a cut is sent again."""

NOTICE_SECONDS_MAX = 2.0
"""How long it takes at most until nobody is sent to a process that was killed."""

COPY_SECONDS_MAX = 0.1
"""How much later than a packet its copy arrives, at most."""


class End(Protocol):
    """Whoever sends and receives at a port: the twin of a transport."""

    def lost(self, port: Port, /) -> None:
        """Another port is no more, or cannot be reached any more."""
        ...


@final
class Port:
    """One life of a machine, on the network.

    Attributes:
        name: Of the machine.
        lane: Its process.
        end: Who sends and receives here.
        life: Counts the ports of the machine.
        open: Whether it takes packets.
        dark: Whether the machine lost power, so that nobody says for it that its process is gone.
    """

    __slots__ = ("dark", "end", "lane", "life", "name", "open")

    def __init__(self, lane: Lane, end: End) -> None:
        self.name: str = lane.name
        self.lane: Lane = lane
        self.end: End = end
        self.life: int = 0
        self.open: bool = True
        self.dark: bool = False

    @property
    def alive(self) -> bool:
        """Whether it can send and receive."""
        return self.open and self.lane.alive


@final
class Link:
    """One direction between two machines.

    Attributes:
        source, peer: The machines.
        cuts: How many incidents cut it.
        loss, repeat: Shares of packets.
        delay: Extra seconds at most.
        reorder: Whether packets may overtake each other.
        draws: What decides about its packets.
        last, last_kept: When the last packet arrives, and the last of a connection.
        cut_at: When it was cut.
        held: Packets of connections that wait for the end of a cut, in order.
    """

    __slots__ = (
        "_spoilt",
        "_troubles",
        "cut_at",
        "cuts",
        "delay",
        "draws",
        "held",
        "last",
        "last_kept",
        "loss",
        "peer",
        "reorder",
        "repeat",
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
        self.last_kept: float = 0.0
        self.cut_at: float = 0.0
        self.held: deque[Packet] = deque()
        self._spoilt = (0.0, 0.0)
        self._troubles: list[Delay | Loss | Repeat] = []

    def spoil(self, loss: float, delay: float) -> None:
        """Lose a share of packets, and delay them up to some seconds, until told otherwise; besides all incidents."""
        self._spoilt = (loss, delay)
        self._reckon()

    def disturb(self, incident: Delay | Loss | Repeat) -> None:
        """Make it worse."""
        self._troubles.append(incident)
        self._reckon()

    def calm(self, incident: Delay | Loss | Repeat) -> None:
        """Take one `disturb` back."""
        if incident in self._troubles:
            self._troubles.remove(incident)
            self._reckon()

    def _reckon(self) -> None:
        # Anew each time, so that what was added and taken away again leaves nothing behind.
        self.loss, self.delay = self._spoilt
        self.repeat, self.reorder = 0.0, False
        for trouble in self._troubles:
            match trouble:
                case Delay():
                    self.delay += trouble.most
                    self.reorder = self.reorder or trouble.reorder
                case Loss():
                    self.loss += trouble.share
                case Repeat():
                    self.repeat += trouble.share


Arrive = Callable[[bytes], None]
Heard = Callable[[str, str, Message, Message | None], None]


class Packet(msgspec.Struct):
    """Something that one port sends to another.

    Attributes:
        source, target: The ports.
        what: In words, for the trace.
        body: What arrives.
        arrive: What takes it.
        kept: Whether it belongs to a connection, so that it is in order and waits through a cut.
    """

    source: Port
    target: Port
    what: str
    body: bytes
    arrive: Arrive
    kept: bool = False


@final
class Network:
    """Carries packets between ports.

    Attributes:
        latency_low, latency_high: Seconds that a packet takes without any trouble.
        loss, repeat: Shares of packets, without any trouble.
        sent: Packets so far.
        under_way: Packets that have not arrived.
        heard: Told of each message that leaves a port alive, and of what it answers; None where nobody listens.
        lanes: Processes of whatever carries messages, which belong to no machine and end with the world.
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
        self.lanes: list[Lane] = []
        self._trace = trace
        self._seed = seed
        self._links: dict[tuple[str, str], Link] = {}
        self._serving: dict[str, list[Port]] = {}
        self._ports: list[Port] = []
        self._lives: dict[str, int] = {}
        self._choices: dict[tuple[str, str], Draws] = {}

    # What goes wrong.

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
                link.cut_at = self.loop.now
                _ = self.loop.at(self.loop.now + KEEPALIVE_SECONDS, self._too_long, link)
            link.cuts += 1

    def mend(self, links: Iterable[Link]) -> None:
        """Take back one `cut`; what waited is sent again."""
        for link in links:
            link.cuts = max(0, link.cuts - 1)
            if not link.cuts and link.held:
                _ = self.loop.at(self.loop.now + RESEND_SECONDS, self._resend, link)

    def heal(self) -> None:
        """Take back all that is wrong with any link, and with the network as a whole."""
        self.loss = self.repeat = 0.0
        for link in self._links.values():
            link.spoil(0.0, 0.0)
            while link.cuts:
                self.mend([link])

    def _resend(self, link: Link) -> None:
        """A cut is over: what waited goes on, in order."""
        while link.held and not link.cuts:
            self._take(link, link.held.popleft())

    def _too_long(self, link: Link) -> None:
        """A cut may have lasted so long that its ends give up."""
        if link.cuts and self.loop.now - link.cut_at >= KEEPALIVE_SECONDS:
            self._break(link)

    def _waits(self, link: Link, packet: Packet) -> None:
        """A packet may have waited so long that its ends give up."""
        if any(held is packet for held in link.held):
            self._break(link)

    def _break(self, link: Link) -> None:
        """Both ends take their connections for broken."""
        while link.held:
            self._lose(link, link.held.popleft())
        ends = [port for port in self._ports if port.name in (link.source, link.peer)]
        for one in ends:
            for other in ends:
                if one.name != other.name:
                    one.end.lost(other)

    # Who is there, and serves what.

    def join(self, port: Port) -> None:
        """A machine comes to life; one that is there already stays."""
        if port not in self._ports:
            self._ports.append(port)
            port.life = self._lives[port.name] = self._lives.get(port.name, 0) + 1

    def listen(self, service: str, port: Port) -> None:
        """A port serves a service from now on."""
        ports = self._serving.setdefault(service, [])
        if port not in ports:
            # An earlier life of the same machine had the same address.
            ports[:] = [other for other in ports if other.name != port.name]
            ports.append(port)

    def leave(self, service: str, port: Port) -> None:
        """It serves it no more."""
        ports = self._serving.get(service, [])
        if port in ports:
            ports.remove(port)

    def forget(self, service: str) -> None:
        """Nobody serves a service any more."""
        self._serving[service] = []

    @property
    def services(self) -> list[str]:
        """What anybody has served so far."""
        return list(self._serving)

    def choose(self, service: str, asker: str) -> Port | None:
        """Somebody who serves it, as far as a machine knows that asks; None where nobody does."""
        ports = self._serving.get(service)
        if not ports:
            return None
        if len(ports) == 1:
            return ports[0]
        choices = self._choices.get((service, asker))
        if choices is None:
            choices = self._choices[service, asker] = Draws(self._seed, "balance", service, asker)
        return ports[int(choices.draw() * len(ports))]

    def died(self, port: Port, *, dark: bool) -> None:
        """A process was killed, or its machine went dark: the others notice, the one sooner, the other later."""
        if port in self._ports:
            self._ports.remove(port)
        port.dark = dark
        notice = Draws(self._seed, "notice", port.name, port.life).draw()
        after = KEEPALIVE_SECONDS * (1.0 + notice) / 2 if dark else NOTICE_SECONDS_MAX * notice
        _ = self.loop.at(self.loop.now + after, self._forget, port)
        for other in self._ports:
            self._tell(port, other)

    def left(self, port: Port) -> None:
        """A process has said goodbye: that comes after all that it had said before."""
        if port in self._ports:
            self._ports.remove(port)
            for other in self._ports:
                self._tell(port, other, self.link(port.name, other.name).last_kept)
        self._forget(port)

    def _tell(self, port: Port, other: Port, least: float = 0.0) -> None:
        """Have a port learn that another is gone.

        The system that a process ran on says so for it, where it can. Where it cannot, silence says it.
        """
        silent = port.dark or self.link(port.name, other.name).cuts
        after = KEEPALIVE_SECONDS if silent else self.latency_high
        _ = self.loop.at(max(self.loop.now + after, least), other.end.lost, port)

    def _forget(self, port: Port) -> None:
        for ports in self._serving.values():
            if port in ports:
                ports.remove(port)

    # What moves.

    def send(
        self, source: Port, target: Port, what: str, body: bytes, arrive: Arrive, *, repeats: bool = False
    ) -> None:
        """Send a packet that may get lost, and may arrive twice where `repeats`."""
        if not source.alive:
            return
        packet = Packet(source, target, what, body, arrive)
        link, now = self._begin(packet), self.loop.now
        lost, late, again = link.draws.draw(), link.draws.draw(), link.draws.draw()
        if link.cuts or lost < self.loss + link.loss:
            self._trace.add(now, target.name, "lose", what, peer=source.name)
            return
        moment = now + self._latency(link, late)
        if not link.reorder:
            moment = link.last = max(moment, link.last)
        self._fly(link, packet, moment)
        if repeats and again < self.repeat + link.repeat:
            # In no order: it took another way.
            self._fly(link, packet, moment + COPY_SECONDS_MAX * late)

    def carry(self, source: Port, target: Port, what: str, body: bytes, arrive: Arrive) -> None:
        """Send a packet of a connection: in order, and again until it arrives; the connection breaks if it cannot."""
        if not source.alive:
            return
        packet = Packet(source, target, what, body, arrive, kept=True)
        link = self._begin(packet)
        lost, late = link.draws.draw(), link.draws.draw()
        again = RESEND_SECONDS if lost < self.loss + link.loss else 0.0
        link.last_kept = max(self.loop.now + again + self._latency(link, late), link.last_kept)
        self._fly(link, packet, link.last_kept)

    def _begin(self, packet: Packet) -> Link:
        source, target = packet.source.name, packet.target.name
        self.sent += 1
        self._trace.add(self.loop.now, source, "send", packet.what, packet.body, target)
        return self.link(source, target)

    def _latency(self, link: Link, late: float) -> float:
        return self.latency_low + (self.latency_high - self.latency_low) * late + link.delay * late

    def _fly(self, link: Link, packet: Packet, moment: float) -> None:
        self.under_way += 1
        _ = self.loop.at(moment, self._arrived, link, packet)

    def _arrived(self, link: Link, packet: Packet) -> None:
        """A packet is where the cut is, if there is one."""
        if not packet.kept:
            if link.cuts:
                self._lose(link, packet)
            else:
                self._take(link, packet)
        elif link.cuts or link.held:
            # Behind those that wait already.
            link.held.append(packet)
            _ = self.loop.at(self.loop.now + KEEPALIVE_SECONDS, self._waits, link, packet)
        else:
            self._take(link, packet)

    def _take(self, link: Link, packet: Packet) -> None:
        """A packet is at its target."""
        if not packet.target.alive:
            self._lose(link, packet)
            # Who is gone is gone for whoever comes later, too.
            self._tell(packet.target, packet.source)
            return
        self.under_way -= 1
        self._trace.add(self.loop.now, packet.target.name, "receive", packet.what, peer=link.source)
        packet.arrive(packet.body)

    def _lose(self, link: Link, packet: Packet) -> None:
        self.under_way -= 1
        self._trace.add(self.loop.now, packet.target.name, "lose", packet.what, peer=link.source)
