"""A LAN in virtual time, for tests of membership: machines, datagrams that get lost, and cuts; no loop, no sockets."""

from __future__ import annotations

import heapq
import itertools
import random  # noqa: TID251 - draws from a seed
from collections.abc import Callable, Iterable, Sequence

from hanse.kernel.host import Host
from hanse.transport.discovery import Announcement
from hanse.transport.members.datagram import DATAGRAM_BYTES_MAX
from hanse.transport.members.machine import Members, Outcome
from hanse.transport.members.record import Gone, Member, Record, digest_of
from hanse.transport.members.rhythm import Rhythm

GROUP = "239.255.72.83:7420"
LATENCY = 0.001


class Box:
    """One member on the LAN, and what it has been told."""

    def __init__(self, name: str, address: str, announcement: Announcement, members: Members) -> None:
        self.name = name
        self.address = address
        self.announcement = announcement
        self.members = members
        self.alive = True
        self.stopped_at: float | None = None
        self.skew = 0.0
        self.there: dict[str, Announcement] = {}
        self.came: list[tuple[float, str]] = []
        self.went: list[tuple[float, str]] = []
        self.inbox: list[tuple[bytes, str]] = []


class Lan:
    """Carries datagrams between boxes, each step in the order of its moment."""

    def __init__(
        self, seed: int = 1, *, loss: float = 0.0, rhythm: Rhythm | None = None, keys: Sequence[bytes] = ()
    ) -> None:
        self.now = 0.0
        self.loss = loss
        self.rhythm = rhythm or Rhythm()
        self.keys = keys
        self.boxes: dict[str, Box] = {}
        self.by_address: dict[str, Box] = {}
        self.sent = 0
        self.bytes_sent = 0
        self.multicast = True
        self.cut: Callable[[Box, Box], bool] = lambda one, other: False
        self.chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    # What there is.

    def make(self, name: str, **announced: object) -> Box:
        """A box that does nothing yet."""
        number = len(self.boxes) + 1
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:7420"
        announcement = Announcement(name, f"tcp://{address}", **announced)  # type: ignore[arg-type]
        box = Box(name, address, announcement, self.members(announcement, address))
        self.boxes[name] = self.by_address[address] = box
        return box

    def members(self, announcement: Announcement, address: str) -> Members:
        host = Host.fixed(wall=0.0, seed=self.chance.getrandbits(32))
        return Members(announcement, address, host, keys=self.keys, rhythm=self.rhythm)

    def join(self, name: str, seeds: Sequence[str] = (GROUP,), **announced: object) -> Box:
        """A box that starts now."""
        box = self.make(name, **announced)
        self.start(box, seeds)
        return box

    def start(self, box: Box, seeds: Sequence[str] = (GROUP,)) -> None:
        self.perform(box, box.members.seed(seeds, self.clock(box), [GROUP]))
        self._begin(box)

    def _begin(self, box: Box) -> None:
        self.after(self.chance.uniform(0, self.rhythm.tick), lambda: self._tick(box, box.members))

    def grown(self, count: int, seeds: Sequence[str] = (GROUP,)) -> list[Box]:
        """So many boxes that know one another already."""
        boxes = [self.make(f"node-{number:04}", names=("orders", "stock")) for number in range(count)]
        known = [box.members.roster.members[box.name] for box in boxes]
        for box in boxes:
            put(box, known)
            box.there = {other.name: other.announcement for other in boxes if other is not box}
        for box in boxes:
            # They have said hello long ago.
            hello = self.now + self.rhythm.hello_seconds(count, self.chance.random())
            box.members._greeting.know(seeds, [GROUP], hello)
            self._begin(box)
        return boxes

    def clock(self, box: Box) -> float:
        """What the clock of a box says."""
        return self.now + box.skew

    def others(self, *but: Box) -> list[Box]:
        return [box for box in self.boxes.values() if box.alive and box not in but]

    # What happens.

    def kill(self, *boxes: Box) -> None:
        for box in boxes:
            box.alive = False

    def stop(self, box: Box) -> None:
        """As SIGSTOP does."""
        box.stopped_at = self.now

    def go_on(self, box: Box) -> None:
        """As SIGCONT does: what has come is read, and timers that are due fire."""
        box.stopped_at = None
        waiting, box.inbox = box.inbox, []
        for datagram, source in waiting:
            self.perform(box, box.members.receive(datagram, source, self.clock(box)))
        self._tick(box, box.members)

    def leave(self, box: Box) -> None:
        self.perform(box, box.members.leave())
        box.alive = False

    def split(self, *side: Box) -> None:
        """Nothing crosses between these and all others."""
        names = {box.name for box in side}
        self.cut = lambda one, other: (one.name in names) != (other.name in names)

    def heal(self) -> None:
        self.cut = lambda one, other: False

    def perform(self, box: Box, outcome: Outcome) -> None:
        for news in outcome.news:
            if isinstance(news, Gone):
                del box.there[news.instance]
                box.went.append((self.now, news.instance))
            else:
                before = box.there.get(news.instance)
                assert before is None or before.version < news.version
                box.there[news.instance] = news
                box.came.append((self.now, news.instance))
        for address, datagram in outcome.sends:
            self.send(box, address, datagram)

    def send(self, source: Box, address: str, datagram: bytes) -> None:
        assert len(datagram) <= DATAGRAM_BYTES_MAX
        self.sent += 1
        self.bytes_sent += len(datagram)
        if address == GROUP:
            targets = [box for box in self.others(source) if self.multicast]
        else:
            targets = [self.by_address[address]] if address in self.by_address else []
        for target in targets:
            if self.loss and self.chance.random() < self.loss:
                continue
            self.after(LATENCY, lambda target=target: self._arrive(source, target, datagram))  # type: ignore[misc]

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._count), what))

    def _arrive(self, source: Box, target: Box, datagram: bytes) -> None:
        if not target.alive or self.cut(source, target):
            return
        if target.stopped_at is not None:
            target.inbox.append((datagram, source.address))
            return
        self.perform(target, target.members.receive(datagram, source.address, self.clock(target)))

    def _tick(self, box: Box, members: Members) -> None:
        if box.alive and box.stopped_at is None and box.members is members:
            self.perform(box, members.tick(self.clock(box)))
            self.after(self.rhythm.tick, lambda: self._tick(box, members))

    # Going on.

    def run(self, seconds: float) -> None:
        """So much time passes."""
        ends = self.now + seconds
        while self._events and self._events[0][0] <= ends:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = ends

    def until(self, reached: Callable[[], bool], limit: float) -> float:
        """How long it takes until something is so; more than `limit` if it is not by then."""
        began = self.now
        while not reached() and self.now - began <= limit:
            self.run(0.05)
        return self.now - began

    def agreed(self, boxes: Iterable[Box] | None = None) -> bool:
        """Whether each of these knows all the others, and nobody else."""
        among = list(boxes) if boxes is not None else self.others()
        names = {box.name for box in among}
        return all(len(box.there) == len(names) - 1 for box in among) and all(
            box.there.keys() == names - {box.name} for box in among
        )


def put(box: Box, known: Sequence[Member]) -> None:
    """Have a box know these, as if it had met them long ago."""
    for member in known:
        if member.record.instance != box.name:
            box.members.roster.put(member)
            box.members._probes._order.append(member.record.instance)
    box.members._rumours.drop(box.name)
    box.members._host.chance.shuffle(box.members._probes._order)


def record(name: str, version: int = 1, address: str = "10.9.9.9:7420") -> Record:
    return Record(name, version, address, digest_of(name.encode()))
