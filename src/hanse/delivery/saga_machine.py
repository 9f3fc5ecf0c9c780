"""What becomes of a saga: the decisions, as functions of what its journal holds and of what was just tried.

Forward, a step that fails is told to the saga's own code once that is certain: what a contract knows at once, what may
go away with time after some attempts, what says nothing about the step (somebody is away, or did not answer) not before
the time of the saga is over. Then nobody knows whether the step took effect: it is unsettled, and on the way back it is
asked for again under the same key, until that is known. An error that no contract knows is nobody's decision: the saga
gets stuck, and somebody has to look.

States: running -> done | undoing -> undone; and from running or undoing -> stuck, and back by hand.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from hanse.delivery.retry import HOPELESS
from hanse.delivery.saga_rows import BY_HAND, SETTLED, UNDO, SagaStep
from hanse.kernel.faults import (
    AnswerLost,
    BrokenContract,
    Cancelled,
    DeadlineExceeded,
    Fault,
    Internal,
    Misdeclared,
    Overloaded,
    Unavailable,
    UnderWay,
    UnknownOperation,
)

STEP_ATTEMPTS = 5
"""How often a step is tried whose failures may go away; what is only away is waited for beyond that."""

UNDO_ATTEMPTS = 10
"""How often an undo is tried before the saga gets stuck; what is only away is waited for beyond that."""

WAY_BACK_SECONDS = 86_400.0
"""How long the way back waits for what is away before the saga gets stuck."""

SILENT = (Unavailable, Overloaded, DeadlineExceeded, UnderWay, Cancelled, UnknownOperation)
"""Faults that do not say whether the step took effect, or was even begun. They count as no attempt."""

UNEXPECTED = (Internal, BrokenContract, Misdeclared, AnswerLost)
"""Faults that no contract knows; like an exception that is no fault, they are for a person to look at."""


class SagaStuck(Fault, status=500, detail="the saga {saga} is stuck at {step}: {why}"):
    """A saga cannot go on by itself; `hanse sagas show` tells why, `resume` or `abort` has it go on."""

    saga: str
    step: str
    why: str


class SagaAborted(Fault, status=409, detail="the saga was aborted by hand"):
    """Somebody had a saga turn back; what it had done is undone."""


class SagaUndone(Fault, status=409, detail="the saga {saga} is undone, as {why}; ask anew, under another key"):
    """A saga has turned back as something did not answer in time; what it had done is undone, and it is over.

    In place of the fault itself, such as `DeadlineExceeded`: to a caller that would mean that there is no answer yet.

    Attributes:
        saga: Its id.
        cause: The code of the fault.
        why: What that said.
    """

    saga: str
    cause: str
    why: str


class Verdict(enum.Enum):
    """What becomes of a step that failed."""

    AGAIN = "again"
    FAILED = "failed"
    """It did not take effect, and the saga is told."""
    UNSETTLED = "unsettled"
    """The saga is told, and nobody knows whether it took effect."""
    STUCK = "stuck"


def after_step(error: Exception, attempt: int, *, time_left: float, keyed: bool) -> Verdict:
    """What becomes of a step after an attempt that failed.

    Args:
        error: What it failed with.
        attempt: Which attempt it was, from 1.
        time_left: Seconds that are left to the step and its saga.
        keyed: Whether it happens elsewhere, so that silence does not say what became of it.

    Example:
        >>> after_step(Unavailable("away"), 99, time_left=1.0, keyed=True).value
        'again'
        >>> after_step(Unavailable("away"), 99, time_left=0.0, keyed=True).value
        'unsettled'
        >>> after_step(KeyError("?"), 5, time_left=9.0, keyed=False).value
        'stuck'
    """
    if isinstance(error, SILENT) and time_left > 0:
        return Verdict.AGAIN
    if isinstance(error, SILENT):
        return Verdict.UNSETTLED if keyed else Verdict.FAILED
    if isinstance(error, AnswerLost):
        return Verdict.STUCK
    if not isinstance(error, Fault) or isinstance(error, UNEXPECTED):
        return Verdict.AGAIN if attempt < STEP_ATTEMPTS else Verdict.STUCK
    again = error.retryable and attempt < STEP_ATTEMPTS and time_left > 0
    return Verdict.AGAIN if again else Verdict.FAILED


def after_undo(error: Exception, attempt: int, *, time_left: float) -> Verdict:
    """What becomes of an undo after an attempt that failed: it is tried again, or a person has to look.

    Args:
        error: What it failed with.
        attempt: Which attempt it was, from 1; those that met silence do not count.
        time_left: Seconds that are left for what is away.

    Example:
        >>> from hanse.kernel.faults import Conflict
        >>> after_undo(Conflict("a race"), 1, time_left=9.0).value, after_undo(KeyError("?"), 10, time_left=9.0).value
        ('again', 'stuck')
    """
    if isinstance(error, SILENT):
        return Verdict.AGAIN if time_left > 0 else Verdict.STUCK
    hopeless = isinstance(error, (*HOPELESS, AnswerLost))
    return Verdict.STUCK if hopeless or attempt >= UNDO_ATTEMPTS else Verdict.AGAIN


def after_settling(error: Exception, attempt: int, *, time_left: float) -> Verdict:
    """What becomes of asking whether a step took effect: `FAILED` says that it did not.

    Example:
        >>> from hanse.kernel.faults import Conflict
        >>> after_settling(Conflict("sold out"), 10, time_left=9.0).value
        'failed'
    """
    if isinstance(error, AnswerLost):
        return Verdict.STUCK
    if isinstance(error, SILENT):
        return Verdict.AGAIN if time_left > 0 else Verdict.STUCK
    again = not isinstance(error, Fault) or isinstance(error, (Internal, BrokenContract)) or error.retryable
    return Verdict.AGAIN if again and attempt < UNDO_ATTEMPTS else Verdict.FAILED


def told_of(saga: str, fault: Fault) -> Fault:
    """What the caller of a saga that is undone is told.

    Example:
        >>> from hanse.kernel.faults import Conflict
        >>> [told_of("7", fault).code for fault in (Conflict("sold out"), DeadlineExceeded("orders.place"))]
        ['conflict', 'saga_undone']
    """
    return SagaUndone(saga, fault.code, str(fault)) if isinstance(fault, SILENT) else fault


def in_order(steps: Iterable[SagaStep]) -> list[SagaStep]:
    """What a saga went through, in the order in which it happened, without its way back and what was done by hand."""
    forward = [one for one in steps if not one.name.startswith((UNDO, SETTLED, BY_HAND))]
    return sorted(forward, key=lambda one: one.rev)


def way_back(steps: Mapping[str, SagaStep], undoable: Iterable[str]) -> list[SagaStep]:
    """The steps that are to be undone yet, the last one first; some of them may have to be settled before.

    Args:
        steps: All that the journal holds, by name.
        undoable: Names of steps that can be undone.

    Example:
        >>> done = [SagaStep(saga="s", name=name, kind="step", rev=rev) for rev, name in enumerate("abc", 1)]
        >>> undone = SagaStep(saga="s", name="undo:c", kind="undo", rev=9)
        >>> [one.name for one in way_back({one.name: one for one in (*done, undone)}, "abc")]
        ['b', 'a']
    """
    wanted = set(undoable)
    return [
        step
        for step in reversed(in_order(steps.values()))
        if step.name in wanted and step.closed and took_effect(step, steps) and f"{UNDO}{step.name}" not in steps
    ]


def took_effect(step: SagaStep, steps: Mapping[str, SagaStep]) -> bool:
    """Whether a step that has ended took effect, or may have."""
    settled = steps.get(f"{SETTLED}{step.name}")
    if settled is not None:
        return not settled.fault
    return step.unsettled or not step.fault


def misfit(step: SagaStep, kind: str, digest: str) -> str:
    """What of a step does not fit what the code asks for under its name; empty where all does.

    Example:
        >>> misfit(SagaStep(saga="s", name="a", kind="step", digest="7f"), "step", "ab")
        'the journal has it with other arguments'
    """
    if step.kind != kind:
        return f"the journal has it as {step.kind}, the code as {kind}"
    if step.digest and digest and step.digest != digest:
        return "the journal has it with other arguments"
    return ""
