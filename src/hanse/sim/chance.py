"""Randomness by counter: each stream of draws depends on its seed and its name, and on no other stream.

So what happens on one link stays the same when a fault on another is taken away, which is what makes a failing run
shrinkable. The generator is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
"""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import final

Chance = random.Random
"""What a machine draws from."""

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_UNIT = 2.0**-53


def stream(seed: int, *names: object) -> int:
    """Where a named stream starts.

    Example:
        >>> stream(7, "link", "a", "b") == stream(7, "link", "a", "b") != stream(7, "link", "b", "a")
        True
    """
    text = "\x00".join(map(str, (seed, *names)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@final
class Draws:
    """A stream of numbers between 0 and 1; each costs a few additions and multiplications.

    Example:
        >>> Draws(7, "link", "a", "b").draw() == Draws(7, "link", "a", "b").draw()
        True
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, *names: object) -> None:
        """Start a stream of its own, named by what it is for."""
        self._state = stream(seed, *names)

    def draw(self) -> float:
        """The next number, from 0 up to but not including 1."""
        self._state = state = (self._state + _GAMMA) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((state ^ (state >> 31)) >> 11) * _UNIT

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.draw()


def chance_of(seed: int, *names: object) -> Chance:
    """A generator of Python's own kind, for whoever needs more than numbers between 0 and 1."""
    return random.Random(stream(seed, *names))
