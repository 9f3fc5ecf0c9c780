"""How soon a leak is noticed, and which caches that fill are taken for one."""

from __future__ import annotations

import random  # noqa: TID251 - draws from a seed
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import exp
from pathlib import Path
from statistics import median

import msgspec

from hanse.control.guards import Guarded
from hanse.control.window import Condition, Window

FILE = Path(__file__).parent / "leaks.json"
LOOK_SECONDS = 0.5
SECONDS_MAX = 180.0
MIB = 2.0**20
NOISE = 0.01
"""The standard deviation of what an instance takes from look to look, as a part of it."""

Grows = Callable[[float], float]
"""What an instance takes in MiB, so many seconds after its first request."""


@dataclass(frozen=True)
class Growing:
    """A new release, whose memory grows.

    Attributes:
        name: What it is.
        leaks: Whether it is to be rolled back.
        new: What it takes.
        old: What the old one takes, which has been there for long, in MiB.
    """

    name: str
    leaks: bool
    new: Grows
    old: float


def leak(rate: float, base: float, since: float = 0.0) -> Growing:
    """So many MiB a second more."""
    after = f", after {since / 60:.0f} min" if since else ""
    name = f"{rate:g} MiB/s, on {base:.0f} MiB{after}"
    return Growing(name, leaks=True, new=lambda at: base + rate * max(0.0, at - since), old=base)


def cache(fills: str, base: float, size: float, was: float) -> Growing:
    """A cache that is full after 30 s, or nearly; the old release has one of another size, which is full."""
    part: Grows = (lambda at: min(1.0, at / 30.0)) if fills == "evenly" else (lambda at: 1.0 - exp(-at / 10.0))
    name = f"{base:.0f} MiB and a cache of {size:.0f} MiB, which fills {fills}; the old one's had {was:.0f} MiB"
    return Growing(name, leaks=False, new=lambda at: base + size * part(at), old=base + was)


GROWING = (
    cache("evenly", 60.0, 200.0, 200.0),
    cache("ever more slowly", 60.0, 200.0, 200.0),
    cache("evenly", 60.0, 120.0, 60.0),
    cache("ever more slowly", 60.0, 120.0, 60.0),
    cache("evenly", 60.0, 50.0, 0.0),
    cache("ever more slowly", 60.0, 100.0, 0.0),
    cache("evenly", 60.0, 200.0, 0.0),
    leak(32.0, 60.0),
    leak(16.0, 60.0),
    leak(8.0, 60.0),
    leak(4.0, 60.0),
    leak(2.0, 60.0),
    leak(1.0, 60.0),
    leak(2.0, 20.0),
    leak(32.0, 400.0),
    leak(8.0, 60.0, 60.0),
    leak(4.0, 60.0, 60.0),
    leak(2.0, 60.0, 60.0),
)


def noticed(growing: Growing, seed: int) -> float:
    """After how many seconds it is rolled back, or less than 0 for never; nobody says how much it may take."""
    chance, known = random.Random(f"{growing.name}/{seed}"), Guarded()
    at = 0.0
    while at < SECONDS_MAX:
        at += LOOK_SECONDS
        new, old = (used * MIB * (1.0 + chance.gauss(0.0, NOISE)) for used in (growing.new(at), growing.old))
        known = known.after(Window(at, new=Condition(memory={"n": new}), old=Condition(memory={"o": old})))
        if any(one.certain for one in known.signals()):
            return at
    return -1.0


class Grown(msgspec.Struct, frozen=True):
    """What came of releases whose memory grows.

    Attributes:
        name: What they are.
        leaks: Whether they are to be rolled back.
        runs: How many rollouts there were.
        noticed: How many of them were rolled back.
        seconds, seconds_most: When; the median, and the latest.
    """

    name: str
    leaks: bool
    runs: int
    noticed: int
    seconds: float = 0.0
    seconds_most: float = 0.0


def grown(runs: int) -> tuple[Grown, ...]:
    """What comes of all of them."""
    return tuple(_grown(one, runs) for one in GROWING)


def load() -> tuple[Grown, ...]:
    """What is known by now."""
    return msgspec.json.decode(FILE.read_bytes(), type=tuple[Grown, ...]) if FILE.exists() else ()


def save(results: Iterable[Grown]) -> None:
    """Keep it."""
    _ = FILE.write_bytes(msgspec.json.format(msgspec.json.encode(tuple(results)), indent=1) + b"\n")


def _grown(growing: Growing, runs: int) -> Grown:
    back = [at for seed in range(runs) if (at := noticed(growing, seed)) >= 0.0]
    if not back:
        return Grown(growing.name, growing.leaks, runs, 0)
    return Grown(growing.name, growing.leaks, runs, len(back), median(back), max(back))
