"""Streams of a NATS server: what they hold, and what of it outlives a machine that goes dark. No I/O, no connections.

A stream takes what is published on its subjects, numbers it, and knows again for a while what it was given under an id.
What is written is in the system's hands at once, so a process that is killed loses nothing; but it is flushed to the
disk only now and then (`sync_interval`, two minutes), so a machine that goes dark may lose what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, final

import msgspec

from hanse.sim.brokers.nats_subjects import matches

SYNC_SECONDS: Final = 120.0
"""Between two flushes of a stream to its disk."""

OUTLAY_BYTES: Final = 22
"""What a stream reckons for a message, besides its subject and what is in it."""

_NANO: Final = 1_000_000_000


class Problem(Exception):
    """What JetStream says that is wrong."""

    def __init__(self, status: int, code: int, description: str) -> None:
        """Say it.

        Args:
            status: As HTTP has them.
            code: That of NATS.
            description: In the words of NATS.
        """
        super().__init__(description)
        self.said: dict[str, object] = {"code": status, "err_code": code, "description": description}


class Config(msgspec.Struct, frozen=True):
    """How a stream is set up; durations in nanoseconds, as NATS has them."""

    name: str
    subjects: Sequence[str] = ()
    max_msgs_per_subject: int = -1
    max_bytes: int = -1
    max_age: int = 0
    discard: str = "old"
    duplicate_window: int = 120 * _NANO
    allow_atomic: bool = False
    storage: str = "file"
    retention: str = "limits"
    num_replicas: int = 1


class Item(msgspec.Struct, frozen=True):
    """A message that a stream holds."""

    number: int
    subject: bytes
    headers: bytes
    payload: bytes
    at: float

    @property
    def size(self) -> int:
        """Bytes that it is reckoned for."""
        return OUTLAY_BYTES + len(self.subject) + len(self.headers) + len(self.payload)


class Entry(msgspec.Struct, frozen=True):
    """A message that a stream is to hold.

    Attributes:
        id: Under which it is known again; empty for never.
        last: Number of the last message on its subject, where that was expected; -1 where nothing was.
    """

    subject: bytes
    headers: bytes
    payload: bytes
    id: bytes = b""
    last: int = -1


@final
class Stream:
    """One stream.

    Attributes:
        config: How it is set up.
        created: When it was made, second of the wall clock.
        last: Number of the last message that it ever held.
    """

    def __init__(self, config: Config, now: float) -> None:
        """Hold nothing."""
        self.config: Config = config
        self.created: float = now
        self.last: int = 0
        self._items: dict[int, Item] = {}
        self._ids: dict[bytes, tuple[int, float]] = {}
        self._latest: dict[bytes, int] = {}
        self._bytes = 0

    @property
    def first(self) -> int:
        """Number of the first that it still holds; where it holds nothing any more, that of the next."""
        return next(iter(self._items), self.last + 1) if self.last else 0

    def takes(self, subject: bytes) -> bool:
        """Whether it keeps what is published on a subject."""
        return any(matches(pattern.encode(), subject) for pattern in self.config.subjects)

    def known(self, id: bytes, now: float) -> int:
        """The number of what it was given under an id; 0 where it does not know it."""
        number, at = self._ids.get(id, (0, 0.0)) if id else (0, 0.0)
        return number if now - at < self.config.duplicate_window / _NANO else 0

    def check(self, entry: Entry) -> None:
        """Make sure that it can hold a message. Raises `Problem`."""
        if entry.last >= 0 and (there := self._latest.get(entry.subject, 0)) != entry.last:
            raise Problem(400, 10071, f"wrong last sequence: {there}")
        most = self.config.max_bytes
        size = OUTLAY_BYTES + len(entry.subject) + len(entry.headers) + len(entry.payload)
        if most > 0 and self.config.discard == "new" and self._bytes + size > most:
            raise Problem(503, 10077, "maximum bytes exceeded")

    def add(self, entry: Entry, now: float) -> int:
        """Hold a message; its number."""
        self.last += 1
        item = Item(self.last, entry.subject, entry.headers, entry.payload, now)
        if self.config.max_msgs_per_subject == 1 and entry.subject in self._latest:
            self._drop(self._latest[entry.subject])
        self._items[item.number] = item
        self._latest[entry.subject] = item.number
        self._bytes += item.size
        if entry.id:
            self._ids[entry.id] = item.number, now
        return item.number

    def latest(self, subject: bytes) -> Item | None:
        """The last message on a subject."""
        return self._items.get(self._latest.get(subject, 0))

    def at(self, number: int) -> Item | None:
        """The message of a number."""
        return self._items.get(number)

    def since(self, number: int) -> Iterator[Item]:
        """What it holds from a number on."""
        for there in range(max(number, self.first), self.last + 1):
            if (item := self._items.get(there)) is not None:
                yield item

    def age(self, now: float) -> None:
        """Let go of what is too old."""
        seconds = self.config.max_age / _NANO
        while seconds and self._items and now - (item := self._items[self.first]).at >= seconds:
            self._drop(item.number)

    def lose(self, since: float) -> None:
        """The power went: what was written since then is gone, and its numbers are given again."""
        for item in [item for item in self._items.values() if item.at > since]:
            self._drop(item.number)
            self.last = min(self.last, item.number - 1)
        self._ids = {id: (number, at) for id, (number, at) in self._ids.items() if at <= since}

    def _drop(self, number: int) -> None:
        item = self._items.pop(number)
        self._bytes -= item.size
        if self._latest.get(item.subject) == number:
            del self._latest[item.subject]


@final
class Storage:
    """The streams on a machine's disk; they outlive its processes."""

    def __init__(self) -> None:
        """Have none."""
        self.streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Stream:
        """One of them. Raises `Problem`."""
        found = self.streams.get(name)
        if found is None:
            raise Problem(404, 10059, "stream not found")
        return found

    def create(self, config: Config, now: float) -> Stream:
        """Have a stream. Raises `Problem` where another of its name is there."""
        found = self.streams.get(config.name)
        if found is not None and found.config != config:
            raise Problem(400, 10058, "stream name already in use with a different configuration")
        if found is None:
            found = self.streams[config.name] = Stream(config, now)
        return found

    def taking(self, subject: bytes) -> Stream | None:
        """The stream that keeps what is published on a subject."""
        return next((stream for stream in self.streams.values() if stream.takes(subject)), None)

    def went_dark(self, at: float, draw: Callable[[], float]) -> None:
        """The power went: each stream lacks what was not flushed.

        Args:
            at: When, second of the wall clock.
            draw: How long before that each was flushed last.
        """
        for stream in self.streams.values():
            # How it is set up is flushed when it is made.
            stream.lose(max(stream.created, at - draw() * SYNC_SECONDS))
