"""Queues and streams of a RabbitMQ: what they hold, who is handed it, and what of it outlives a process. No I/O.

What a quorum queue and a stream have taken is in the system's hands at once, so a process that is killed loses nothing
of it; but of streams RabbitMQ flushes nothing itself, so a machine that goes dark lacks the last of them. Both are
found again by a name that is written half a second after the last of them was made: what has none by then is lost.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, final

import msgspec

NAMED_SECONDS: Final = 0.5
"""After which the names of new quorum queues and streams are written, if no other is made meanwhile."""

FLUSH_SECONDS: Final = 35.0
"""How old what a stream lacks after a power cut may be: Linux writes what is 30 s old, and looks each 5 s."""

DELIVERY_LIMIT: Final = 20
"""How often a quorum queue hands out a message again, where it was not told another number."""


class Item(msgspec.Struct, eq=False):
    """A message in a queue.

    Attributes:
        place: Where it stands there; in a stream, its offset.
        exchange, key: Where it was published.
        properties, body: Of it.
        at: When it came, second of the wall clock.
        ends: When it is not handed out any more.
        persistent: Whether it is to outlive the process.
        returns: How often it was handed out and came back.
    """

    place: int
    exchange: str
    key: str
    properties: bytes
    body: bytes
    at: float
    ends: float = math.inf
    persistent: bool = False
    returns: int = 0


class Taker(msgspec.Struct, eq=False):
    """Who takes from a queue.

    Attributes:
        tag: Its name on its channel.
        give: Hands it a message.
        gone: Tells it that the queue is not there any more.
        prefetch: What it may have that it did not acknowledge; 0 for any number.
        no_ack: Whether what it is handed is done.
        held: What it has that it did not acknowledge.
        next: In a stream, the offset that it wants next.
        shut: Whether it is leaving, and is handed nothing more.
    """

    tag: str
    give: Callable[[Taker, Item], None]
    gone: Callable[[Taker], None]
    prefetch: int = 0
    no_ack: bool = False
    held: int = 0
    next: int = 0
    shut: bool = False

    @property
    def has_room(self) -> bool:
        """Whether it may be handed something."""
        return not self.shut and (self.no_ack or not self.prefetch or self.held < self.prefetch)


class Config(msgspec.Struct, frozen=True):
    """How a queue is set up."""

    name: str
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, object] = {}

    @property
    def kind(self) -> str:
        """Which one it is."""
        return str(self.arguments.get("x-queue-type", "classic"))

    def number(self, name: str, default: float) -> float:
        """An argument that is a number."""
        value = self.arguments.get(name, default)
        return value if isinstance(value, (int, float)) else default


@final
class Queue:
    """Hands each message to one taker.

    Attributes:
        config: How it is set up.
        owner: Whose it is alone; None for everybody's.
        takers: Who takes from it, the next in turn first; where only one is active, that one first.
        used: When somebody took from it or asked for it last, second of the wall clock.
    """

    def __init__(self, config: Config, now: float, owner: object = None) -> None:
        """Hold nothing."""
        self.config: Config = config
        self.owner: object = owner
        self.takers: list[Taker] = []
        self.used: float = now
        self._items: deque[Item] = deque()
        self._held: dict[int, Item] = {}
        self._count = 0
        self._single = bool(config.arguments.get("x-single-active-consumer"))

    def ready(self, now: float) -> int:
        """Messages that wait."""
        while self._items and self._items[0].ends <= now:
            _ = self._items.popleft()
        return len(self._items)

    def is_over(self, now: float) -> bool:
        """Whether nobody has used it for too long."""
        return not self.takers and now - self.used >= self.config.number("x-expires", math.inf) / 1_000

    def put(self, item: Item) -> None:
        """Take a message in."""
        self._count += 1
        item.place = self._count
        self._items.append(item)
        self._drop()

    def begin(self, taker: Taker, start: object) -> None:
        """Somebody takes from it from now on."""
        del start
        self.takers.append(taker)

    def hand_out(self, now: float) -> None:
        """Give what waits to whoever may have it."""
        while self.ready(now) and (taker := self._turn()) is not None:
            item = self._items.popleft()
            if not taker.no_ack:
                self._held[item.place] = item
                taker.held += 1
            taker.give(taker, item)

    def done(self, taker: Taker, item: Item) -> None:
        """It was acknowledged."""
        taker.held -= 1
        _ = self._held.pop(item.place, None)

    def back(self, taker: Taker, items: list[Item]) -> None:
        """They were not, and go to others: where they stood."""
        taker.held -= len(items)
        self._return([item for item in items if self._held.pop(item.place, None) is not None])

    def restart(self) -> None:
        """The process has ended, and another begins."""
        self.takers.clear()
        held, self._held = list(self._held.values()), {}
        self._return(held)
        if self.config.kind == "classic":
            self._items = deque(item for item in self._items if item.persistent)

    def _turn(self) -> Taker | None:
        for at, taker in enumerate(self.takers[:1] if self._single else self.takers):
            if taker.has_room:
                if not self._single:
                    self.takers.append(self.takers.pop(at))
                return taker
        return None

    def _return(self, items: list[Item]) -> None:
        for item in items:
            item.returns += 1
        if self.config.kind == "quorum":
            most = self.config.number("x-delivery-limit", DELIVERY_LIMIT)
            items = [item for item in items if item.returns <= most]
        self._items = deque(sorted([*items, *self._items], key=lambda item: item.place))
        self._drop()

    def _drop(self) -> None:
        """What is more than it may hold goes, the oldest first; what is handed out does not count."""
        most = self.config.number("x-max-length", math.inf)
        while len(self._items) > most:
            _ = self._items.popleft()


@final
class Stream:
    """Keeps what it has handed out; each taker reads at its own pace.

    What is too old RabbitMQ removes by segments of many megabytes, of which a world has none that is full.

    Attributes:
        config: How it is set up.
        owner: Of streams nobody.
        takers: Who reads it.
        used: When somebody asked for it last.
    """

    def __init__(self, config: Config, now: float) -> None:
        """Hold nothing."""
        self.config: Config = config
        self.owner: object = None
        self.takers: list[Taker] = []
        self.used: float = now
        self._items: list[Item] = []

    def ready(self, now: float) -> int:
        """Messages that it holds."""
        del now
        return len(self._items)

    def is_over(self, now: float) -> bool:
        """It lasts."""
        del now
        return False

    def put(self, item: Item) -> None:
        """Take a message in."""
        item.place = len(self._items)
        self._items.append(item)

    def begin(self, taker: Taker, start: object) -> None:
        """Somebody reads from now on, from an offset, or from the `first`, `last` or `next` message."""
        end = len(self._items)
        places: dict[object, int] = {"first": 0, "last": max(0, end - 1)}
        taker.next = start if isinstance(start, int) else places.get(start, end)
        self.takers.append(taker)

    def hand_out(self, now: float) -> None:
        """Give everybody what they have not read."""
        del now
        for taker in self.takers:
            while taker.next < len(self._items) and taker.has_room:
                taker.held += 1
                taker.next += 1
                taker.give(taker, self._items[taker.next - 1])

    def done(self, taker: Taker, item: Item) -> None:
        """One may read on."""
        del item
        taker.held -= 1

    def back(self, taker: Taker, items: list[Item]) -> None:
        """One reads no more, or reads on."""
        taker.held -= len(items)

    def restart(self) -> None:
        """The process has ended, and another begins."""
        self.takers.clear()

    def lose(self, since: float) -> None:
        """The power went: what was written since then is gone, and its offsets are given again."""
        self._items = [item for item in self._items if item.at <= since]


AnyQueue = Queue | Stream


def queue_of(config: Config, now: float, owner: object = None) -> AnyQueue:
    """A queue of the kind that was asked for.

    Example:
        >>> queue = queue_of(Config("a"), 0.0)
        >>> queue.put(Item(0, "", "a", b"", b"", 0.0, ends=5.0))
        >>> queue.ready(4.0), queue.ready(5.0)
        (1, 0)
    """
    return Stream(config, now) if config.kind == "stream" else Queue(config, now, owner)


@final
class Storage:
    """The queues of a machine, some of which outlive its processes.

    Attributes:
        queues: By their names.
    """

    def __init__(self) -> None:
        """Have none."""
        self.queues: dict[str, AnyQueue] = {}
        self._unnamed: list[str] = []
        self._made = -math.inf

    def add(self, queue: AnyQueue, now: float) -> None:
        """Have a queue."""
        name = queue.config.name
        self.queues[name] = queue
        if queue.config.kind != "classic":
            if now - self._made >= NAMED_SECONDS:
                self._unnamed.clear()
            self._unnamed.append(name)
            self._made = now

    def restart(self, died: float, now: float) -> None:
        """A process has ended at a second of the wall clock, and another begins."""
        lost = set(self._unnamed) if died - self._made < NAMED_SECONDS else set[str]()
        self._unnamed.clear()
        self.queues = {
            name: queue
            for name, queue in self.queues.items()
            if queue.config.durable and not queue.config.exclusive and name not in lost
        }
        for queue in self.queues.values():
            queue.restart()
            queue.used = now

    def went_dark(self, at: float, draw: Callable[[], float]) -> None:
        """The power went: each stream lacks what Linux had not written.

        Args:
            at: When, second of the wall clock.
            draw: How long before that it was written last.
        """
        for queue in self.queues.values():
            if isinstance(queue, Stream):
                queue.lose(at - draw() * FLUSH_SECONDS)
