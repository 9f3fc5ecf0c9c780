"""Dead letters: the messages that a group could not handle, with all that it takes to see why and to try again."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from types import TracebackType

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.delivery.outbox import failing_since
from hanse.kernel.codec import canonical, codec_for, stored_json
from hanse.kernel.faults import Fault
from hanse.kernel.message import Message
from hanse.store.base import Row

TEXT_CHARACTERS_MAX = 2_000
"""Longest text of a failure that is kept."""

FINGERPRINT_DIGITS = 16
"""Hexadecimal digits of a fingerprint."""

_OUR_FOLDER = PurePath(__file__).parents[1]


class DeadLetter(Resource, indexed=("group", "fingerprint", "key", "spot", "drawer", "topic", "code")):
    """A message that was parked, kept in the store of the service that could not handle it.

    Attributes:
        group: The subscribers that it was meant for.
        message_id: The message's id.
        message: The whole message, with its context, in MessagePack.
        topic: What it tells of.
        key: What it is in order with; empty for nothing.
        tags: The business tags of its story.
        code: Code of the fault, or name of the exception, that its last attempt ended with.
        text: What that said.
        attempts: How often it was tried.
        first_at, last_at: Wall-clock seconds of its first and its last failure.
        fingerprint: The same for messages that fail in the same way, and for those that wait behind them.
        waits_for: Id of the dead letter that it waits behind, so that its key stays in order; empty for one that
            failed itself.
        spot: Group and key as one, since that is what they are found by while others come.
        order: Where the store's log was when it was parked: grows with each of a key, whatever clocks do.
        drawer: Which of the drawers its key is in; see `hanse.delivery.drawers`. -1 for none.
        original: The message as it came, where it was edited since; empty where it was not.
        action: Id of the action that has tried it last; empty for none.
    """

    group: str
    message_id: str
    message: bytes
    topic: str
    key: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    code: str = ""
    text: str = ""
    attempts: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    fingerprint: str = ""
    waits_for: str = ""
    spot: str = ""
    order: int = 0
    drawer: int = -1
    original: bytes = b""
    action: str = ""


DEAD_LETTERS = collection_of(DeadLetter)
"""Name of the collection; a store that dead letters are parked in has to be opened with it."""

_codec = codec_for(DeadLetter)
_messages = codec_for(Message)


def failed_letter(group: str, message: Message, error: BaseException, *, id: str, now: float) -> DeadLetter:
    """The dead letter of a message that failed.

    Args:
        group: The subscribers that it was meant for.
        message: The message.
        error: What its last attempt ended with.
        id: Of the dead letter.
        now: Wall-clock second.
    """
    letter = msgspec.structs.replace(_letter(group, message, id, now), attempts=message.headers.attempt - 1)
    return failure_of(letter, error, now)


def failure_of(letter: DeadLetter, error: BaseException, now: float) -> DeadLetter:
    """A dead letter after one more attempt, which failed."""
    code = error.code if isinstance(error, Fault) else type(error).__qualname__
    return msgspec.structs.replace(
        letter,
        code=code,
        text=str(error)[:TEXT_CHARACTERS_MAX],
        attempts=letter.attempts + 1,
        last_at=now,
        waits_for="",
        fingerprint=fingerprint(letter.group, letter.topic, code, place_of(error.__traceback__)),
    )


def waiting_letter(group: str, message: Message, behind: DeadLetter, *, id: str, now: float) -> DeadLetter:
    """The dead letter of a message that waits behind another of its key."""
    waiting = _letter(group, message, id, now)
    return msgspec.structs.replace(waiting, waits_for=behind.id, fingerprint=behind.fingerprint)


def _letter(group: str, message: Message, id: str, now: float) -> DeadLetter:
    return DeadLetter(
        id=id,
        group=group,
        message_id=message.id,
        message=canonical(message),
        topic=message.headers.type or message.address,
        key=message.headers.key,
        spot=spot_of(group, message.headers.key) if message.headers.key else "",
        tags=message.headers.tags,
        first_at=failing_since(message) or now,
        last_at=now,
    )


def message_in(letter: DeadLetter) -> Message:
    """The message that a dead letter holds, as it would be handled now.

    Raises:
        Malformed: It cannot be read, which nothing that this version has written is.
    """
    return _messages.decode(letter.message)


def spot_of(group: str, key: str) -> str:
    """Names a key of a group.

    Example:
        >>> spot_of("mailer.receipt", "order/42")
        'mailer.receipt order/42'
    """
    return f"{group} {key}"


def letter_json(letter: DeadLetter) -> bytes:
    """The value of its row."""
    return stored_json(letter)


def letter_in(row: Row) -> DeadLetter:
    """The dead letter that a row holds."""
    letter = _codec.decode_json(row.value)
    return msgspec.structs.replace(letter, id=row.id, rev=row.rev)


def fingerprint(group: str, topic: str, code: str, place: str) -> str:
    """Tells failures apart by where and how they happen, not by what the messages say.

    Example:
        >>> fingerprint("mailer.receipt", "order_placed", "KeyError", "mail.py:send")
        '8ff69e7716362093'
    """
    text = f"{group}\0{topic}\0{code}\0{place}"
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def place_of(trace: TracebackType | None) -> str:
    """The innermost function of an error that is not Hanse's own: no line numbers, so that edits elsewhere keep it."""
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        path = PurePath(code.co_filename)
        if _OUR_FOLDER not in path.parents:
            place = f"{path.name}:{code.co_name}"
        trace = trace.tb_next
    return place
