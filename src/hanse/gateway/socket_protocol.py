"""The conversation over `/live`, as a pure state machine: a message comes in, actions come out.

The client asks, each time under an id of its choice: `{"op": "subscribe", "id": 1, "collection": "orders", "where":
{"status": "paid"}, "after": "<cursor>"}`. It is answered under that id: once (`result` or `error`), or, for what it
subscribed to, until it unsubscribes. Ids of subscriptions are distinct on one socket. Senseless messages are answered
too; who keeps sending them is closed.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Literal, TypeGuard, cast, get_args

import msgspec

from hanse.contract.openapi import Problem
from hanse.gateway.depth import check_depth
from hanse.gateway.limits import Limits
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Conflict, Fault, Invalid, Malformed, NotFound, Overloaded, TooLarge

Id = int | str

Names = str | list[str]
"""Names of fields or links: in one text with commas between them, or as a list."""


class Asking(msgspec.Struct, frozen=True, tag_field="op", forbid_unknown_fields=True):
    """What a client says. A member that does not exist is refused: it might be a condition, written wrongly."""

    id: Id


class Subscribe(Asking, frozen=True, tag="subscribe"):
    """Follow the rows of a collection that match; after a cursor, or from a snapshot on, or from now on."""

    collection: str
    where: dict[str, object] | None = None
    fields: Names = ""
    after: str = ""
    snapshot: bool = True


class Listen(Asking, frozen=True, tag="listen"):
    """Hear of the events of a topic that match: after a cursor, or from now on."""

    topic: str
    where: dict[str, object] | None = None
    after: str = ""


class Unsubscribe(Asking, frozen=True, tag="unsubscribe"):
    """Tell no more under this id."""


class Ping(Asking, frozen=True, tag="ping"):
    """Show that you are there: pages of browsers see nothing of the pings of the protocol itself."""


class Call(Asking, frozen=True, tag="call"):
    """Call an operation; one that streams is told item by item. `strict: false` passes over arguments it has not."""

    service: str
    operation: str
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    strict: bool | None = None
    idempotency_key: str = ""

    @property
    def address(self) -> str:
        """What is called."""
        return f"{self.service}.{self.operation}"


class Get(Asking, frozen=True, tag="get"):
    """One row; with `rev`, only at that revision."""

    collection: str
    key: str
    fields: Names = ""
    expand: Names = ""
    rev: int | None = None


class List(Asking, frozen=True, tag="list"):
    """A page of rows that match; with `all`, every one, told row by row."""

    collection: str
    where: dict[str, object] | None = None
    sort: Names = ""
    limit: int | None = None
    cursor: str | None = None
    fields: Names = ""
    expand: Names = ""
    total: bool = False
    all: bool = False


class Writing(Asking, frozen=True):
    """What all that writes rows has in common.

    Attributes:
        collection: Whose rows.
        idempotency_key: Under it a repeat gets the first answer, and nothing is done twice.
    """

    collection: str
    idempotency_key: str = ""


class Create(Writing, frozen=True, tag="create", kw_only=True):
    """A new row, under the key given, the value's own id, or a new one; or one for each of the values, all or none."""

    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    values: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    key: str = ""
    strict: bool | None = None
    minimal: bool = False


class Put(Writing, frozen=True, tag="put", kw_only=True):
    """A row, whole; with `rev`, only over that revision (0: only a new one; "*": only over one that is there)."""

    key: str
    value: msgspec.Raw
    rev: int | Literal["*"] | None = None
    strict: bool | None = None
    minimal: bool = False


class Patch(Writing, frozen=True, tag="patch", kw_only=True):
    """Some fields of a row, as a merge patch or a JSON patch; with `rev`, only at that revision."""

    key: str
    value: msgspec.Raw
    form: Literal["merge", "json"] = "merge"
    rev: int | None = None
    strict: bool | None = None
    minimal: bool = False


