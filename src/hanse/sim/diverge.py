"""Where a run left the way of another one, in words.

Two runs of one seed are the same to the byte, so their first difference is where something was not determined. Runs of
two seeds, or of two plans, are never the same; they are compared by what each machine did in which order, whatever the
second, the bytes and the numbers in the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from hanse.sim.trace import Effect

BYTES_SHOWN = 24
"""Bytes that are told around the first one that differs."""

WORDS_SHOWN = 160
"""Characters that are told of an effect's detail."""

SET_CURE = "make it a sorted tuple before it is sent or written"
"""What to do about a set whose order differs between processes, as that of texts does."""


class Difference(msgspec.Struct, frozen=True):
    """The first place at which two runs are different.

    Attributes:
        machine: Where it is the first; empty for all of them together.
        index: How many effects (there) were alike before it.
        one, other: What happened there in either run; None in one that was over.
    """

    machine: str
    index: int
    one: Effect | None
    other: Effect | None

    def words(self) -> str:
        """In words, over some lines.

        Example:
            >>> a, b = Effect(0.5, "orders", "log", "hello"), Effect(0.75, "orders", "kill")
            >>> print(Difference("", 3, a, b).words())
            after 3 effects that are the same
              one run:   0.5000 orders log: hello
              the other: 0.7500 orders kill
        """
        where = f" of {self.machine}" if self.machine else ""
        lines = [
            f"after {self.index} effects{where} that are the same",
            f"  one run:   {told(self.one)}",
            f"  the other: {told(self.other)}",
        ]
        one, other = self.one, self.other
        if one is not None and other is not None and _is_like(one, other) and one.data != other.data:
            lines.append(f"  {_bytes_apart(one.data, other.data)}")
        return "\n".join(lines)


class Divergence(msgspec.Struct, frozen=True):
    """Where a run left the way of another one.

    Attributes:
        other: Which one that is, such as `seed 16`.
        first: The first difference of all machines together; None where all did alike.
        machines: The first difference of each machine that has one, by when the failing run came there.
    """

    other: str
    first: Difference | None
    machines: tuple[Difference, ...]

    def words(self) -> str:
        """In words, over some lines.

        Example:
            >>> mail = Effect(1.0, "mailer", "commit")
            >>> print(divergence([Effect(0.9, "mailer", "kill"), mail], [mail], "seed 16").words())
            Unlike seed 16, which passed, from the first effect on:
              here:  0.9000 mailer kill
              there: 1.0000 mailer commit
        """
        if self.first is None:
            return f"All machines did what they did in {self.other}, which passed."
        since = f"after {self.first.index} effects that are alike" if self.first.index else "from the first effect on"
        lines = [f"Unlike {self.other}, which passed, {since}:", *_both(self.first)]
        for difference in self.machines:
            if difference.one != self.first.one or difference.other != self.first.other:
                lines += [f"{difference.machine or 'the world'}, after {difference.index}:", *_both(difference)]
        return "\n".join(lines)


def first_difference(one: Sequence[Effect], other: Sequence[Effect]) -> Difference | None:
    """Where two runs that should be the same are not; None where they are, to the byte and the last digit.

    Example:
        >>> first_difference([Effect(0.5, "orders", "start")], [Effect(0.5, "orders", "start")]) is None
        True
    """
    for index, (here, there) in enumerate(zip(one, other, strict=False)):
        if here != there:
            return Difference("", index, here, there)
    return _tail("", one, other)


def divergence(failing: Sequence[Effect], passing: Sequence[Effect], other: str) -> Divergence:
    """Where a failing run went another way than one that passed.

    Args:
        failing: What happened.
        passing: What happened in the other run: of the nearest seed, or of the same plan without an incident.
        other: How that run is called.
    """
    here, there = _by_machine(failing), _by_machine(passing)
    names = list(dict.fromkeys([*here, *there]))
    found = [_first_unlike(name, here.get(name, ()), there.get(name, ())) for name in names]
    machines = sorted((difference for difference in found if difference is not None), key=_when)
    return Divergence(other, _first_unlike("", failing, passing), tuple(machines))


