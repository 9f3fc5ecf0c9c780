"""Linearizability: whether calls that overlapped were answered as if they had been made one after the other.

Each call has to take effect at one moment between its begin and its answer. A search looks for an order that explains
all answers (Wing, Gong: Testing and Verifying Concurrent Objects, 1993). It goes from answer to answer, and lets calls
take effect no earlier than the next answer demands it (Lowe: Testing for Linearizability, 2017); it remembers where it
has been; and it goes through the keys one by one, because a system is linearizable if it is for each key by itself.

A call that nobody heard an answer of may have taken effect at any time after its begin, or never. Each doubles what is
possible, so one more thing is remembered: who has come to a state with fewer of them used up can still do whatever
anybody can who used more. In the worst case there are exponentially many orders all the same; past a limit of steps
the verdict is that there is none.
"""

from __future__ import annotations

import bisect
import enum
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, Literal, Protocol, TypeVar, final

import msgspec

from hanse.kernel.faults import Misconfigured

S = TypeVar("S")
C = TypeVar("C")
R = TypeVar("R")
C_contra = TypeVar("C_contra", contravariant=True)
R_contra = TypeVar("R_contra", contravariant=True)

STEPS_MAX = 1_000_000
"""Calls tried for one key (a few seconds of work) until its verdict is `undecided`."""

ORDER_SHOWN = 10
"""Calls of the longest order that an explanation tells, the last ones."""

OTHERS_SHOWN = 10
"""Calls without answers that an explanation tells besides, the last ones."""


