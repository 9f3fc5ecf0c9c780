"""The machine that a node runs on, as far as chance goes: its clocks, its randomness, its ids.

Everything in Hanse takes time, randomness and ids from a `Host`, never from the standard library, so that a
simulated world can hand each of its nodes another one (with a skewed clock, a seeded draw) and replay it.
This module and nothing else reads the machine's real clocks.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable

from hanse.kernel.process import Processes, UnknownProcesses, processes_of

TICK_SECONDS = 0.001
"""Shortest wait for a moment of a host's clock that the loop's clock ran ahead of: less could be no time at all."""

_COUNTER_BITS = 12
_RANDOM_BITS = 62
_VARIANT = 0b10 << _RANDOM_BITS


class Host:
    """The clocks, randomness and ids of one machine.

    Example:
        >>> host = Host.fixed(wall=1_700_000_000.0, seed=7)
        >>> host.now()
        1700000000.0
        >>> host.new_id() == Host.fixed(wall=1_700_000_000.0, seed=7).new_id()
        True
    """

    __slots__ = ("_counter", "_millisecond", "_stem", "chance", "entropy", "monotonic", "name", "now", "processes")

    def __init__(
        self,
        name: str,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        chance: random.Random,
        entropy: Callable[[int], bytes],
        processes: Processes | None = None,
    ) -> None:
        """Take the sources; `Host.system` is the usual way to one.

        Args:
            name: The machine's name, shown in logs and announcements.
            now: Wall clock, in seconds since 1970 (UTC). It may jump.
            monotonic: A clock that never goes back, in seconds from an unknown start.
            chance: Draws for balancing and jitter; fast, and not fit for secrets.
            entropy: `entropy(n)` gives n bytes fit for secrets.
            processes: Who this process is, and whether those before it have ended; by default nobody knows.
        """
        self.name: str = name
        self.now: Callable[[], float] = now
        self.monotonic: Callable[[], float] = monotonic
        self.chance: random.Random = chance
        self.entropy: Callable[[int], bytes] = entropy
        self.processes: Processes = processes or UnknownProcesses()
        self._millisecond: int = 0
        self._counter: int = 0
        self._stem: str = ""
        self._begin(0, 0)

    @classmethod
    def system(cls) -> Host:
        """The real machine."""
        name = socket.gethostname()
        return cls(
            name,
            now=time.time,
            monotonic=time.monotonic,
            chance=random.Random(os.urandom(16)),
            entropy=os.urandom,
            processes=processes_of(name),
        )

    @classmethod
    def fixed(cls, *, wall: float, seed: int) -> Host:
        """A machine whose clocks stand still and whose draws follow the seed: for tests of decisions."""
        chance = random.Random(seed)
        return cls("fixed", now=lambda: wall, monotonic=lambda: 0.0, chance=chance, entropy=chance.randbytes)

    def new_id(self) -> str:
        """A fresh UUIDv7 (RFC 9562): sorts by creation on this host, even within one millisecond.

        The 12 bits after the version count ids within a millisecond, so order holds without a lock; when the wall
        clock goes back, the last millisecond seen is kept, so ids never do.
        """
        millisecond = int(self.now() * 1000)
        if millisecond > self._millisecond:
            self._begin(millisecond, self.chance.getrandbits(_COUNTER_BITS - 1))
        else:
            self._counter += 1
            if self._counter >> _COUNTER_BITS:
                self._begin(self._millisecond + 1, 0)
        low = f"{_VARIANT | self.chance.getrandbits(_RANDOM_BITS):x}"
        return f"{self._stem}{self._counter:03x}-{low[:4]}-{low[4:]}"

    def _begin(self, millisecond: int, counter: int) -> None:
        """Begin a millisecond: its ids have all but their ends in common, which is written once."""
        self._millisecond = millisecond
        self._counter = counter
        text = f"{millisecond:012x}"
        self._stem = f"{text[:8]}-{text[8:]}-7"
