"""What stands in for the standard library's clocks and draws while a fence is up, as a table.

Each row names a function, what it does that a simulated world must not have, and what to use instead; and says what a
library that calls it gets: the world's time, or a draw from its seed. A row without such a value is refused to all.
"""

from __future__ import annotations

import _thread
import os
import random  # noqa: TID251 - named here, so that nobody else needs to
import socket
import sys
import threading
import time
import uuid  # noqa: TID251 - named here, so that nobody else needs to
from collections.abc import Callable, Iterator
from typing import NamedTuple, final

from hanse.sim.chance import chance_of

CALL = "call a service through its client, or hand the code a fake of what it talks to"
KEEP = "keep it in a Collection, or hand it out of the world and write it when the run is over"
PROCESS = "leave other programs out of the simulated part, and hand the code a fake of them"
TASK = "await it in an asyncio.TaskGroup, which needs no thread"
SLEEP = "await asyncio.sleep, which takes the world's time"
WALL = "take current().host.now()"
MONOTONIC = "take current().host.monotonic()"
CHANCE = "take current().host.chance"
ENTROPY = "take current().host.entropy(n)"
ID = "take current().host.new_id()"

HOST_NAME = "localhost"
"""What libraries are told that the machine is called."""

_GREGORIAN = 0x01B21DD213814000  # from October 1582, where UUIDs of version 1 begin, to 1970; in 100 ns
_MULTICAST = 1 << 40  # an address that no network card has (RFC 9562, section 6.10)
_SHARED: random.Random = vars(random)["_inst"]  # what random.random() and its like draw from

Function = Callable[..., object]
"""A function of the standard library, or what stands in for it."""


