"""Where a dead letter is handled: by the service that keeps it, or wherever a relay of it sends the message.

A service keeps the letters of its own subscriptions, and those that its relays could not send, which are of others.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.contract.model import Event, topic_of
from hanse.delivery.deadletter import DeadLetter
from hanse.delivery.relay import Relay
from hanse.kernel.faults import UnknownOperation
from hanse.kernel.message import Message
from hanse.node.events import Subscription
from hanse.node.hosted import Hosted


def place_of(
    letter: DeadLetter, message: Message, subscriptions: Mapping[str, Subscription], hosted: Hosted
) -> Subscription | Relay:
    """What handles a letter.

    Args:
        letter: Of the hosted service.
        message: What is in it.
        subscriptions: All that are known, by address.
        hosted: The service.

    Raises:
        UnknownOperation: Nobody handles it any more.
    """
    found = subscriptions.get(message.address)
    # Not by a relay: what one has parked is marked as handled here, and the group's own inbox would pass it over.
    if found is not None and found.part is hosted.part and found.group == letter.group:
        return found
    for relay in hosted.relays:
        if relay.name == letter.group:
            return relay
    known = ", ".join(one.group for one in subscriptions.values() if one.part is hosted.part) or "none"
    raise UnknownOperation(f"nobody handles {message.address} any more; the service has {known}")


def event_told(message: Message, hosted: Hosted) -> type[Event] | None:
    """The event of the hosted service that a message tells of, as a relay to a broker has it; None for any other."""
    promised = hosted.part.cls.__hanse_promise__.events
    return next((kind for kind in promised if topic_of(kind) == message.headers.type), None)
