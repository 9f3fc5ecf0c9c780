"""The search agrees with trying every order, on histories small enough for that; and it says what is wrong."""

import itertools
import math

import pytest
from hypothesis import assume, given, strategies as st

from hanse.kernel.faults import Misconfigured
from hanse.sim.linear import UNKNOWN, Add, Model, Op, Sequential, Total, Unknown, Verdict, check, counter

CounterOp = Op[Add | Total, int]
Write = str | None
WriteOp = Op[Write, str]


def register() -> Sequential[str, Write, str]:
    """A value that is written, or read with None."""

    def apply(value: str, call: Write) -> tuple[str, str]:
        return (value, value) if call is None else (call, "ok")

    return Sequential("", apply)


def write(process: str, start: float, end: float, value: str, key: str = "k") -> WriteOp:
    return Op(process, key, start, end, value, UNKNOWN if end == math.inf else "ok")


def read(process: str, start: float, end: float, value: str, key: str = "k") -> WriteOp:
    return Op(process, key, start, end, None, value)


def outcome(*ops: WriteOp) -> str:
    return check(ops, register()).outcome


NEVER = math.inf


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], "linearizable"),
        ([read("a", 0, 1, "")], "linearizable"),
        ([read("a", 0, 1, "x")], "broken"),
        ([write("a", 0, 1, "x"), read("b", 2, 3, "x")], "linearizable"),
        ([write("a", 0, 1, "x"), read("b", 2, 3, "")], "broken"),
        ([write("a", 0, 2, "x"), read("b", 1, 3, "")], "linearizable"),
        ([write("a", 0, 3, "x"), read("b", 0, 1, "x"), read("c", 2, 3, "")], "broken"),
        ([write("a", 0, 3, "x"), read("b", 0, 1, ""), read("c", 2, 3, "x")], "linearizable"),
        ([write("a", 0, 3, "x"), write("b", 0, 3, "y"), read("c", 4, 5, "x"), read("c", 6, 7, "y")], "broken"),
        ([write("a", 0, NEVER, "x"), read("b", 1, 2, "")], "linearizable"),
        ([write("a", 0, NEVER, "x"), read("b", 1, 2, "x")], "linearizable"),
        ([write("a", 0, NEVER, "x"), read("b", 1, 2, ""), read("b", 8, 9, "x")], "linearizable"),
        ([write("a", 0, NEVER, "x"), read("b", 1, 2, "x"), read("b", 8, 9, "")], "broken"),
        ([write("a", 5, NEVER, "x"), read("b", 1, 2, "x")], "broken"),
    ],
)
def test_histories_that_one_can_judge_by_eye(history: list[WriteOp], expected: str) -> None:
    assert outcome(*history) == expected


def test_the_history_of_the_paper_is_linearizable() -> None:
    """Herlihy, Wing 1990, figure 1: reads of one value may straddle the write of another."""
    assert (
        outcome(write("a", 0, 4, "x"), write("b", 1, 3, "y"), read("c", 2, 5, "x"), read("d", 6, 7, "x"))[:3] == "lin"
    )
    assert outcome(write("a", 0, 1, "x"), write("b", 2, 3, "y"), read("c", 4, 5, "x"), read("d", 4, 5, "y")) == "broken"


def test_what_touches_overlaps_unless_one_process_did_both() -> None:
    """In virtual time an answer and the next call are often of one moment."""
    assert outcome(write("a", 0, 1, "x"), read("b", 1, 2, "")) == "linearizable"
    assert outcome(write("a", 0, 1, "x"), read("a", 1, 2, "")) == "broken"
    assert outcome(write("a", 1, 1, "x"), read("a", 1, 1, "x")) == "linearizable"
    assert outcome(write("a", 1, 1, "x"), read("a", 1, 1, "")) == "broken"
    assert outcome(read("a", 1, 1, ""), write("a", 1, 1, "x"), read("a", 1, 1, "x")) == "linearizable"


def test_keys_have_nothing_to_do_with_each_other() -> None:
    crossed = [write("a", 0, 1, "x", key="one"), read("b", 2, 3, "", key="two")]
    assert outcome(*crossed) == "linearizable"
    verdict = check([*crossed, read("b", 4, 5, "y", key="two")], register())
    assert (verdict.outcome, verdict.key) == ("broken", "two")


def test_the_smallest_broken_beginning_is_told() -> None:
    well = [write("a", at, at + 0.5, f"v{at}") for at in range(40)]
    late = [write("b", 60, 61, "later"), read("c", 62, 63, "later")]
    pending = write("d", 40.2, 70.0, "pending")
    verdict = check([*well, read("b", 50, 51, "v7"), pending, *late], register())
    assert verdict.outcome == "broken"
    assert verdict.ops[:-1] == (*well, read("b", 50, 51, "v7"))
    assert verdict.ops[-1] == write("d", 40.2, NEVER, "pending")
    assert verdict.order[: len(well)] == tuple(well)


def test_an_explanation_names_the_answer_that_does_not_fit() -> None:
    history = [write("a", at, at + 0.5, f"v{at}") for at in range(12)]
    verdict = check([*history, write("b", 19, NEVER, "lost"), read("c", 20, 21, "v3")], register())
    assert verdict.explanation.splitlines() == [
        "'k' is not linearizable: some order explains all answers until second 21, none this:",
        "  c [20, 21] None -> v3",
        "What could have been before it:",
        "  (2 calls)",
        *(f"  a [{at}, {at}.5] v{at} -> ok" for at in range(2, 12)),
        "which leaves: v11",
        "Calls without an answer, which do not explain it either:",
        "  b [19, ...] lost, no answer",
    ]