@final
class Virtual:
    """The time and the draws that libraries get: one for a world, not one per machine."""

    __slots__ = ("_ticks", "chance", "monotonic", "now")

    def __init__(self, now: Callable[[], float], monotonic: Callable[[], float], seed: int) -> None:
        """Take the world's clocks, in seconds, and the seed that draws follow."""
        self.now: Callable[[], float] = now
        self.monotonic: Callable[[], float] = monotonic
        self.chance: random.Random = chance_of(seed, "fence")
        self._ticks: int = 0

    def tick(self) -> int:
        """The wall clock as UUIDs of version 1 count it, and never the same twice."""
        self._ticks = max(self._ticks + 1, _nanoseconds(self.now()) // 100 + _GREGORIAN)
        return self._ticks


def always(*_args: object, **_options: object) -> bool:
    """Whatever the arguments are, the call is meant."""
    return True


class Row(NamedTuple):
    """A function that is replaced.

    Attributes:
        at: The module or class that has it.
        name: Its name there.
        what: What it does, for whoever is refused.
        instead: What to use instead.
        value: What a library gets: of the world's clocks and draws, and the arguments. Without it all are refused.
        asks: Whether a call with these arguments is meant at all; others go through to the real function.
    """

    at: object
    name: str
    what: str
    instead: str
    value: Function | None = None
    asks: Callable[..., bool] = always

    @property
    def real(self) -> Function:
        """The function as it is now."""
        found: Function = vars(self.at)[self.name]
        return found


def rows() -> list[Row]:
    """All that is replaced, as far as this Python and this machine have it."""
    known = (*_clocks(), *_moments(), *_entropy(), *_shared_generator(), *_others())
    return [row for row in known if row.name in getattr(row.at, "__dict__", ())]


def save_generator() -> Callable[[], None]:
    """What `random.random()` and its like draw from is put back by what this returns."""
    state = _SHARED.getstate()
    return lambda: _SHARED.setstate(state)


def seed_generator(seed: int) -> None:
    """Let `random.random()` and its like follow a seed, also where they were imported by name before."""
    _SHARED.seed(seed)


def _nanoseconds(seconds: float) -> int:
    whole = int(seconds)  # by itself: a float has not the digits for both
    return whole * 1_000_000_000 + round((seconds - whole) * 1e9)


def _wall(virtual: Virtual) -> float:
    return virtual.now()


def _steady(virtual: Virtual) -> float:
    return virtual.monotonic()


def _any_clock(virtual: Virtual, clock: int) -> float:
    return virtual.now() if clock == getattr(time, "CLOCK_REALTIME", None) else virtual.monotonic()


def _clocks() -> Iterator[Row]:
    """Clocks, in seconds and in nanoseconds."""
    clocks: list[tuple[str, Callable[..., float], str]] = [("time", _wall, WALL), ("clock_gettime", _any_clock, WALL)]
    clocks += [(name, _steady, MONOTONIC) for name in ("monotonic", "perf_counter", "process_time", "thread_time")]
    for name, value, instead in clocks:
        yield Row(time, name, _reads(name), instead, value)
        yield Row(time, f"{name}_ns", _reads(f"{name}_ns"), instead, _in_nanoseconds(value))


def _reads(name: str) -> str:
    return f"time.{name}() reads the real clock"


def _in_nanoseconds(value: Callable[..., float]) -> Function:
    def whole(virtual: Virtual, *args: object) -> int:
        return _nanoseconds(value(virtual, *args))

    return whole


def _moments() -> Iterator[Row]:
    """What tells the time of now unless it is handed another: in seconds, or as the parts of a date."""
    parts = time.localtime

    def now(virtual: Virtual) -> time.struct_time:
        return parts(virtual.now())

    for name in ("ctime", "gmtime", "localtime"):
        yield _moment(name, 0, _wall)
    for name, before in (("asctime", 0), ("strftime", 1)):
        yield _moment(name, before, now)


def _moment(name: str, before: int, now: Callable[[Virtual], object]) -> Row:
    """One that takes the moment after `before` other arguments."""
    real: Function = vars(time)[name]

    def value(virtual: Virtual, *args: object) -> object:
        return real(*args[:before], now(virtual))

    def has_none(*args: object) -> bool:
        return len(args) <= before or args[before] is None

    return Row(time, name, _reads(name), WALL, value, has_none)


def _entropy() -> Iterator[Row]:
    """Where draws begin: `secrets`, `uuid.uuid4` and `SystemRandom` take theirs here, however they were imported."""

    def value(virtual: Virtual, size: int, flags: int = 0) -> bytes:  # noqa: ARG001 - the kernel's flags
        return virtual.chance.randbytes(size)

    for at, name in ((os, "urandom"), (os, "getrandom"), (random, "_urandom")):
        yield Row(at, name, f"os.{name.strip('_')}() draws real randomness", ENTROPY, value)


def _shared_generator() -> Iterator[Row]:
    """What draws from the generator that all code shares; and generators without a seed, which take entropy in C."""
    for name, function in list(vars(random).items()):
        if getattr(function, "__self__", None) is _SHARED:
            yield Row(random, name, f"random.{name}() is shared by all", CHANCE, _passing_on(function))
    seed = random.Random.seed

    def value(virtual: Virtual, generator: random.Random, *_args: object, **_options: object) -> None:
        seed(generator, virtual.chance.getrandbits(64))

    what = "random.Random.seed() draws real randomness"
    yield Row(random.Random, "seed", what, f"{CHANCE}, or give it a seed", value, _has_no_seed)


def _passing_on(function: Function) -> Function:
    def value(_virtual: Virtual, *args: object, **options: object) -> object:
        return function(*args, **options)

    return value


def _has_no_seed(_generator: random.Random, a: object = None, version: int = 2) -> bool:  # noqa: ARG001 - as seed has it
    return a is None


def _uuid1(virtual: Virtual, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """A UUID of time and machine, without the real time and machine."""
    ticks = virtual.tick()
    sequence = virtual.chance.getrandbits(14) if clock_seq is None else clock_seq
    machine = virtual.chance.getrandbits(48) | _MULTICAST if node is None else node
    times = (ticks & 0xFFFFFFFF, (ticks >> 32) & 0xFFFF, (ticks >> 48) & 0x0FFF)
    return uuid.UUID(fields=(*times, (sequence >> 8) & 0x3F, sequence & 0xFF, machine), version=1)


def _host_name(_virtual: Virtual) -> str:
    return HOST_NAME


def _others() -> Iterator[Row]:
    yield Row(uuid, "uuid1", "uuid.uuid1() reads the real clock", ID, _uuid1)
    named = "socket.gethostname() names the real machine"
    yield Row(socket, "gethostname", named, "take current().host.name", _host_name)
    yield Row(time, "sleep", "time.sleep()", SLEEP)
    yield Row(threading.Thread, "start", "threading.Thread.start()", TASK)
    yield Row(_thread, "start_new_thread", "_thread.start_new_thread()", TASK)
    # How multiprocessing starts a process, without an audit event; there is none on Windows.
    yield Row(sys.modules.get("_posixsubprocess"), "fork_exec", "a new process", PROCESS)
