"""The last moments of a run as a diagram in text: a column for each machine, time going down, an arrow for each packet.

A packet is drawn where it arrives (`>`) or gets lost (`x`), with how long it was under way; what was sent and is still
under way at the end stands where it was sent. A machine that is up has a line, one that is down has dots.
"""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Iterator, Sequence
from typing import final

import msgspec

from hanse.sim.diverge import flat, told
from hanse.sim.trace import Effect

WIDTH = 120
"""Characters of a line, unless said otherwise."""

SHOWN_MAX = 60
"""Effects of a diagram, unless said otherwise: the last ones."""

COLUMN_MIN = 14
"""Characters of a column at least; where so many machines do not fit, each effect is told on a line of its own."""

COLUMN_MAX = 34
"""Characters of a column at most."""

LINES_MAX = 3
"""Lines for the words of one effect; what is longer ends in dots."""

DOWN = frozenset({"kill", "dark", "exit", "stopped"})
"""Kinds of effects after which a machine does nothing."""

UP = "start"
"""Kind of the effect with which it does again."""

_TIME = 11


def sequence(effects: Sequence[Effect], *, last: int = SHOWN_MAX, width: int = WIDTH) -> str:
    """What led to the first violation, or to the end where there is none.

    Args:
        effects: What happened, from the beginning: who was down, and when packets were sent, may be long ago.
        last: Effects shown.
        width: Characters of a line.

    Example:
        >>> print(sequence([
        ...     Effect(0.5, "orders", "start", "1"),
        ...     Effect(0.5, "client", "send", "call orders.place", b"{}", "orders"),
        ...     Effect(0.502, "orders", "receive", "call orders.place", b"", "client"),
        ...     Effect(0.51, "orders", "kill"),
        ...     Effect(0.6, "", "violation", "acknowledged write lost"),
        ... ], width=80))
           seconds orders                            client
            0.5000 |start 1                          |
            0.5020 |<- call orders.place +2.0 ms ----|
            0.5100 |kill                             |
            0.6000 ** violation: acknowledged write lost
    """
    end = next((index + 1 for index, effect in enumerate(effects) if effect.kind == "violation"), len(effects))
    moments = list(_moments(effects[:end]))
    shown = moments[max(0, len(moments) - last) :]
    hidden = len(moments) - len(shown)
    lines = [f"({hidden} effects before)"] if hidden else []
    names = _columns(effects[:end], shown)
    column = min(COLUMN_MAX, (width - _TIME) // len(names)) if names else COLUMN_MAX
    if column < COLUMN_MIN:
        return "\n".join([*lines, *(told(moment.effect) for moment in shown)])
    canvas = _Canvas(names, column, width)
    for moment in moments[:hidden]:
        canvas.pass_by(moment.effect)
    lines.append(canvas.header())
    for moment in shown:
        lines += canvas.drawn(moment)
    return "\n".join(lines)


class _Moment(msgspec.Struct, frozen=True):
    """An effect to be drawn; of a packet that came, with the seconds that it was under way, if its sending is known."""

    effect: Effect
    under_way: float | None = None


def _moments(effects: Sequence[Effect]) -> Iterator[_Moment]:
    """What is drawn: all effects, but for the sending of what has come, or got lost, by the end."""
    sent: dict[tuple[str, str, str], deque[int]] = {}
    came: dict[int, float] = {}
    over: set[int] = set()
    for index, effect in enumerate(effects):
        if effect.kind == "send":
            sent.setdefault((effect.machine, effect.peer, effect.detail), deque()).append(index)
        elif effect.kind in {"receive", "lose"}:
            waiting = sent.get((effect.peer, effect.machine, effect.detail))
            if waiting:
                start = waiting.popleft()
                over.add(start)
                came[index] = effect.at - effects[start].at
    for index, effect in enumerate(effects):
        if index not in over:
            yield _Moment(effect, came.get(index))


def _columns(effects: Sequence[Effect], shown: Sequence[_Moment]) -> list[str]:
    """The machines that have a part in what is shown, in the order in which they first did something."""
    parts = {name for moment in shown for name in (moment.effect.machine, moment.effect.peer) if name}
    order = dict.fromkeys(name for effect in effects for name in (effect.machine, effect.peer))
    return [name for name in order if name in parts]


@final
class _Canvas:
    """Draws effects line by line, and knows who is down."""

    def __init__(self, names: Sequence[str], column: int, width: int) -> None:
        self._places = {name: _TIME + index * column for index, name in enumerate(names)}
        self._column = column
        self._width = width
        self._down: set[str] = set()
        self._time = ""

    def header(self) -> str:
        """Who has which column."""
        names = "".join(_cut(name, self._column - 1).ljust(self._column) for name in self._places)
        return f"{'seconds':>{_TIME - 1}} {names}".rstrip()

    def pass_by(self, effect: Effect) -> None:
        """Something happened that is not drawn."""
        if effect.kind in DOWN:
            self._down.add(effect.machine)
        elif effect.kind == UP:
            self._down.discard(effect.machine)

    def drawn(self, moment: _Moment) -> list[str]:
        """The lines of an effect."""
        effect = moment.effect
        time = f"{effect.at:.4f}"
        before = time if time != self._time else ""
        self._time = time
        lines = self._lines(moment)
        self.pass_by(effect)
        return [f"{before if not number else '':>{_TIME - 1}} {line}".rstrip() for number, line in enumerate(lines)]

    def _lines(self, moment: _Moment) -> list[str]:
        effect = moment.effect
        detail = flat(effect.detail)
        if effect.machine not in self._places:
            mark = "** " if effect.kind == "violation" else "== "
            return _wrapped(mark + effect.kind + (f": {detail}" if detail else ""), self._width - _TIME)
        if effect.kind in {"receive", "lose"} and effect.peer in self._places and effect.peer != effect.machine:
            return [self._arrow(moment, detail)]
        return self._beside(effect.machine, " ".join(filter(None, (_verb(effect), detail))))

    def _beside(self, name: str, text: str) -> list[str]:
        """Words at the line of a machine; there may be more of them than its column is wide."""
        start = self._places[name] - _TIME + 1
        return [self._over(start, piece) for piece in _wrapped(text, self._width - _TIME - start)]

    def _arrow(self, moment: _Moment, detail: str) -> str:
        effect = moment.effect
        here, there = self._places[effect.machine] - _TIME, self._places[effect.peer] - _TIME
        room = abs(here - there) - 1
        words = "" if moment.under_way is None else f"{detail} +{moment.under_way * 1000:.1f} ms"
        if not words or len(words) > room - 5:
            words = _cut(detail, room - 5)
        body = f"- {words} ".ljust(room - 1, "-")
        if here > there:
            return self._over(there + 1, body + ("x" if effect.kind == "lose" else ">"))
        return self._over(here + 1, ("x" if effect.kind == "lose" else "<") + body)

    def _over(self, start: int, text: str) -> str:
        """A line with every machine's own line, and a text over it."""
        line = [" "] * (self._width - _TIME)
        for name, place in self._places.items():
            line[place - _TIME] = ":" if name in self._down else "|"
        line[start : start + len(text)] = text
        return "".join(line)


def _verb(effect: Effect) -> str:
    """What a machine does, where it is not drawn as an arrow."""
    match effect.kind:
        case "send":
            return f"sending to {effect.peer}:"
        case "receive" | "lose":
            return f"{effect.kind} from {effect.peer}:"
        case kind:
            return kind


def _wrapped(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, max(room, COLUMN_MIN // 2), max_lines=LINES_MAX, placeholder=" ..")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 2)] + ".."