class Unknown(enum.Enum):
    """The one value that stands for an answer that never came."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
"""What a call was answered with whose caller gave up: it may have taken effect, and may still."""


class Op(msgspec.Struct, Generic[C, R], frozen=True):
    """A call, as its caller saw it.

    Attributes:
        process: Who called.
        key: What it was about; calls about different keys have nothing to do with each other.
        start: Second of the world's clock at which it was called.
        end: Second of the answer; infinite where none came.
        call: What was asked.
        result: The answer; `UNKNOWN` where none came.

    Raises:
        Misconfigured: It ends before it begins, or has an answer that never came.
    """

    process: str
    key: str
    start: float
    end: float
    call: C
    result: R | Unknown

    def __post_init__(self) -> None:
        if not self.start <= self.end or (self.result is UNKNOWN) != (self.end == math.inf):
            raise Misconfigured(
                f"expected a call from its begin to its answer, or to infinity where the answer is UNKNOWN;"
                f" got {self.call} from {self.start} to {self.end}, answered {self.result}"
            )


class Model(Protocol[S, C_contra, R_contra]):
    """What the answers would be, were the calls made one after the other."""

    @property
    def initial(self) -> S:
        """The state that every key begins with."""
        ...

    def step(self, state: S, call: C_contra, result: R_contra | Unknown, /) -> S | None:
        """What a call that is answered like this makes of a state; None where it could not be answered like this.

        A state can be compared and hashed, and is never None. An `UNKNOWN` result asks what it is after the call has
        taken effect: the same state, if it would have been refused.
        """
        ...


@final
class Sequential(Generic[S, C, R]):
    """A model in which state and call determine the answer.

    Example:
        >>> counter = Sequential(0, lambda total, by: (total + by, total + by))
        >>> counter.step(3, 2, 5), counter.step(3, 2, 6), counter.step(3, 2, UNKNOWN)
        (5, None, 5)
    """

    def __init__(self, initial: S, apply: Callable[[S, C], tuple[S, R]]) -> None:
        """A model.

        Args:
            initial: The state that every key begins with.
            apply: The state after a call, and its answer.
        """
        self.initial: S = initial
        self._apply = apply

    def step(self, state: S, call: C, result: R | Unknown, /) -> S | None:
        """See `Model.step`."""
        after, expected = self._apply(state, call)
        return after if result is UNKNOWN or result == expected else None


class Verdict(msgspec.Struct, Generic[C, R], frozen=True):
    """Whether a history is linearizable.

    Attributes:
        outcome: `linearizable`; `broken`; `undecided` where the limit of steps was reached before one or the other.
        key: Which key is broken or undecided; empty where the history is linearizable.
        ops: The key's calls; where it is broken, its smallest beginning that is broken already.
        order: The longest order of these calls that was found to explain the answers that it has.
        explanation: All of it in words; empty where the history is linearizable.
        steps: How many calls were tried.
    """

    outcome: Literal["linearizable", "broken", "undecided"]
    key: str = ""
    ops: tuple[Op[C, R], ...] = ()
    order: tuple[Op[C, R], ...] = ()
    explanation: str = ""
    steps: int = 0


def check(history: Iterable[Op[C, R]], model: Model[S, C, R], *, steps_max: int = STEPS_MAX) -> Verdict[C, R]:
    """Whether there is an order of the calls that explains their answers.

    What ended at the moment at which something else began counts as overlapping; but not if one process made both
    calls, which then come in the order of the history.

    Args:
        history: The calls, in the order in which they were begun.
        model: What answers are possible.
        steps_max: Calls tried for one key.

    Example:
        >>> counter = Sequential(0, lambda total, by: (total + by, total + by))
        >>> both = [Op("a", "k", 0.0, 2.0, 1, 1), Op("b", "k", 1.0, 3.0, 1, 1)]
        >>> check(both, counter).outcome, check(both[:1], counter).outcome
        ('broken', 'linearizable')
    """
    keys: dict[str, list[Op[C, R]]] = {}
    for op in history:
        keys.setdefault(op.key, []).append(op)
    steps = 0
    undecided: Verdict[C, R] | None = None
    for key, ops in keys.items():
        search = _Search(ops, model, steps_max)
        outcome = search.run()
        steps += search.steps
        if outcome == "broken":
            return msgspec.structs.replace(_broken(key, _shortest(search)), steps=steps)
        if outcome == "undecided":
            undecided = undecided or _undecided(key, search)
    if undecided is None:
        return Verdict("linearizable", steps=steps)
    return msgspec.structs.replace(undecided, steps=steps)


class _Taken(msgspec.Struct, Generic[S], frozen=True):
    """Calls that have taken effect.

    Attributes:
        early: Those of them whose answers are still to come, as bits.
        used: Those of them that have no answers, as bits.
        state: What they made.
        order: The last of them, and those before it.
    """

    early: int
    used: int
    state: S
    order: _Order | None


class _Order(msgspec.Struct, frozen=True):
    place: int
    before: _Order | None


class _OutOfSteps(Exception):
    """The search has reached its limit."""


@final
class _Search(Generic[S, C, R]):
    """Looks for an order of the calls of one key. Operations are named by their places in the history."""

    def __init__(self, ops: Sequence[Op[C, R]], model: Model[S, C, R], steps_max: int) -> None:
        self.ops: Sequence[Op[C, R]] = ops
        self.model: Model[S, C, R] = model
        self.steps_max: int = steps_max
        self.steps: int = 0
        self.reached: int = 0
        self.longest: _Taken[S] = _Taken(0, 0, model.initial, None)
        by_start = sorted(range(len(ops)), key=lambda place: ops[place].start)
        self.lost: list[int] = [place for place in by_start if ops[place].result is UNKNOWN]
        answered = [place for place in by_start if ops[place].result is not UNKNOWN]
        self.answers: list[int] = sorted(answered, key=lambda place: ops[place].end)
        self._pending = _pending(ops, answered, self.answers)
        starts = [ops[place].start for place in self.lost]
        self._begun = [bisect.bisect_right(starts, ops[place].end) for place in self.answers]
        self._first = _forerunners(ops)
        self._passed = _running_bits(self.answers)
        self._seen: dict[tuple[int, int, S], list[int]] = {}

    def run(self) -> Literal["linearizable", "broken", "undecided"]:
        """The outcome; `reached` is the number of answers that some order explains, and `longest` such an order."""
        ways = [iter((self.longest,))]
        try:
            while ways and self.reached < len(self.answers):
                taken = next(ways[-1], None)
                if taken is None:
                    ways.pop()
                elif self._is_new(self._seen, len(ways) - 1, taken):
                    if len(ways) - 1 > self.reached:
                        self.reached, self.longest = len(ways) - 1, taken
                    if self.reached < len(self.answers):
                        ways.append(self._past(len(ways) - 1, taken))
        except _OutOfSteps:
            return "undecided"
        return "linearizable" if self.reached == len(self.answers) else "broken"

    def _past(self, number: int, taken: _Taken[S]) -> Iterator[_Taken[S]]:
        """All ways past an answer: its call takes effect, perhaps behind others that may; few others first."""
        place = self.answers[number]
        if taken.early >> place & 1:
            yield _Taken(taken.early ^ 1 << place, taken.used, taken.state, taken.order)
            return
        others = (*self._pending[number], *self.lost[: self._begun[number]])
        ways = [taken]
        seen: dict[tuple[int, int, S], list[int]] = {}
        while ways:
            for way in ways:
                after = self._step(number, way, place)
                if after is not None:
                    yield _Taken(way.early, way.used, after, _Order(place, way.order))
            longer = (self._with(number, way, other) for way in ways for other in others)
            ways = [way for way in longer if way is not None and self._is_new(seen, number, way)]

    def _with(self, number: int, taken: _Taken[S], place: int) -> _Taken[S] | None:
        """After one more call, where it can be the next."""
        bit = 1 << place
        if (taken.early | taken.used) & bit:
            return None
        after = self._step(number, taken, place)
        if after is None:
            return None
        if self.ops[place].result is not UNKNOWN:
            return _Taken(taken.early | bit, taken.used, after, _Order(place, taken.order))
        # A call without an answer that changes nothing might as well not have been made.
        return (
            None if after == taken.state else _Taken(taken.early, taken.used | bit, after, _Order(place, taken.order))
        )

    def _step(self, number: int, taken: _Taken[S], place: int) -> S | None:
        self.steps += 1
        if self.steps > self.steps_max:
            raise _OutOfSteps
        if self._first[place] & ~(taken.early | self._passed[number]):
            return None
        op = self.ops[place]
        return self.model.step(taken.state, op.call, op.result)

    @staticmethod
    def _is_new(seen: dict[tuple[int, int, S], list[int]], number: int, taken: _Taken[S]) -> bool:
        """Whether nobody was here before with fewer calls, or the same, used up; notes that somebody was."""
        known = seen.setdefault((number, taken.early, taken.state), [])
        if any(used & taken.used == used for used in known):
            return False
        known.append(taken.used)
        return True


def _forerunners(ops: Sequence[Op[C, R]]) -> list[int]:
    """For each call, as bits, those of its process that were answered the moment it began: they come first."""
    ended: dict[tuple[str, float], int] = {}
    masks: list[int] = []
    for place, op in enumerate(ops):
        masks.append(ended.get((op.process, op.start), 0))
        if op.result is not UNKNOWN:
            ended[op.process, op.end] = ended.get((op.process, op.end), 0) | 1 << place
    return masks


def _pending(ops: Sequence[Op[C, R]], by_start: Sequence[int], by_end: Sequence[int]) -> list[tuple[int, ...]]:
    """For each answer, the calls that have begun by then and are answered later."""
    begun: dict[int, None] = {}
    coming = iter((*by_start, None))
    place = next(coming)
    found: list[tuple[int, ...]] = []
    for answer in by_end:
        while place is not None and ops[place].start <= ops[answer].end:
            begun[place] = None
            place = next(coming)
        del begun[answer]
        found.append(tuple(begun))
    return found


def _running_bits(places: Sequence[int]) -> list[int]:
    """For each of some places, the ones before it as bits."""
    masks = [0]
    for place in places:
        masks.append(masks[-1] | 1 << place)
    return masks


def _order_of(taken: _Taken[S]) -> list[int]:
    places: list[int] = []
    link = taken.order
    while link is not None:
        places.append(link.place)
        link = link.before
    return places[::-1]


def _shortest(search: _Search[S, C, R]) -> _Search[S, C, R]:
    """The search through the smallest beginning of a broken history that is broken already.

    It ends with an answer. The search through the whole has found that all is well before `reached`; often the next
    answer is it, but a search also stops short of a call that later gets an answer which never fits.
    """
    well, broken, length = search.reached, search, len(search.answers)
    tried = well + 1
    while well + 1 < length:
        shorter = _Search(_beginning(search, tried), search.model, search.steps_max)
        if shorter.run() == "broken":
            broken, length = shorter, tried
        else:
            well = tried
        tried = (well + length) // 2
    return broken


def _beginning(search: _Search[S, C, R], count: int) -> list[Op[C, R]]:
    """A history as it was when some answers had come: others were still to come then."""
    came = {*search.answers[:count]}
    now = search.ops[search.answers[count - 1]].end
    return [
        op if place in came else msgspec.structs.replace(op, end=math.inf, result=UNKNOWN)
        for place, op in enumerate(search.ops)
        if op.start <= now
    ]


def _broken(key: str, search: _Search[S, C, R]) -> Verdict[C, R]:
    ops, places = search.ops, _order_of(search.longest)
    order = tuple(ops[place] for place in places)
    others = [op for place, op in enumerate(ops) if place not in places and op.result is UNKNOWN]
    text = _words(key, ops[search.answers[-1]], order, others, search.longest.state)
    return Verdict("broken", key, tuple(ops), order, text)


def _undecided(key: str, search: _Search[S, C, R]) -> Verdict[C, R]:
    order = tuple(search.ops[place] for place in _order_of(search.longest))
    text = (
        f"{key!r} is undecided: some order explains {search.reached} of its {len(search.answers)} answers, and in"
        f" {search.steps_max} steps it was not known whether one explains them all;"
        f" let fewer calls overlap, or allow more steps"
    )
    return Verdict("undecided", key, tuple(search.ops), order, text)


def _words(key: str, misfit: Op[C, R], order: Sequence[Op[C, R]], others: Sequence[Op[C, R]], state: object) -> str:
    hidden = len(order) - ORDER_SHOWN
    lines = [
        f"{key!r} is not linearizable: some order explains all answers until second {misfit.end:g}, none this:",
        f"  {_told(misfit)}",
        "What could have been before it:",
        *([f"  ({hidden} calls)"] if hidden > 0 else []),
        *(f"  {_told(op)}" for op in order[-ORDER_SHOWN:]),
        f"which leaves: {state}",
    ]
    if others:
        lines.append("Calls without an answer, which do not explain it either:")
        lines += [f"  {_told(op)}" for op in others[-OTHERS_SHOWN:]]
    if len(others) > OTHERS_SHOWN:
        lines.append(f"  (and {len(others) - OTHERS_SHOWN} earlier ones)")
    return "\n".join(lines)


def _told(op: Op[C, R]) -> str:
    if op.result is UNKNOWN:
        return f"{op.process} [{op.start:g}, ...] {op.call}, no answer"
    return f"{op.process} [{op.start:g}, {op.end:g}] {op.call} -> {op.result}"


class Add(msgspec.Struct, frozen=True):
    """Add to a counter; the answer is its total after that."""

    by: int = 1


class Total(msgspec.Struct, frozen=True):
    """Ask for the total of a counter."""


def counter() -> Sequential[int, Add | Total, int]:
    """A number that one can add to, from 0.

    Example:
        >>> counter().step(3, Add(2), 5), counter().step(3, Total(), 4)
        (5, None)
    """

    def apply(total: int, call: Add | Total) -> tuple[int, int]:
        after = total + call.by if isinstance(call, Add) else total
        return after, after

    return Sequential(0, apply)
