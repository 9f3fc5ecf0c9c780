"""The rows of webhooks: who wants to hear of what, with which secrets, and each delivery."""

from __future__ import annotations

from typing import Literal

from hanse.contract.model import Event, Model, Resource
from hanse.kernel.message import Identity

PING = "ping"
"""The type of a delivery that tells nothing: it shows that the way is open."""

State = Literal["waiting", "delivered", "failed"]


class WebhookSubscription(Resource, indexed=("owner", "active")):
    """Somebody outside who wants to hear of events. Its secrets are kept elsewhere, and shown to nobody.

    Attributes:
        url: Where they are sent.
        events: Topics that it wants.
        where: Which of these, as in a query string: `total[gte]=10`; empty for all.
        owner: Whose it is: a tenant, or a caller without one; see `owner_of`.
        active: Whether anything is sent.
        ended: Why nothing is, where that was not its owner's wish.
        created_at, active_since: Wall-clock seconds; of the last time that it was begun.
    """

    url: str
    events: tuple[str, ...]
    where: str = ""
    owner: str = ""
    active: bool = True
    ended: str = ""
    created_at: float = 0.0
    active_since: float = 0.0


class WebhookSecret(Resource):
    """What signs for a subscription of the same id, sealed where there are keys (`seal`). It is exposed by nothing.

    Attributes:
        current: Signs.
        former: Signs as well, until then receivers believe either; empty for none.
        former_until: Wall-clock second until which it does.
    """

    current: str
    former: str = ""
    former_until: float = 0.0

    def __repr__(self) -> str:
        return f"WebhookSecret(id={self.id!r}, ...)"

    def at(self, now: float) -> list[str]:
        """Those that sign at a wall-clock second."""
        return [self.current, self.former] if self.former and now < self.former_until else [self.current]


class WebhookDelivery(Resource, indexed=("subscription", "state", "due", "created_at")):
    """One event for one subscription: what is sent, and what has come of it so far.

    Attributes:
        subscription: Id of the subscription.
        type: Topic of the event, or `ping`.
        body: What is sent, to the byte.
        state: `waiting` for its next attempt, `delivered`, or `failed`: then it is tried again by hand only.
        due: Wall-clock second before which it is left alone.
        attempts: How often it was sent.
        created_at, tried_at, delivered_at: Wall-clock seconds: when it was made, sent first, and received; 0 for never.
        status: Of the last answer; 0 where there was none.
        problem: What was wrong with the last attempt.
        said: The beginning of what the receiver said.
    """

    subscription: str
    type: str
    body: str
    state: State = "waiting"
    due: float = 0.0
    attempts: int = 0
    created_at: float = 0.0
    tried_at: float = 0.0
    delivered_at: float = 0.0
    status: int = 0
    problem: str = ""
    said: str = ""


class WebhookEnded(Event):
    """A subscription was turned off: its receiver wants no more, or nothing could be delivered for too long.

    Attributes:
        subscription: Its id.
        owner: Whose it was.
        why: What happened.
    """

    subscription: str
    owner: str
    why: str


class Subscribed(Model):
    """A subscription that was made, and its secret, which is not shown again."""

    subscription: WebhookSubscription
    secret: str


class Secret(Model):
    """A new secret, which is not shown again, and until when the former signs as well.

    Attributes:
        secret: Verifies what is sent from now on.
        former_until: Wall-clock second.
    """

    secret: str
    former_until: float


class SubscriptionPage(Model):
    """Some subscriptions, and the cursor of the page after."""

    items: list[WebhookSubscription]
    next: str | None


class DeliveryPage(Model):
    """Some deliveries, and the cursor of the page after."""

    items: list[WebhookDelivery]
    next: str | None


class Replayed(Model):
    """How many deliveries are sent again, and the cursor to go on with where there are more."""

    count: int
    next: str | None = None


def owner_of(who: Identity) -> str:
    """Whose the subscriptions of a caller are: all of a tenant share them, a caller without one has their own.

    Example:
        >>> owner_of(Identity("ada", tenant="acme")), owner_of(Identity("ada")), owner_of(Identity(tenant="acme"))
        ('acme/', '/ada', 'acme/')
    """
    return Identity("-", who.tenant).caller.removesuffix("-") if who.tenant else who.caller
