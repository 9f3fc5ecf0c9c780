"""Who of the readers of one view has been told how far. Pure.

A view reads one feed for many. What it has told lately is kept, numbered, as long as it is not too much. The feed may
be of several logs, those of all who tell of a topic: a place is a position in each. A reader is in one of two places:

- **level**: it has been told all that the view has told, and gets what comes in one go with all others;
- **late**: it has been told all before some number, and what a place of its own covers. It takes nothing for the
  moment, or has only just come; what it misses is among what is kept. Who falls out of what is kept is lost, and has to
  come again. Who has read further than the view by itself, in one log at least, is *ahead*: it is late until the view
  has come there too.

A reader that comes says after which place it goes on. If all that came after that is kept it may join; else it has to
read a feed of its own until it may. A place that the view has not come to itself is believed only if the logs told it
since the view's own feed was opened: a power cut may have shortened one before, and its positions are then given to
other changes.

Each thing that is told moves the view's place on in one log, and that place is its cursor. It is right for a reader
that has been told nothing beyond; but of several logs, a late one may have read more of one than the view. Then it is
told what comes with a cursor of its own, which holds both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

import msgspec

from hanse.gateway.place import Place


class Sized(Protocol):
    """Something that is told."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        ...


G = TypeVar("G", bound=Hashable)
R = TypeVar("R", bound=Hashable)
T = TypeVar("T", bound=Sized)


