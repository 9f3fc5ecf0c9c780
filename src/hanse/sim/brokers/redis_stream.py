"""A stream of Redis, with the consumer groups that read it: what changes it, and what it holds. No I/O."""

from __future__ import annotations

from typing import final

import msgspec

Place = tuple[int, int]
"""The name of an entry: millisecond and number."""

START: Place = (0, 0)


class Added(msgspec.Struct, frozen=True):
    """An entry is at the end."""

    key: bytes
    place: Place
    topic: bytes
    payload: bytes


class Grouped(msgspec.Struct, frozen=True):
    """There is a group; it begins with the oldest entry."""

    key: bytes
    group: bytes


class Given(msgspec.Struct, frozen=True):
    """A group was given entries that it had not seen."""

    key: bytes
    group: bytes
    places: tuple[Place, ...]


class Acknowledged(msgspec.Struct, frozen=True):
    """A group has handled entries."""

    key: bytes
    group: bytes
    places: tuple[Place, ...]


class Trimmed(msgspec.Struct, frozen=True):
    """Entries before a place are gone."""

    key: bytes
    least: Place


StreamEffect = Added | Grouped | Given | Acknowledged | Trimmed


@final
class Group:
    """How far a group has come.

    Attributes:
        reached: The last entry that it was given.
        pending: Those that it was given, and has not handled.
    """

    def __init__(self) -> None:
        """Begin."""
        self.reached: Place = START
        self.pending: dict[Place, None] = {}


@final
class EventStream:
    """One stream.

    Attributes:
        entries: Topic and payload of each, in order.
        groups: By their names.
        last: The last entry that it was ever given.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self.entries: dict[Place, tuple[bytes, bytes]] = {}
        self.groups: dict[bytes, Group] = {}
        self.last: Place = START

    def next(self, milliseconds: int) -> Place:
        """The name of the next entry."""
        return (milliseconds, 0) if milliseconds > self.last[0] else (self.last[0], self.last[1] + 1)

    def after(self, place: Place, count: int) -> list[Place]:
        """The entries behind a place, so many at most."""
        if place >= self.last:
            return []
        return [there for there in self.entries if there > place][:count]

    def apply(self, effect: StreamEffect) -> None:
        """Let something happen."""
        match effect:
            case Added():
                self.entries[effect.place] = effect.topic, effect.payload
                self.last = effect.place
            case Grouped():
                _ = self.groups.setdefault(effect.group, Group())
            case Given():
                group = self.groups[effect.group]
                group.reached = effect.places[-1]
                group.pending |= dict.fromkeys(effect.places)
            case Acknowledged():
                for place in effect.places:
                    _ = self.groups[effect.group].pending.pop(place, None)
            case Trimmed():
                for place in [place for place in self.entries if place < effect.least]:
                    del self.entries[place]


def named(place: Place) -> bytes:
    """A place as Redis writes it.

    Example:
        >>> named((5, 1)), place_of(b"5-1")
        (b'5-1', (5, 1))
    """
    return b"%d-%d" % place


def place_of(name: bytes) -> Place:
    """A place as Redis writes it; the beginning where only a number stands there."""
    milliseconds, _, number = name.partition(b"-")
    return int(milliseconds), int(number or 0)
