"""Who of the readers of one view has been told how far. Pure.

A view reads one feed for many. What it has told lately is kept, numbered, as long as it is not too much. A reader is in
one of three places:

- **level**: it has been told all that the view has told, and gets what comes in one go with all others;
- **behind**: it has been told all before some number. It takes nothing for the moment, or has only just come; what it
  misses is among what is kept. Who falls out of what is kept is lost, and has to come again;
- **ahead**: it has read the log by itself, further than the view by now, and waits until the view tells something new.

A reader that comes says after which place of the log it goes on. If all that came after that is kept it may join; else
it has to read a feed of its own until it may. A place that the view has not come to itself is believed only if the log
told it since the view's own feed was opened: a power cut may have shortened the log before, and its positions are then
given to other changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

import msgspec


class Sized(Protocol):
    """Something that is told."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        ...


G = TypeVar("G", bound=Hashable)
R = TypeVar("R", bound=Hashable)
T = TypeVar("T", bound=Sized)


class Place(msgspec.Struct, frozen=True):
    """A position in a log."""

    log: str
    seq: int


class Budget:
    """Bytes that all views of a gateway keep together; a view that finds them spent keeps its last change only."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.used: int = 0


class Handover(Generic[G, R, T]):
    """The readers of a view, and what it has told lately.

    Attributes:
        epoch: How often the view's feed has been opened.
        place: Up to where everything was told; None while that is unknown.
        level: The readers that are level, by group.
    """

    def __init__(self, group: Callable[[R], G], count_max: int, bytes_max: int, budget: Budget) -> None:
        """Begin without readers, and nowhere.

        Args:
            group: Of a reader; those of one group are told the same bytes.
            count_max: How many changes are kept.
            bytes_max: How many bytes of them.
            budget: What all views may keep together.
        """
        self.epoch: int = 0
        self.place: Place | None = None
        self.level: dict[G, dict[R, None]] = {}
        self._group = group
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._budget = budget
        self._kept: deque[tuple[int, T]] = deque()
        self._bytes = 0
        self._start = 0  # every change of the log after this position, up to the place, is kept
        self._first = 0  # number of the oldest that is kept
        self._out = 0  # number of the next that goes out to who is level
        self._sound = 0  # number from which on positions are of the log that the place is in
        self._behind: dict[R, int] = {}
        self._ahead: dict[R, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self.level.values())) + len(self._behind) + len(self._ahead)

    def __iter__(self) -> Iterator[R]:
        for readers in self.level.values():
            yield from readers
        yield from self._behind
        yield from self._ahead

    # What the view's feed does.

    def opened(self) -> list[tuple[R, Place]]:
        """The feed was opened, to go on from the place; who was ahead has left, and has to read by itself again."""
        self.epoch += 1
        log = "" if self.place is None else self.place.log
        left = [(reader, Place(log, seq)) for reader, seq in self._ahead.items()]
        self._ahead.clear()
        return left

    def lost(self) -> None:
        """The log does not reach back to the place; what is told until the next `arrived` is not of the log's order."""
        self.place = None
        for reader in self._ahead:
            self._behind[reader] = self._next
        self._ahead.clear()

    def arrived(self, place: Place) -> None:
        """Everything up to a place has been told, by what was told since the feed lost its place, or began."""
        self.place = place
        self._start = place.seq
        self._sound = self._next

    def passed(self, place: Place) -> None:
        """Nothing is to be told up to a place that the log has come to."""
        if self.place is not None and self.place.log == place.log and place.seq > self.place.seq:
            self.place = place

    def told(self, what: T, seq: int = 0) -> list[R]:
        """Something is told; those for whom it was too much are lost, and have left.

        Args:
            what: What is told; kept for who is behind.
            seq: Its position, if it is a change; 0 for what has none.
        """
        if self.place is not None and seq:
            self.place = Place(self.place.log, seq)
            for reader in [reader for reader, at in self._ahead.items() if at < seq]:
                del self._ahead[reader]
                self._behind[reader] = self._next
        self._keep(what, seq)
        return self.trim()

    @property
    def pending(self) -> bool:
        """Whether something has not gone out yet."""
        return self._out < self._next

    def out(self, bytes_max: int) -> list[T]:
        """What goes out next, to all who are level: as much as fits, at least one; nothing at the end."""
        found = self._from(self._out, self._next, bytes_max)
        self._out += len(found)
        return found

    # What readers do.

    def join(self, reader: R, at: Place, epoch: int = 0) -> bool:
        """Take a reader in that has been told everything up to a place, if it misses nothing so.

        Args:
            reader: Is behind from now on, if it may join: ask `due` what it misses.
            at: The place.
            epoch: The view's when the log was asked for the place; 0 where nobody knows.
        """
        if not self.may_join(at, epoch) or self.place is None:
            return False
        if at.seq <= self.place.seq:
            self._behind[reader] = self._number_after(at.seq)
        else:
            self._ahead[reader] = at.seq
        return True

    def may_join(self, at: Place, epoch: int = 0) -> bool:
        """Whether a reader that has been told everything up to a place misses nothing if it joins."""
        place = self.place
        if place is None or place.log != at.log or at.seq < self._start:
            return False
        return at.seq <= place.seq or epoch == self.epoch

    def rest(self, reader: R) -> None:
        """A reader that is level takes nothing for now."""
        if reader in self.level.get(self._group(reader), ()):
            self._drop(reader)
            self._behind[reader] = self._out

    def due(self, reader: R, bytes_max: int) -> list[T]:
        """What a reader that is behind is told next, as much as fits, at least one; nothing once it is level."""
        number = self._behind.get(reader)
        if number is None or number > self._out:  # it has read by itself what is yet to go out to the others
            return []
        found = self._from(number, self._out, bytes_max)
        if number + len(found) >= self._out:
            del self._behind[reader]
            self.level.setdefault(self._group(reader), {})[reader] = None
        else:
            self._behind[reader] = number + len(found)
        return found

    def behind(self) -> list[R]:
        """Who is behind."""
        return list(self._behind)

    def waiting(self) -> list[R]:
        """Who has been told all there is, and waits for more."""
        return [reader for readers in self.level.values() for reader in readers] + list(self._ahead)

    def leave(self, reader: R) -> None:
        """A reader has gone."""
        if self._behind.pop(reader, None) is None and self._ahead.pop(reader, None) is None:
            self._drop(reader)

    def close(self) -> None:
        """Keep nothing any more."""
        self._budget.used -= self._bytes
        self._kept.clear()
        self._bytes = 0

    # What is kept.

    @property
    def _next(self) -> int:
        return self._first + len(self._kept)

    def _keep(self, what: T, seq: int) -> None:
        self._kept.append((seq, what))
        self._bytes += what.size
        self._budget.used += what.size

    def trim(self) -> list[R]:
        """Keep no more than may be, but all that has not gone out; who falls out by this is lost, and has left."""
        while len(self._kept) > 1 and self._first < self._out and self._is_too_much():
            seq, what = self._kept.popleft()
            self._bytes -= what.size
            self._budget.used -= what.size
            if self._first >= self._sound:
                self._start = seq
            self._first += 1
        fallen = [reader for reader, number in self._behind.items() if number < self._first]
        for reader in fallen:
            del self._behind[reader]
        return fallen

    def _is_too_much(self) -> bool:
        over = self._budget.used > self._budget.limit
        return over or len(self._kept) > self._count_max or self._bytes > self._bytes_max

    def _number_after(self, seq: int) -> int:
        """The number of the first that is kept and has a later position; what has none comes before `_start`."""
        number = self._next
        for at, _ in reversed(self._kept):
            if at <= seq:
                break
            number -= 1
        return number

    def _from(self, number: int, end: int, bytes_max: int) -> list[T]:
        found: list[T] = []
        size = 0
        while number < end:
            what = self._kept[number - self._first][1]
            size += what.size
            if found and size > bytes_max:
                break
            found.append(what)
            number += 1
        return found

    def _drop(self, reader: R) -> None:
        group = self._group(reader)
        if (readers := self.level.get(group)) is not None:
            _ = readers.pop(reader, None)
            if not readers:
                del self.level[group]
