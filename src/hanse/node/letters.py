"""Dead letters as operators reach them: the contract that each service serves about its own, within the system only.

Reading needs the scope `deadletters:read`, acting `deadletters:write`, which includes it. Whoever acts is kept with the
action. See `hanse.delivery.action` for what actions are, and `hanse.node.acting` for who carries them out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, cast

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import Description, describe_as
from hanse.contract.guard import Guard, scope
from hanse.contract.model import Model
from hanse.delivery.action import HALT_SHARE, LetterAction, LetterOutcome, Selection
from hanse.delivery.tally import LetterGroup
from hanse.kernel.faults import Fault
from hanse.mesh.client import Caller, client_of
from hanse.node.rehearsal import Rehearsed
from hanse.service.about import About
from hanse.service.service import Service, service_name

WRITE: Guard = scope("deadletters:write")
"""Who may act on dead letters."""

READ: Guard = scope("deadletters:read") | WRITE
"""Who may see them."""


class LetterLine(Model):
    """A dead letter in short; see `hanse.delivery.deadletter.DeadLetter`. `edited` says whether it was."""

    id: str
    rev: int
    group: str
    topic: str
    key: str
    message_id: str
    code: str
    text: str
    attempts: int
    first_at: float
    last_at: float
    fingerprint: str
    waits_for: str
    tags: dict[str, str]
    edited: bool = False


class LetterPage(Model):
    """A page of them, and where the next one starts (None at the end)."""

    items: list[LetterLine]
    next: str | None = None


class LetterShown(Model):
    """A dead letter with all that is known of it.

    Attributes:
        line: In short.
        value: What it tells, as JSON; empty where that cannot be read.
        original: What it told before it was edited, as JSON; empty where it was not.
        op: What happened: `emitted` for an event; `created`, `updated` or `deleted` for a row.
        name: The topic of the event, or the collection of the row.
        row: The row's id; empty for an event.
        before: The row until then, as JSON; empty where there was none.
        at: Wall-clock second at which that was told.
        producer: Who has sent it.
        subject: On whose behalf the story runs.
        traceparent, causation_id, correlation_id: Where the story is found.
        behind: Letters that wait behind it.
        blocker: Id of the letter that it waits behind now; empty for none.
        message: The whole message, in MessagePack.
    """

    line: LetterLine
    value: str = ""
    original: str = ""
    op: str = ""
    name: str = ""
    row: str = ""
    before: str = ""
    at: float = 0.0
    producer: str = ""
    subject: str = ""
    traceparent: str = ""
    causation_id: str = ""
    correlation_id: str = ""
    behind: int = 0
    blocker: str = ""
    message: bytes = b""


class GroupPage(Model):
    """A page of the ways in which messages failed, the most frequent first, and where the next one starts."""

    items: list[LetterGroup]
    next: str | None = None


class ActionPage(Model):
    """A page of actions, the newest first, and where the next one starts."""

    items: list[LetterAction]
    next: str | None = None


class OutcomePage(Model):
    """A page of what an action has come to, and where the next one starts."""

    items: list[LetterOutcome]
    next: str | None = None


class Letters(Contract, Protocol):
    """The dead letters of one service."""

    @rpc(idempotent=True, allow=READ, timeout="60s")
    async def groups(self, *, limit: int = 50, cursor: str | None = None) -> GroupPage:
        """The ways in which messages failed, and how many did. Raises Malformed on another query's cursor."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def find(self, which: Selection, *, limit: int = 50, cursor: str | None = None) -> LetterPage:
        """A page of those that match, in the order of their ids. Raises Malformed on another query's cursor."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def count(self, which: Selection) -> int:
        """How many match."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def get(self, id: str) -> LetterShown:
        """One of them, with all that is known. Raises NotFound."""
        ...

    @rpc(allow=WRITE)
    async def edit(self, id: str, value: bytes, *, patch: bool = False, if_match: int | None = None) -> LetterShown:
        """Have it tell something else: a whole value in JSON, or a merge patch (RFC 7396); the original is kept.

        Raises NotFound, PreconditionFailed, NotEditable, Invalid, Malformed.
        """
        ...

    @rpc(allow=WRITE)
    async def rehearse(self, id: str) -> Rehearsed:
        """Run its handler as a replay would, but let nothing last; what it would have done. Raises NotFound."""
        ...

    @rpc(allow=WRITE)
    async def replay(self, which: Selection, *, rate: float = 0.0, halt: float = HALT_SHARE) -> LetterAction:
        """Have those that match handled again, at most `rate` a second; halt where more than a share fails again.

        Raises NotFound (an id is not there), Waits (the only one that is meant waits for another), Invalid.
        """
        ...

    @rpc(allow=WRITE)
    async def drop(self, which: Selection) -> LetterAction:
        """Let those that match go unhandled; what waits behind them alone is handled then. Raises NotFound."""
        ...

    @rpc(allow=WRITE)
    async def stop(self, action: str) -> LetterAction:
        """Stop an action: once this has answered, nothing more of it takes effect. Raises NotFound."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def action(self, id: str) -> LetterAction:
        """An action, and how far it has come. Raises NotFound."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def actions(self, *, limit: int = 50, cursor: str | None = None) -> ActionPage:
        """What was done about dead letters, the newest first."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def outcomes(self, action: str, *, limit: int = 50, cursor: str | None = None) -> OutcomePage:
        """What an action has come to, letter by letter."""
        ...


class Waits(Fault, status=409, detail="the dead letter {id!r} waits behind {blocker!r}, of the same key; {todo}"):
    """A dead letter cannot be handled before another one of its key."""

    id: str
    blocker: str
    todo: str = "replay or drop that one first, and this one is handled next"


@lru_cache(maxsize=4096)
def letters_contract(service: str) -> Description:
    """The contract under which the dead letters of a service are served, made once."""
    return describe_as(Letters, f"deadletters/{service}")


def letters_of(service: type[Service], /) -> Letters:
    """Say whose dead letters a field of type `Letters` has: a service so reads them, and acts on them, by calls.

    The guards hold for whoever asked that service: it hands on no more than they may see. What it shows to the outside
    is its own affair, and nothing by default.

    Args:
        service: The class of the service whose they are; the app has to have it.

    Example:
        >>> class Mails(Service):
        ...     pass
        >>> class Office(Service):
        ...     unsent: Letters = letters_of(Mails)
    """
    return cast("Letters", About(service, letters_contract(service_name(service))))


def letters_client(service: str, caller: Caller) -> Letters:
    """A client of the dead letters of a service, wherever its store is."""
    return cast("Letters", client_of(letters_contract(service), caller))
