"""What is done about dead letters, as rows: who asked for what, how far it has come, and what became of each letter.

An action is the row of a rule: whoever has the duty of the service carries it out, letter by letter, each in one commit
with the effects, the end of the letter and the count. So a count is what has happened, whatever was killed in between;
and the row stays when the letters are gone: it is the audit trail.

States of an action: running -> done | stopped (somebody asked) | halted (too many failed again).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from hanse.contract.model import Model, Resource, collection_of
from hanse.delivery.deadletter import DeadLetter
from hanse.store.query import And, Compare, OneOf, Where

HALT_SHARE = 0.5
"""Share of what was sent that may fail again before a replay halts, unless it says otherwise."""

HALT_LEAST = 10
"""Letters that are sent before that is judged."""

State = Literal["running", "done", "stopped", "halted"]
Kind = Literal["replay", "drop", "edit", "dry_run"]
What = Literal["succeeded", "failed", "dropped", "edited", "tried"]


class Selection(Model):
    """Which dead letters are meant: those that match all that is said; all of them, where nothing is.

    Attributes:
        ids: Only these; empty for any.
        group: The subscribers that they were meant for.
        fingerprint: How they failed; those that wait behind such are meant, too.
        topic: What they tell of.
        code: Code of the fault, or name of the exception.
        key: What they are in order with.
        tags: Business tags of their stories.

    Example:
        >>> Selection(group="mailer.receipt", code="KeyError").where()
        And(parts=(Compare(op='eq', path=('group',), value='mailer.receipt'), Compare(op='eq', path=('code',), \
value='KeyError')))
    """

    ids: tuple[str, ...] = ()
    group: str = ""
    fingerprint: str = ""
    topic: str = ""
    code: str = ""
    key: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def where(self) -> And:
        """The condition on dead letters."""
        names = ("group", "fingerprint", "topic", "code", "key")
        parts: list[Where] = [Compare("eq", (name,), value) for name in names if (value := getattr(self, name)) != ""]
        parts += [Compare("eq", ("tags", name), value) for name, value in self.tags.items()]
        if self.ids:
            parts.append(OneOf(("id",), self.ids))
        return And(tuple(parts))


class LetterAction(Resource, collection="dead_letter_actions", indexed=("state",)):
    """Something that is done about dead letters.

    Attributes:
        kind: What.
        who: Who asked for it.
        asked_at: When, in seconds of the wall clock.
        which: What was chosen.
        state: How it stands.
        rate: Letters a second, at most; 0 for as fast as it goes.
        halt: Share of failures at which a replay halts; 1 for never.
        upto: Letters that were parked later than this position are not meant.
        after: Id of the letter that it has come to.
        asked: Letters that were meant when it began, and those that were released since.
        succeeded, failed, dropped: What became of them.
        releasing: Group and key of what waits behind a letter that was dealt with, and is handled next.
        ended_at, ended_by: When it came to its end, and who brought that about; empty for itself.
        why: What is in its way, or has halted it.
    """

    kind: Kind
    who: str
    asked_at: float
    which: Selection
    state: State = "running"
    rate: float = 0.0
    halt: float = HALT_SHARE
    upto: int = 0
    after: str = ""
    asked: int = 0
    succeeded: int = 0
    failed: int = 0
    dropped: int = 0
    releasing: tuple[str, str] | None = None
    ended_at: float = 0.0
    ended_by: str = ""
    why: str = ""

    @property
    def sent(self) -> int:
        """Letters that were handed to their handlers, to the end."""
        return self.succeeded + self.failed

    def where(self) -> And:
        """The dead letters that it has yet to come to."""
        rest = (Compare("le", ("order",), self.upto), Compare("gt", ("id",), self.after))
        return And((*self.which.where().parts, *rest))

    def meant(self) -> And:
        """The dead letters that it was about when it began, as far as they are there."""
        return And((*self.which.where().parts, Compare("le", ("order",), self.upto)))


class LetterOutcome(Resource, collection="dead_letter_outcomes", indexed=("action", "message_id")):
    """What an action has come to with one dead letter.

    Attributes:
        action: Its id.
        letter: Id of the letter.
        message_id, group, topic, key: What that was.
        what: What became of it.
        at: When, in seconds of the wall clock.
        code, text: Of the failure, where it failed.
        before, after: What the message told, in JSON, where it was edited: the letter itself goes once it is handled.
    """

    action: str
    letter: str
    message_id: str
    group: str
    topic: str
    key: str
    what: What
    at: float
    code: str = ""
    text: str = ""
    before: str = ""
    after: str = ""


ACTIONS = collection_of(LetterAction)
OUTCOMES = collection_of(LetterOutcome)


def too_many(succeeded: int, failed: int, share: float) -> bool:
    """Whether a replay fails too often to go on.

    Example:
        >>> too_many(0, 9, 0.5), too_many(5, 5, 0.5), too_many(4, 6, 0.5), too_many(0, 99, 1.0)
        (False, False, True, False)
    """
    sent = succeeded + failed
    return sent >= HALT_LEAST and failed > share * sent


def counted(action: LetterAction, what: What, now: float, *, chosen: bool = True) -> LetterAction:
    """An action after one more letter: halted where too many have failed.

    Args:
        action: As it was.
        what: What became of the letter.
        now: Second of the wall clock.
        chosen: Whether the letter was meant from the beginning; else it was released by another.
    """
    changes: dict[str, object] = {"asked": action.asked + (not chosen), "why": ""}
    if what in {"succeeded", "failed", "dropped"}:
        changes[what] = getattr(action, what) + 1
    after = msgspec.structs.replace(action, **changes)
    if after.kind == "replay" and too_many(after.succeeded, after.failed, after.halt):
        why = f"{after.failed} of {after.sent} have failed again, and at most {after.halt:.0%} may"
        return ended(msgspec.structs.replace(after, why=why), "halted", now)
    return after


def ended(action: LetterAction, state: State, now: float, who: str = "") -> LetterAction:
    """An action at its end."""
    return msgspec.structs.replace(action, state=state, ended_at=now, ended_by=who, releasing=None)


def outcome_of(action: str, letter: DeadLetter, what: What, now: float) -> LetterOutcome:
    """What an action has come to with a letter."""
    return LetterOutcome(
        id=f"{action}.{letter.id}",
        action=action,
        letter=letter.id,
        message_id=letter.message_id,
        group=letter.group,
        topic=letter.topic,
        key=letter.key,
        what=what,
        at=now,
        code=letter.code if what == "failed" else "",
        text=letter.text if what == "failed" else "",
    )
