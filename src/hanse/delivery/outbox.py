"""What a log tells, as messages: which entries a subscriber wants, their order, and their envelope."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from hanse.kernel.codec import canonical
from hanse.kernel.message import BACKGROUND, EVENT, Message
from hanse.store.base import Entry

_log = logging.getLogger("hanse.delivery")

FAILING_SINCE = "failing-since"
"""Extra header of a message that failed before: wall-clock second of the first time."""


class Topic(msgspec.Struct, frozen=True):
    """Something in a log that a subscriber wants.

    Attributes:
        name: Topic of an event, or collection of a resource, as entries name it.
        emitted: Whether it is an event; changes of rows otherwise.
        address: Where its messages go; the name, where empty.
        type: What its messages say that they are; the name, where empty.
        version: Version of its shape.
        key: Names what an entry has to be in order with; None where all go side by side.
    """

    name: str
    emitted: bool
    address: str = ""
    type: str = ""
    version: str = ""
    key: Callable[[Entry], str] | None = None


class Taken(msgspec.Struct, frozen=True):
    """An entry that a subscriber wants, and its key."""

    entry: Entry
    topic: Topic
    key: str


def taken(entry: Entry, topic: Topic) -> Taken:
    """The entry with its key; none where it cannot be told, since whoever handles the entry will say what is wrong."""
    if topic.key is None:
        return Taken(entry, topic, "")
    try:
        return Taken(entry, topic, topic.key(entry))
    except Exception:  # noqa: BLE001 - a key is the user's code over data of any age; it must not stop the log
        _log.exception("the key of %s %s could not be told; it is delivered in no order", topic.name, entry.message_id)
        return Taken(entry, topic, "")


def message_of(wanted: Taken, timeout: float, *, producer: str = "", attempt: int = 1, since: float = 0.0) -> Message:
    """The message that tells of an entry: the same id each time, so that whoever had it already can tell.

    Args:
        wanted: The entry, which is the body (as MessagePack), and what was wanted of the log.
        timeout: Seconds that its sender waits.
        producer: `service/release/instance` of the sender.
        attempt: 1 for the first; grows with each that its handler failed.
        since: Wall-clock second of the first failure; 0 where there was none.
    """
    headers, topic = wanted.entry.headers, wanted.topic
    # What the message that led here was failing since is no concern of this one.
    extra = {name: value for name, value in headers.extra.items() if name != FAILING_SINCE}
    if since:
        extra[FAILING_SINCE] = repr(since)
    headers = msgspec.structs.replace(
        headers,
        type=topic.type or topic.name,
        version=topic.version,
        producer=producer or headers.producer,
        attempt=attempt,
        key=wanted.key,
        extra=extra,
        priority=BACKGROUND,
    )
    return Message(
        EVENT, wanted.entry.message_id, topic.address or topic.name, timeout, headers, canonical(wanted.entry)
    )


def failing_since(message: Message) -> float | None:
    """When the handler of a message failed for the first time, as its sender tells; None where it does not."""
    try:
        return float(message.headers.extra[FAILING_SINCE])
    except (KeyError, ValueError):
        return None
