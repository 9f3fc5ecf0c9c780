"""What a new release takes of the machine beside the old one: memory and processors, against a limit and compared.

More than somebody has allowed rolls it back. More than the old release takes, by far and for long, only keeps it from
going on: that may be what it is for, and then somebody promotes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from hanse.control.signal import Signal
from hanse.control.window import Both, Condition, Outcomes, Window, total

MEMORY_TIMES = 2.0
"""How many times as much memory as the largest instance of the old release is by far more."""

MEMORY_MORE_BYTES = 64 * 2**20
"""By how much it has to be more besides: twice as much as next to nothing is nothing."""

MEMORY_LASTS_SECONDS = 10.0
"""How long."""

CPU_TIMES = 3.0
"""The same of processors, as the busiest instance of the old release takes them, for as many requests."""

CPU_MORE = 0.5
"""By how many processors it has to be more besides."""

CPU_LASTS_SECONDS = 15.0
"""How long: whoever has just started may be busy for a while."""


class Appetite(msgspec.Struct, frozen=True):
    """Since when it takes too much; below 0 for not at all.

    Attributes:
        memory_since: More memory than the old release, by far.
        cpu_since: More of processors than that, by far.
        greedy_since: More of processors than it may.
        cpu_times: How many times as much of them is expected of it as of the old one, by what each is asked.
    """

    memory_since: float = -1.0
    cpu_since: float = -1.0
    greedy_since: float = -1.0
    cpu_times: float = 1.0

    def after(self, window: Window) -> Appetite:
        """What is known after one more window.

        Example:
            >>> window = Window(3.0, new=Condition(memory={"b1": 9e8}), old=Condition(memory={"a1": 1e8}))
            >>> Appetite().after(window).memory_since
            3.0
        """
        new, old, at = window.new, window.old, window.at
        times = _expected(window)
        memory = _is_more(new.memory, old.memory, MEMORY_TIMES, MEMORY_MORE_BYTES)
        cpu = times > 0.0 and _is_more(new.cpu, old.cpu, CPU_TIMES * times, CPU_MORE)
        greedy = bool(new.cpu_max) and _most(new.cpu)[1] > new.cpu_max
        return Appetite(
            _since(self.memory_since, at, lasts=memory),
            _since(self.cpu_since, at, lasts=cpu),
            _since(self.greedy_since, at, lasts=greedy),
            times,
        )

    def signals(self, new: Condition, old: Condition, at: float) -> Iterator[Signal]:
        """What speaks against the new release.

        Args:
            new: How its instances are.
            old: The same of the old one.
            at: Seconds since the rollout began.
        """
        name, memory = _most(new.memory)
        if new.memory_max and memory > new.memory_max:
            yield Signal("memory", f"{name} takes {_mib(memory)}, and may take {_mib(new.memory_max)}")
        elif _lasted(self.memory_since, at, MEMORY_LASTS_SECONDS):
            before = _mib(_most(old.memory)[1])
            says = f"{name} takes {_mib(memory)}, and an instance of the old release {before} at the most"
            yield Signal("more memory", says, certain=False)
        name, cpu = _most(new.cpu)
        if _lasted(self.greedy_since, at, CPU_LASTS_SECONDS):
            yield Signal("processors", f"{name} takes {cpu:.1f} processors, and may take {new.cpu_max:g}")
        elif _lasted(self.cpu_since, at, CPU_LASTS_SECONDS):
            before = f"{_most(old.cpu)[1]:.1f} at the most"
            says = f"{name} takes {cpu:.1f} processors, and an instance of the old release {before}"
            yield Signal("more processors", says, certain=False)


def _expected(window: Window) -> float:
    """How many times as much an instance of the new release is asked as one of the old: 1 at least, 0 for unknown."""
    new, old = (_asked(window, is_new=is_new) for is_new in (True, False))
    if not window.old.cpu or not window.new.cpu or (new and not old):
        return 0.0
    each = (new / len(window.new.cpu)) / (old / len(window.old.cpu)) if old else 1.0
    return max(1.0, each)


def _asked(window: Window, *, is_new: bool) -> int:
    return sum(total(_side(both, is_new=is_new)).asked for both in window.routes.values())


def _side(both: Both, *, is_new: bool) -> Iterable[Outcomes]:
    return (both.new if is_new else both.old).values()


def _is_more(new: Mapping[str, float], old: Mapping[str, float], times: float, more: float) -> bool:
    before = _most(old)[1]
    return bool(old) and _most(new)[1] > max(times * before, before + more)


def _most(used: Mapping[str, float]) -> tuple[str, float]:
    return max(sorted(used.items()), key=lambda one: one[1], default=("", 0.0))


def _since(since: float, at: float, *, lasts: bool) -> float:
    if not lasts:
        return -1.0
    return at if since < 0.0 else since


def _lasted(since: float, at: float, seconds: float) -> bool:
    return since >= 0.0 and at - since >= seconds


def _mib(used: float) -> str:
    return f"{used / 2**20:.0f} MiB"