def test_an_explanation_ends() -> None:
    lost = [write(f"p{n}", n, NEVER, f"v{n}") for n in range(30)]
    lines = check([*lost, read("c", 40, 41, "v99")], register()).explanation.splitlines()
    assert lines[-2:] == ["  p29 [29, ...] v29, no answer", "  (and 20 earlier ones)"]
    assert len(lines) == 16


def hard(size: int) -> list[CounterOp]:
    """Nobody can tell which of so many different additions were made, and no choice of them makes the total."""
    adds: list[CounterOp] = [Op(f"p{n}", "k", 0.0, NEVER, Add(2**n), UNKNOWN) for n in range(size)]
    return [*adds, Op("q", "k", 1.0, 2.0, Total(), -1)]


def test_past_the_limit_of_steps_the_verdict_is_that_there_is_none() -> None:
    verdict = check(hard(30), counter(), steps_max=1000)
    assert (verdict.outcome, verdict.key, verdict.steps) == ("undecided", "k", 1001)
    assert "some order explains 0 of its 1 answers, and in 1000 steps" in verdict.explanation
    assert check(hard(6), counter()).outcome == "broken"


def test_what_is_broken_counts_more_than_what_is_undecided() -> None:
    other: CounterOp = Op("a", "other", 0.0, 1.0, Total(), 7)
    history = [*hard(30), other]
    assert check(history, counter(), steps_max=1000).key == "other"


@pytest.mark.parametrize(
    ("start", "end", "result"), [(2.0, 1.0, 0), (1.0, NEVER, 0), (1.0, 2.0, UNKNOWN), (math.nan, 1.0, 0)]
)
def test_a_call_that_cannot_have_been_is_refused(start: float, end: float, result: int | Unknown) -> None:
    with pytest.raises(Misconfigured, match="expected a call from its begin to its answer"):
        Op("a", "k", start, end, Add(), result)


def explains(order: tuple[CounterOp, ...], model: Model[int, Add | Total, int]) -> bool:
    state: int | None = model.initial
    for op in order:
        state = None if state is None else model.step(state, op.call, op.result)
    return state is not None


def in_time(order: tuple[CounterOp, ...]) -> bool:
    return not any(later.end < earlier.start for earlier, later in itertools.combinations(order, 2))


def brute_force(history: list[CounterOp]) -> bool:
    """Every order of every choice of the calls without an answer."""
    answered = [op for op in history if op.result is not UNKNOWN]
    lost = [op for op in history if op.result is UNKNOWN]
    choices = itertools.chain.from_iterable(itertools.combinations(lost, n) for n in range(len(lost) + 1))
    return any(
        in_time(order) and explains(order, counter())
        for chosen in choices
        for order in itertools.permutations([*answered, *chosen])
    )


CALLS = st.one_of(st.builds(Add, st.integers(1, 2)), st.just(Total()))


@st.composite
def small_histories(draw: st.DrawFn) -> list[CounterOp]:
    history: list[CounterOp] = []
    for number in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, 8))
        lost = draw(st.booleans()) and draw(st.booleans())
        end = NEVER if lost else float(start + draw(st.integers(1, 5)))
        result = UNKNOWN if lost else draw(st.integers(0, 4))
        history.append(Op(f"p{number}", "k", float(start), end, draw(CALLS), result))
    return history


@given(small_histories())
def test_the_verdict_is_that_of_trying_every_order(history: list[CounterOp]) -> None:
    assert (check(history, counter()).outcome == "linearizable") == brute_force(history)


@given(small_histories())
def test_what_is_told_of_a_broken_history_is_so(history: list[CounterOp]) -> None:
    verdict = check(history, counter())
    assume(verdict.outcome == "broken")
    assert not brute_force(list(verdict.ops))
    assert explains(verdict.order, counter())
    assert in_time(verdict.order)
    assert before_the_last_answer(verdict)


def before_the_last_answer(verdict: Verdict[Add | Total, int]) -> bool:
    """Whether the beginning was well until its last answer came."""
    last = max((op for op in verdict.ops if op.result is not UNKNOWN), key=lambda op: op.end)
    tied = [op for op in verdict.ops if op.end == last.end]
    return any(
        brute_force([Op(o.process, o.key, o.start, NEVER, o.call, UNKNOWN) if o is one else o for o in verdict.ops])
        for one in tied
    )


@st.composite
def runs(draw: st.DrawFn) -> list[CounterOp]:
    """Calls that a real counter answered one after the other, each seen from before until after that moment."""
    history: list[CounterOp] = []
    total = 0
    for number in range(draw(st.integers(1, 40))):
        call = draw(CALLS)
        total += call.by if isinstance(call, Add) else 0
        lost = draw(st.integers(0, 9)) == 0
        start = number - draw(st.floats(0.0, 3.0))
        end = NEVER if lost else number + draw(st.floats(0.0, 3.0))
        history.append(Op(f"p{number}", "k", start, end, call, UNKNOWN if lost else total))
    return draw(st.permutations(history))


@given(runs())
def test_what_a_real_counter_answered_is_linearizable(history: list[CounterOp]) -> None:
    assert check(history, counter()).outcome == "linearizable"


@given(runs(), st.data())
def test_an_answer_that_no_counter_gives_is_found(history: list[CounterOp], data: st.DataObject) -> None:
    answered = [place for place, op in enumerate(history) if op.result is not UNKNOWN]
    assume(answered)
    place = data.draw(st.sampled_from(answered))
    op = history[place]
    history[place] = Op(op.process, op.key, op.start, op.end, op.call, 1000)
    verdict = check(history, counter())
    assert verdict.outcome == "broken"
    assert history[place] in verdict.ops


def test_a_long_history_takes_about_a_step_a_call() -> None:
    history = [write(f"p{at % 5}", at, at + 4.5, f"v{at}") for at in range(2000)]
    assert check(history, register()).steps < 3 * len(history)
