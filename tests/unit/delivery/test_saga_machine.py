"""What becomes of a step that failed, and what is to be undone."""

import pytest
from hypothesis import given, strategies as st

from hanse.delivery.retry import Terminal
from hanse.delivery.saga_machine import (
    SILENT,
    STEP_ATTEMPTS,
    UNDO_ATTEMPTS,
    Verdict,
    after_settling,
    after_step,
    after_undo,
    in_order,
    misfit,
    way_back,
)
from hanse.delivery.saga_rows import SETTLED, UNDO, SagaStep
from hanse.kernel.faults import (
    AnswerLost,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Internal,
    Invalid,
    NotFound,
    Overloaded,
    Unavailable,
)

FAILURES = [
    Unavailable("away"),
    Overloaded("full"),
    DeadlineExceeded("x.y"),
    Conflict("a race"),
    NotFound("order", "1"),
    Terminal("never"),
    Internal("ref"),
    AnswerLost("lost"),
    KeyError("?"),
]


@pytest.mark.parametrize(
    ("error", "attempt", "left", "keyed", "verdict"),
    [
        (Terminal("never"), 1, 9.0, True, Verdict.FAILED),
        (NotFound("order", "1"), 1, 9.0, True, Verdict.FAILED),
        (Conflict("a race"), 1, 9.0, True, Verdict.AGAIN),
        (Conflict("a race"), STEP_ATTEMPTS, 9.0, True, Verdict.FAILED),
        (Conflict("a race"), 1, 0.0, True, Verdict.FAILED),
        (Unavailable("away"), 99, 0.1, True, Verdict.AGAIN),
        (DeadlineExceeded("x.y"), 1, 0.0, True, Verdict.UNSETTLED),
        (DeadlineExceeded("x.y"), 1, 0.0, False, Verdict.FAILED),
        (AnswerLost("lost"), 1, 9.0, True, Verdict.STUCK),
        (Internal("ref"), STEP_ATTEMPTS - 1, 9.0, True, Verdict.AGAIN),
        (Internal("ref"), STEP_ATTEMPTS, 9.0, True, Verdict.STUCK),
        (KeyError("?"), STEP_ATTEMPTS, 9.0, False, Verdict.STUCK),
    ],
)
def test_what_becomes_of_a_step(error: Exception, attempt: int, left: float, keyed: bool, verdict: Verdict) -> None:
    assert after_step(error, attempt, time_left=left, keyed=keyed) is verdict


@given(st.sampled_from(FAILURES), st.integers(1, 99), st.floats(0.0, 99.0), st.booleans())
def test_only_silence_leaves_a_step_unsettled(error: Exception, attempt: int, left: float, keyed: bool) -> None:
    if after_step(error, attempt, time_left=left, keyed=keyed) is Verdict.UNSETTLED:
        assert isinstance(error, SILENT)
        assert keyed


@given(st.sampled_from(FAILURES), st.booleans())
def test_every_step_comes_to_an_end(error: Exception, keyed: bool) -> None:
    assert after_step(error, STEP_ATTEMPTS, time_left=0.0, keyed=keyed) is not Verdict.AGAIN
    assert after_undo(error, UNDO_ATTEMPTS, time_left=0.0) is Verdict.STUCK
    assert after_settling(error, UNDO_ATTEMPTS, time_left=0.0) is not Verdict.AGAIN


@pytest.mark.parametrize(
    ("error", "attempt", "verdict"),
    [
        (Terminal("never"), 1, Verdict.STUCK),
        (Invalid("no", []), 1, Verdict.STUCK),
        (NotFound("order", "1"), 1, Verdict.AGAIN),
        (Unavailable("away"), 99, Verdict.AGAIN),
        (KeyError("?"), UNDO_ATTEMPTS, Verdict.STUCK),
    ],
)
def test_what_becomes_of_an_undo(error: Exception, attempt: int, verdict: Verdict) -> None:
    assert after_undo(error, attempt, time_left=9.0) is verdict


@pytest.mark.parametrize(
    ("error", "attempt", "verdict"),
    [
        (Forbidden(), 1, Verdict.FAILED),
        (Conflict("a race"), 1, Verdict.AGAIN),
        (AnswerLost("lost"), 1, Verdict.STUCK),
        (Unavailable("away"), 99, Verdict.AGAIN),
        (KeyError("?"), UNDO_ATTEMPTS, Verdict.FAILED),
    ],
)
def test_what_settles_a_step(error: Exception, attempt: int, verdict: Verdict) -> None:
    assert after_settling(error, attempt, time_left=9.0) is verdict


def step(name: str, rev: int, *, fault: bytes = b"", unsettled: bool = False, closed: bool = True) -> SagaStep:
    return SagaStep(saga="s", name=name, kind="step", rev=rev, fault=fault, unsettled=unsettled, closed=closed)


def test_the_way_back_leaves_out_what_had_no_effect() -> None:
    known = [
        step("a", 1),
        step("failed", 2, fault=b"x"),
        step("open", 3, closed=False),
        step("maybe", 4, fault=b"x", unsettled=True),
        step("did", 5, fault=b"x", unsettled=True),
        step("did not", 6, fault=b"x", unsettled=True),
        step("plain", 7),
        step("z", 8),
        step(f"{SETTLED}did", 9),
        step(f"{SETTLED}did not", 10, fault=b"x"),
        step(f"{UNDO}z", 11),
    ]
    undoable = ["a", "failed", "open", "maybe", "did", "did not", "z"]
    assert [one.name for one in way_back({one.name: one for one in known}, undoable)] == ["did", "maybe", "a"]


def test_the_order_is_that_of_the_ends() -> None:
    known = [step("b", 2), step("a", 3), step(f"{UNDO}a", 4), step("c", 1)]
    assert [one.name for one in in_order(known)] == ["c", "b", "a"]


def test_arguments_that_are_unknown_fit() -> None:
    known = SagaStep(saga="s", name="a", kind="step", digest="7f")
    assert misfit(known, "step", "") == misfit(known, "step", "7f") == ""
    assert "as step, the code as sleep" in misfit(known, "sleep", "7f")
