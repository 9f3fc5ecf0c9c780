"""What a saga leaves behind: a row for the run, and one for each thing that it did, in the store of its service.

The row of a step is committed with what the step wrote, and is never written twice: so a step is remembered exactly
when it took effect. Rows stand under names, not under numbers, so that steps which run side by side may end in any
order. The order in which they did end is that of their revisions.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.codec import codec_for
from hanse.store.base import Row

State = Literal["running", "undoing", "done", "undone", "stuck"]

LIVE: tuple[State, ...] = ("running", "undoing")
"""States of a saga that goes on by itself."""

ENDED: tuple[State, ...] = ("done", "undone")
"""States of a saga that is over."""

NEVER = -1
"""The position of who waits for no events."""

UNDO = "undo:"
"""Begins the name of what undid a step."""

SETTLED = "settled:"
"""Begins the name of what told, on the way back, whether a step had taken effect."""


BY_HAND = "by hand:"
"""Begins the name of what somebody did about a saga: no step of it."""


class SagaRow(Resource, collection="sagas", indexed=("state",)):
    """A run of a saga.

    Attributes:
        name: `service.method`.
        version: Which version of the method began it, and has to end it.
        state: `running`; `undoing` on its way back; `done`; `undone`; `stuck` until somebody resumes or aborts it.
        arguments: In JSON.
        digest: Of the arguments, to tell a repeat from another call under the same key.
        headers: Who asked, and what story it belongs to, in MessagePack.
        tags: The business tags of the story.
        started_at, ended_at: Wall-clock seconds; 0 for not yet.
        due: Wall-clock second at which its way back begins by itself.
        turned_at: Wall-clock second at which its way back began; 0 where it goes forward.
        since: Position of the log at its start: what happened later may be waited for; `NEVER` where it waits for none.
        abort: Whether somebody wants it to turn back.
        result: In JSON, once it is done.
        fault: Why it turned back, as a reply would tell it, in MessagePack.
        why: Why it turned back, or is stuck; for people.
        step: What it is stuck at, or tries again.
        trouble: What that failed with.
        stuck_in: The state that it was in when it got stuck.
    """

    name: str
    version: int
    arguments: str
    state: State = "running"
    digest: str = ""
    headers: bytes = b""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    started_at: float = 0.0
    ended_at: float = 0.0
    due: float = 0.0
    turned_at: float = 0.0
    since: int = NEVER
    abort: bool = False
    result: str = ""
    fault: bytes = b""
    why: str = ""
    step: str = ""
    trouble: str = ""
    stuck_in: State = "running"


class SagaStep(Resource, collection="saga_steps", indexed=("saga",)):
    """One thing that a saga did, or waits for.

    Attributes:
        saga: Its id.
        name: Within the saga: branch, name and number, such as `left/payments.charge#2`.
        kind: `step`, `undo`, `settle`, `sleep`, `event` or `now`; `resume` or `abort` for what somebody did by hand.
        closed: Whether its end is known; what is open is waited for, until a moment.
        begun_at, at: Wall-clock seconds.
        until: Wall-clock second up to which it waits; 0 for what does not.
        digest: Of its arguments, to tell whether the code still does what it did.
        result: In JSON.
        fault: What it failed with, as a reply would tell it, in MessagePack; empty where it did not.
        unsettled: Whether nobody knows if it took effect.
        text: What it failed with, for people.
        attempts: How often it was tried.
        by: Who did it, where that was somebody; empty for the saga itself.
    """

    saga: str
    name: str
    kind: str
    closed: bool = True
    begun_at: float = 0.0
    at: float = 0.0
    until: float = 0.0
    digest: str = ""
    result: str = ""
    fault: bytes = b""
    unsettled: bool = False
    text: str = ""
    attempts: int = 1
    by: str = ""

    @property
    def does(self) -> str:
        """What it does, without its branch and its number: there are few of these, however many steps there are."""
        name = self.name.removeprefix(UNDO).removeprefix(SETTLED)
        return name.rpartition("/")[2].partition("#")[0]


class SagaEvent(Resource, collection="saga_events", indexed=("topic",)):
    """An event that a saga of this service may wait for, kept as long as one does that was there when it came.

    Attributes:
        topic: Of the event.
        value: The event in JSON.
    """

    topic: str
    value: str


SAGAS = collection_of(SagaRow)
SAGA_STEPS = collection_of(SagaStep)
SAGA_EVENTS = collection_of(SagaEvent)

_sagas = codec_for(SagaRow)
_steps = codec_for(SagaStep)
_events = codec_for(SagaEvent)


def saga_in(row: Row) -> SagaRow:
    """The saga that a row holds."""
    return msgspec.structs.replace(_sagas.decode_json(row.value), id=row.id, rev=row.rev)


def step_in(row: Row) -> SagaStep:
    """The step that a row holds."""
    return msgspec.structs.replace(_steps.decode_json(row.value), id=row.id, rev=row.rev)


def event_in(row: Row) -> SagaEvent:
    """The event that a row holds."""
    return msgspec.structs.replace(_events.decode_json(row.value), id=row.id, rev=row.rev)


def step_id(saga: str, name: str) -> str:
    """The id of a step's row.

    Example:
        >>> step_id("b7", "payments.charge")
        'b7/payments.charge'
    """
    return f"{saga}/{name}"