def nearest(failing: Sequence[Effect], passing: Mapping[str, Sequence[Effect]]) -> str | None:
    """Which of some runs did what the failing one did for longest, summed over its machines; None where there are none.

    Example:
        >>> start, kill, ready = (Effect(1.0, "orders", kind) for kind in ("start", "kill", "ready"))
        >>> nearest([start, kill], {"seed 1": [ready], "seed 2": [start, ready]})
        'seed 2'
    """
    here = _by_machine(failing)

    def alike(name: str) -> int:
        there = _by_machine(passing[name])
        return sum(_alike(effects, there.get(machine, ())) for machine, effects in here.items())

    return max(passing, key=alike, default=None)


def told(effect: Effect | None) -> str:
    """An effect on one line.

    Example:
        >>> told(Effect(0.5, "orders", "send", "call mail.send", b"{}", "mailer"))
        '0.5000 orders send: call mail.send (mailer, 2 bytes)'
        >>> told(None)
        'nothing more'
    """
    if effect is None:
        return "nothing more"
    detail = flat(effect.detail)
    about = [effect.peer] if effect.peer else []
    if effect.data:
        about.append(f"{len(effect.data)} bytes")
    return (
        f"{effect.at:.4f} {effect.machine or 'the world'} {effect.kind}"
        + (f": {detail if len(detail) <= WORDS_SHOWN else detail[:WORDS_SHOWN] + '...'}" if detail else "")
        + (f" ({', '.join(about)})" if about else "")
    )


def flat(text: str) -> str:
    r"""A text on one line, without what a terminal would take for more than text.

    Example:
        >>> flat("failed:\n  no stock")
        'failed: / no stock'
    """
    lines = " / ".join(line.strip() for line in text.splitlines())
    return "".join(character if character.isprintable() else "?" for character in lines)


def _both(difference: Difference) -> tuple[str, str]:
    return f"  here:  {told(difference.one)}", f"  there: {told(difference.other)}"


def _when(difference: Difference) -> tuple[float, bool]:
    """By time, and at one time what the world did first: it is the cause."""
    effect = difference.one or difference.other
    assert effect is not None
    return effect.at, bool(effect.machine)


def _tail(machine: str, one: Sequence[Effect], other: Sequence[Effect]) -> Difference | None:
    """The difference of two runs of which one goes on where the other is over."""
    if len(one) == len(other):
        return None
    index = min(len(one), len(other))
    return Difference(machine, index, next(iter(one[index:]), None), next(iter(other[index:]), None))


def _by_machine(effects: Sequence[Effect]) -> dict[str, list[Effect]]:
    machines: dict[str, list[Effect]] = {}
    for effect in effects:
        machines.setdefault(effect.machine, []).append(effect)
    return machines


def _first_unlike(machine: str, one: Sequence[Effect], other: Sequence[Effect]) -> Difference | None:
    index = _alike(one, other)
    if index == min(len(one), len(other)):
        return _tail(machine, one, other)
    return Difference(machine, index, one[index], other[index])


def _alike(one: Sequence[Effect], other: Sequence[Effect]) -> int:
    """How many effects two runs have in common from the beginning, but for time, bytes and numbers."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if not _is_like(a, b)), min(len(one), len(other)))


def _is_like(one: Effect, other: Effect) -> bool:
    if (one.machine, one.kind, one.peer) != (other.machine, other.kind, other.peer):
        return False
    return one.detail == other.detail or _numberless(one.detail) == _numberless(other.detail)


def _numberless(detail: str) -> str:
    """Words without the ids, positions and seconds in them."""
    return re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|[0-9]+", "#", detail)


def _bytes_apart(one: bytes, other: bytes) -> str:
    pairs: Iterator[tuple[int, tuple[int, int]]] = enumerate(zip(one, other, strict=False))
    at = next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
    begin = max(0, at - BYTES_SHOWN // 2)
    here, there = one[begin : begin + BYTES_SHOWN], other[begin : begin + BYTES_SHOWN]
    # Users cannot see from bytes what makes them differ; this is what mostly does.
    why = "" if sorted(one) != sorted(other) else "; the same bytes in another order, as of a set of texts: " + SET_CURE
    return f"bytes differ from {at} on: {here!r} and {there!r}{why}"