class Budget:
    """Bytes that all views of a gateway keep together; a view that finds them spent keeps its last change only."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.used: int = 0


class _Late(msgspec.Struct):
    """Where a reader is that is late.

    Attributes:
        number: Of the next thing that it may be told.
        at: What it has read by itself; None where that is nothing that it would be told again.
    """

    number: int
    at: Place | None = None

    def has(self, place: Place | None, log: int) -> bool:
        """Whether it has read what moved a log to a place."""
        return self.at is not None and place is not None and self.at.seqs[log] >= place.seqs[log]

    def takes(self, place: Place | None) -> Place | None:
        """It is told what led to a place; the place that it is at then, where that is not the same."""
        if self.at is None:
            return None
        # What has no place is of a log that was lost: what comes after it has nothing to do with what was read before.
        self.at = None if place is None or place.covers(self.at) else self.at.and_(place)
        return self.at


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
        self._kept: deque[tuple[Place | None, int, T]] = deque()  # each with the place after it, and the log that moved
        self._bytes = 0
        self._start: Place | None = None  # every change of the logs after this place, up to the view's, is kept
        self._first = 0  # number of the oldest that is kept
        self._out = 0  # number of the next that goes out to who is level
        self._sound = 0  # number from which on places are of the logs that the view's is in
        self._late: dict[R, _Late] = {}

    def __len__(self) -> int:
        return sum(map(len, self.level.values())) + len(self._late)

    def __iter__(self) -> Iterator[R]:
        for readers in self.level.values():
            yield from readers
        yield from self._late

    # What the view's feed does.

    def opened(self) -> list[tuple[R, Place]]:
        """The feed was opened, to go on from the place; who was ahead has left, and has to read by itself again."""
        self.epoch += 1
        left: list[tuple[R, Place]] = []
        for reader, late in list(self._late.items()):
            if late.at is None or self.place is None or late.number < self._sound or self.place.covers(late.at):
                continue
            del self._late[reader]
            before = self._place_before(late.number)
            left.append((reader, late.at if before is None else late.at.and_(before)))
        return left

    def lost(self) -> None:
        """A log does not reach back to the place; what is told until the next `arrived` is not of the logs' order."""
        self.place = None

    def arrived(self, place: Place) -> None:
        """Everything up to a place has been told, by what was told since the feed lost its place, or began."""
        self.place = self._start = place
        self._sound = self._next

    def passed(self, place: Place) -> None:
        """Nothing is to be told up to a place that the logs have come to."""
        if self.place is not None and place.covers(self.place):
            self.place = place
            for reader, late in list(self._late.items()):
                self._settle(reader, late)

    def told(self, what: T, place: Place | None = None) -> list[R]:
        """Something is told; those for whom it was too much are lost, and have left.

        Args:
            what: What is told; kept for who is late.
            place: Where the logs are after it, if it is a change: one of them is further; None for what has none.
        """
        log = 0
        if self.place is None:
            place = None
        elif place is not None:
            log = place.moved(self.place)
            self.place = place
        self._kept.append((place, log, what))
        self._bytes += what.size
        self._budget.used += what.size
        return self.trim()

    @property
    def pending(self) -> bool:
        """Whether something has not gone out yet."""
        return self._out < self._next

    def out(self, bytes_max: int) -> list[T]:
        """What goes out next, to all who are level: as much as fits, at least one; nothing at the end."""
        found: list[T] = []
        size = 0
        while self._out < self._next:
            what = self._kept[self._out - self._first][2]
            size += what.size
            if found and size > bytes_max:
                break
            found.append(what)
            self._out += 1
        return found

    # What readers do.

    def join(self, reader: R, at: Place, epoch: int = 0) -> bool:
        """Take a reader in that has been told everything up to a place, if it misses nothing so.

        Args:
            reader: Is late from now on, if it may join: ask `due` what it misses.
            at: The place.
            epoch: The view's when the logs were asked for the place; 0 where nobody knows.
        """
        if not self.may_join(at, epoch):
            return False
        self._late[reader] = _Late(self._number_after(at), at)
        return True

    def may_join(self, at: Place, epoch: int = 0) -> bool:
        """Whether a reader that has been told everything up to a place misses nothing if it joins."""
        if self.place is None or self._start is None or not at.covers(self._start):
            return False
        return self.place.covers(at) or epoch == self.epoch

    def rest(self, reader: R) -> None:
        """A reader that is level takes nothing for now."""
        if reader in self.level.get(self._group(reader), ()):
            self._drop(reader)
            self._late[reader] = _Late(self._out)

    def due(self, reader: R, bytes_max: int) -> list[tuple[T, Place | None]]:
        """What a reader that is late is told next, as much as fits, at least one; nothing where that is nothing.

        With each comes the place that the reader is at after it, where that is not the one that all others are told.
        """
        late = self._late.get(reader)
        if late is None:
            return []
        found: list[tuple[T, Place | None]] = []
        size = 0
        while late.number < self._out:
            place, log, what = self._kept[late.number - self._first]
            if not late.has(place, log):
                size += what.size
                if found and size > bytes_max:
                    return found
                found.append((what, late.takes(place)))
            late.number += 1
        self._settle(reader, late)
        return found

    def late(self) -> list[R]:
        """Who is late."""
        return list(self._late)

    def ahead(self) -> list[tuple[R, Place]]:
        """Who is ahead, and has been told all there is, with the place that it has come to."""
        if (place := self.place) is None:
            return []
        late = self._late.items()
        return [(who, one.at.and_(place)) for who, one in late if one.at is not None and one.number >= self._next]

    def leave(self, reader: R) -> None:
        """A reader has gone."""
        if self._late.pop(reader, None) is None:
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

    def trim(self) -> list[R]:
        """Keep no more than may be, but all that has not gone out; who falls out by this is lost, and has left."""
        while len(self._kept) > 1 and self._first < self._out and self._is_too_much():
            place, _, what = self._kept.popleft()
            self._bytes -= what.size
            self._budget.used -= what.size
            if self._first >= self._sound and place is not None:
                self._start = place
            self._first += 1
        fallen = [reader for reader, late in self._late.items() if late.number < self._first]
        for reader in fallen:
            del self._late[reader]
        return fallen

    def _is_too_much(self) -> bool:
        over = self._budget.used > self._budget.limit
        return over or len(self._kept) > self._count_max or self._bytes > self._bytes_max

    def _number_after(self, at: Place) -> int:
        """The number from which on a place may miss something; what has no place comes before `_start`."""
        number = self._next
        for place, _, _ in reversed(self._kept):
            if place is None or at.covers(place):
                break
            number -= 1
        return number

    def _place_before(self, number: int) -> Place | None:
        """Where the logs were before a thing that was told; None where nobody knows: a log was lost after it."""
        place = self._kept[number - self._first - 1][0] if number > self._first else None
        return self._start if place is None and number >= self._sound else place

    def _settle(self, reader: R, late: _Late) -> None:
        """A reader that has all that went out is level, unless it has read more."""
        if late.number < self._out:
            return
        if late.at is not None:
            place = self._place_before(self._out) if self.pending else self.place
            if place is None or not place.covers(late.at):
                return
        del self._late[reader]
        self.level.setdefault(self._group(reader), {})[reader] = None

    def _drop(self, reader: R) -> None:
        group = self._group(reader)
        if (readers := self.level.get(group)) is not None:
            _ = readers.pop(reader, None)
            if not readers:
                del self.level[group]