class Delete(Writing, frozen=True, tag="delete", kw_only=True):
    """No row any more; with `rev`, only at that revision. With `keys` none of these rows, or all of them still."""

    key: str | msgspec.UnsetType = msgspec.UNSET
    keys: list[str] | msgspec.UnsetType = msgspec.UNSET
    rev: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a client is told.

    Attributes:
        id: Under which it was asked for.
    """

    id: Id


class Change(Answer, frozen=True, kw_only=True):
    """A row of what is subscribed to is there, was made, was changed, or is gone.

    Attributes:
        key, rev: The row, and its revision: before it, for one that is gone.
        value: What it is now; null for one that is gone.
        before: What it was.
        at: When it was changed (RFC 3339).
        cursor: Where to go on from after this.
    """

    event: Literal["snapshot", "created", "updated", "deleted"]
    key: str
    rev: int
    value: dict[str, object] | None
    before: dict[str, object] | msgspec.UnsetType = msgspec.UNSET
    at: str | msgspec.UnsetType = msgspec.UNSET
    cursor: str | msgspec.UnsetType = msgspec.UNSET


class Ready(Answer, frozen=True):
    """All that is there has been told; from now on it is news. In quiet times it comes again, with a newer cursor.

    Attributes:
        cursor: Where to go on from after this.
    """

    event: Literal["ready"]
    cursor: str


class Reset(Answer, frozen=True):
    """The log does not reach back to the cursor: forget the rows that you had, or know that events were missed."""

    event: Literal["reset"]


class Emitted(Answer, frozen=True):
    """An event of a topic.

    Attributes:
        cursor: Where to go on from after this.
        key: Its id.
        value: It, as CloudEvents has it.
    """

    event: Literal["emitted"]
    cursor: str
    key: str
    value: dict[str, object]


class Item(Answer, frozen=True):
    """One item of an operation that streams, or one row of a list of all."""

    item: object


class Result(Answer, frozen=True):
    """What came of what was asked."""

    result: object


class Failed(msgspec.Struct, frozen=True):
    """It failed.

    Attributes:
        id: Under which it was asked for; null where the message had none.
        error: Why, as HTTP would say it.
    """

    id: Id | None
    error: Problem


TELLS: tuple[type[msgspec.Struct], ...] = (Change, Ready, Reset, Emitted, Item, Result, Failed)
"""All that a server may say. They are written by hand, for speed: these are what a client may rely on."""

Ask = Call | Create | Get | List | Put | Patch | Delete
"""What is answered once."""

ASKS: tuple[type[msgspec.Struct], ...] = (Subscribe, Listen, Unsubscribe, Ping, *get_args(Ask))
"""All that a client may say."""

Message = Ask | Subscribe | Listen | Unsubscribe | Ping

_asks = codec_for(cast("type[Message]", Message))


class Named(msgspec.Struct, frozen=True):
    """As much of a message as is needed to answer it."""

    id: Id | None = None


_named = msgspec.json.Decoder(Named)


class Begin(msgspec.Struct, frozen=True):
    """Start telling under this id."""

    ask: Subscribe | Listen | Call | List


class Run(msgspec.Struct, frozen=True):
    """Do it, and answer."""

    ask: Ask


class Pong(msgspec.Struct, frozen=True):
    """Show that we are here."""

    id: Id


class Stop(msgspec.Struct, frozen=True):
    """Tell no more under this id, and say so."""

    id: Id


class Refuse(msgspec.Struct, frozen=True):
    """Answer with the fault; without an id where the message had none."""

    id: Id | None
    fault: Fault


class Close(msgspec.Struct, frozen=True):
    """End the conversation."""

    code: int
    reason: str


Action = Begin | Run | Pong | Stop | Refuse | Close


class Conversation:
    """What one socket is in the middle of.

    Example:
        >>> talk = Conversation(Limits())
        >>> talk.receive('{"op": "unsubscribe", "id": 7}')[0].fault.detail
        "there is no subscription '7'"
    """

    def __init__(self, limits: Limits, streaming: Container[str] = ()) -> None:
        """Begin.

        Args:
            limits: What is taken at most.
            streaming: Addresses of the operations that answer with a stream.
        """
        self._limits = limits
        self._streaming = streaming
        self._subscribed: set[Id] = set()
        self._running = 0
        self._garbage = 0

    def receive(self, text: str | None) -> list[Action]:
        """What to do about a message; None stands for one that is not text."""
        if text is not None and len(text) > self._limits.message_bytes:
            limit = f"{self._limits.message_bytes} bytes"
            return [Close(TooLarge.close_code, TooLarge("the message", limit).detail)]
        try:
            return [self._admit(_decoded(text, self._limits))]
        except (Malformed, Invalid) as fault:
            return self._senseless(text or "", fault)
        except Fault as fault:
            return [Refuse(_id_in(text or ""), fault)]

    def ended(self, id: Id) -> None:
        """Nothing more is told under this id."""
        self._subscribed.discard(id)

    def answered(self) -> None:
        """One of the asks was answered."""
        self._running -= 1

    def _admit(self, ask: Message) -> Action:
        if isinstance(ask, Ping):
            return Pong(ask.id)
        if isinstance(ask, Unsubscribe):
            if ask.id not in self._subscribed:
                raise NotFound("subscription", str(ask.id))
            return Stop(ask.id)
        if isinstance(ask, (Subscribe, Listen)) or self._streams(ask):
            return self._begin(ask)
        if self._running >= self._limits.asks:
            raise Overloaded(f"the limit of {self._limits.asks} messages in work")
        self._running += 1
        return Run(ask)

    def _streams(self, ask: Ask) -> TypeGuard[Call | List]:
        return ask.address in self._streaming if isinstance(ask, Call) else isinstance(ask, List) and ask.all

    def _begin(self, ask: Subscribe | Listen | Call | List) -> Begin:
        if ask.id in self._subscribed:
            raise Conflict(f"there is a subscription {ask.id!r} on this socket already; choose another id")
        if len(self._subscribed) >= self._limits.subscriptions:
            raise Overloaded(f"the limit of {self._limits.subscriptions} subscriptions")
        self._subscribed.add(ask.id)
        return Begin(ask)

    def _senseless(self, text: str, fault: Fault) -> list[Action]:
        self._garbage += 1
        told: Action = Refuse(_id_in(text), fault)
        if self._garbage < self._limits.garbage:
            return [told]
        return [told, Close(fault.close_code, f"{self._garbage} messages made no sense")]


def _decoded(text: str | None, limits: Limits) -> Message:
    if text is None:
        raise Malformed("expected one JSON object as a text message, got bytes")
    return _asks.decode_json(check_depth(text.encode(errors="replace"), limits))


def _id_in(text: str) -> Id | None:
    try:
        return _named.decode(text).id
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
