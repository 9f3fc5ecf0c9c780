"""What a Redis holds, and what of it is still there after it was killed, or its machine went dark.

All changes are effects: small values, applied one by one and written to a journal, as an append-only file has them. A
process that comes back applies the journal again. Where the power went, the last of it was not flushed yet
(`appendfsync everysec`); without such a file all is gone.
"""

from __future__ import annotations

from collections import deque
from typing import Final, assert_never, final

import msgspec

from hanse.sim.brokers.redis_stream import (
    Acknowledged,
    Added,
    EventStream,
    Given,
    Grouped,
    StreamEffect,
    Trimmed,
)

FLUSH_SECONDS: Final = 2.0
"""How old what is lost with the power may be: it is flushed each second, which may take another."""


class PushEnd(msgspec.Struct, frozen=True):
    """Add an entry to the end of a list."""

    key: bytes
    entry: bytes


class Pop(msgspec.Struct, frozen=True):
    """Take entries from the beginning of a list, or from its end."""

    key: bytes
    count: int
    last: bool = False


class Expire(msgspec.Struct, frozen=True):
    """Have a key end at a second of the wall clock."""

    key: bytes
    at: float


class Delete(msgspec.Struct, frozen=True):
    """Have a key end."""

    key: bytes


class Put(msgspec.Struct, frozen=True):
    """Have a text at a key, until a second of the wall clock."""

    key: bytes
    text: bytes
    until: float


class Note(msgspec.Struct, frozen=True):
    """Add a member to a set."""

    key: bytes
    member: bytes


Effect = PushEnd | Pop | Expire | Delete | Put | Note | StreamEffect


@final
class Journal:
    """The file that a server appends to; it outlives the process.

    Attributes:
        appends: Whether there is one.
    """

    def __init__(self, *, appends: bool = True) -> None:
        """Begin an empty one."""
        self.appends: bool = appends
        self._effects: deque[tuple[float, Effect]] = deque()

    def add(self, now: float, effect: Effect) -> None:
        """Something has changed."""
        if self.appends:
            self._effects.append((now, effect))

    def lose(self, since: float) -> None:
        """The power went: what was written since then is gone."""
        while self._effects and self._effects[-1][0] > since:
            _ = self._effects.pop()

    def memory(self) -> Memory:
        """What is there when a process starts."""
        memory = Memory(self)
        for _, effect in self._effects:
            memory.apply(effect)
        return memory


@final
class Memory:
    """What one process holds.

    Example:
        >>> memory = Journal().memory()
        >>> memory.do(0.0, PushEnd(b"a", b"1"))
        >>> memory.do(0.0, Expire(b"a", 10.0))
        >>> memory.list_of(b"a", 9.0), memory.list_of(b"a", 10.0)
        ([b'1'], [])
    """

    def __init__(self, journal: Journal) -> None:
        """Hold nothing."""
        self._journal = journal
        self._lists: dict[bytes, list[bytes]] = {}
        self._texts: dict[bytes, bytes] = {}
        self._sets: dict[bytes, set[bytes]] = {}
        self._streams: dict[bytes, EventStream] = {}
        self._ends: dict[bytes, float] = {}

    @property
    def appends(self) -> bool:
        """Whether what it holds is written to a file."""
        return self._journal.appends

    def do(self, now: float, effect: Effect) -> None:
        """Change something."""
        self._expire(effect.key, now)
        self._journal.add(now, effect)
        self.apply(effect)

    def list_of(self, key: bytes, now: float) -> list[bytes]:
        """The entries of a list."""
        self._expire(key, now)
        return self._lists.get(key, [])

    def text_of(self, key: bytes, now: float) -> bytes | None:
        """The text at a key; None where there is none."""
        self._expire(key, now)
        return self._texts.get(key)

    def left_of(self, key: bytes, now: float) -> int:
        """Milliseconds until a key ends; -1 for never."""
        return int((self._ends[key] - now) * 1_000) if key in self._ends else -1

    def set_of(self, key: bytes) -> set[bytes]:
        """The members of a set."""
        return self._sets.get(key, set())

    def stream_of(self, key: bytes) -> EventStream:
        """A stream; it is there when it is looked at."""
        return self._streams.setdefault(key, EventStream())

    def apply(self, effect: Effect) -> None:
        """Let something that has happened happen here."""
        match effect:
            case PushEnd():
                self._lists.setdefault(effect.key, []).append(effect.entry)
            case Pop():
                self._pop(effect)
            case Expire():
                if effect.key in self._lists:
                    self._ends[effect.key] = effect.at
            case Delete():
                _ = self._lists.pop(effect.key, None)
                _ = self._texts.pop(effect.key, None)
                _ = self._ends.pop(effect.key, None)
            case Put():
                self._texts[effect.key] = effect.text
                self._ends[effect.key] = effect.until
            case Note():
                self._sets.setdefault(effect.key, set()).add(effect.member)
            case Added() | Grouped() | Given() | Acknowledged() | Trimmed():
                self.stream_of(effect.key).apply(effect)
            case _:
                assert_never(effect)

    def _pop(self, effect: Pop) -> None:
        entries = self._lists.get(effect.key, [])
        if effect.last:
            del entries[len(entries) - effect.count :]
        else:
            del entries[: effect.count]
        if not entries:
            self.apply(Delete(effect.key))

    def _expire(self, key: bytes, now: float) -> None:
        """A key whose time is over ends when it is looked at."""
        if self._ends.get(key, now + 1.0) <= now:
            self._journal.add(now, Delete(key))
            self.apply(Delete(key))
