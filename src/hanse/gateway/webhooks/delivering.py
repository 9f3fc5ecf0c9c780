"""Deliveries of webhooks: made of events, sent when they are due, and noted.

What was sent and not yet noted when the process died is sent again, under the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, final

from hanse.contract.model import Event, topic_of
from hanse.gateway.filters import asked_of_topic
from hanse.gateway.webhooks.address import Reach
from hanse.gateway.webhooks.model import WebhookDelivery, WebhookEnded, WebhookSecret, WebhookSubscription
from hanse.gateway.webhooks.pauses import Pauses
from hanse.gateway.webhooks.schedule import ENDING_SECONDS, Answer, Delivered, GivenUp, Later, verdict
from hanse.gateway.webhooks.seal import Seal
from hanse.gateway.webhooks.sender import Sender, Sending
from hanse.gateway.webhooks.signature import headers_of
from hanse.kernel.codec import encode_json
from hanse.kernel.context import current
from hanse.kernel.faults import Invalid, Misconfigured, NotFound
from hanse.kernel.host import Host
from hanse.service.collection import Collection
from hanse.service.events import matcher_of
from hanse.service.held import Held
from hanse.service.query import desc, holds
from hanse.store.query import And, Compare

COUNTED = (
    "webhooks_delivered",
    "webhooks_failed",
    "webhooks_given_up",
    "webhooks_postponed",
    "webhooks_refused",
    "webhooks_subscriptions_ended",
)
"""What is counted, for `/metrics`: attempts that a receiver took, that failed or were refused by the guard; deliveries
that were given up, or put off since their receiver is left alone; subscriptions that were ended."""


class Rows(Protocol):
    """The rows that deliveries are made of, and that they are."""

    subscriptions: Collection[WebhookSubscription]
    secrets: Collection[WebhookSecret]
    deliveries: Collection[WebhookDelivery]


@final
class Delivering:
    """Makes deliveries, sends them, and notes what came of each.

    Attributes:
        counts: What has been, by name: see `COUNTED`.

    Args of the constructor:
        rows: Of the service.
        sender: What sends.
        seal: Opens secrets.
        emit: Tells that a subscription has ended.
    """

    def __init__(
        self, rows: Rows, sender: Sender, seal: Seal, emit: Callable[[WebhookEnded], Awaitable[object]]
    ) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._subscriptions = rows.subscriptions
        self._secrets = rows.secrets
        self._deliveries = rows.deliveries
        self._sender = sender
        self._seal = seal
        self._emit = emit
        self._pauses = Pauses()

    async def tell(self, event: Event, owner: str | None) -> None:
        """Make the deliveries of an event, with the mark that it was handled.

        Args:
            event: What happened.
            owner: Whose subscriptions hear of it; None for everybody's.
        """
        topic, id, value = topic_of(type(event)), current().message_id, encode_json(event)
        async for one in self._subscriptions.scan(lambda one: one.active & holds(one.events, topic)):
            if owner in (None, one.owner) and matching(type(event), one.where)(value):
                _ = await self._deliveries.create(delivery_of(f"{id}.{one.id}", one.id, topic, value))

    async def send(self, delivery: Held[WebhookDelivery]) -> None:
        """Send one that is due, and note what came of it.

        Raises:
            Misconfigured: The secret cannot be opened; it is tried again.
        """
        one, now = delivery.value, current().host.now()
        try:
            to = await self._subscriptions.get(one.subscription)
            secrets = await self._secrets.get(one.subscription)
        except NotFound:
            _ = await delivery.patch(state="failed", problem="the subscription is gone")
            return
        if not to.active:
            _ = await delivery.patch(state="failed", problem=f"the subscription is not active: {to.ended}")
            return
        if (until := self._pauses.until(to.id)) > now:
            self._count("webhooks_postponed")
            _ = await delivery.patch(due=until + current().host.chance.random())
            return
        body = one.body.encode()
        signed = headers_of(self._opened(secrets, now), one.id, int(now), body)
        delivery.check()
        answer = await self._sender.send(Sending(to.url, {**signed, "content-type": "application/json"}, body))
        await self._note(delivery, to, answer)

    async def end_silent(self) -> None:
        """Turn off subscriptions that nothing could be delivered to for days."""
        async for one in self._subscriptions.scan(lambda one: one.active):
            since = await self._failing_since(one)
            if since and current().host.now() - since > ENDING_SECONDS:
                await self._end(one, f"nothing could be delivered for {ENDING_SECONDS / 86_400:g} days")

    async def _note(self, delivery: Held[WebhookDelivery], to: WebhookSubscription, answer: Answer) -> None:
        one, host = delivery.value, current().host
        now, attempts = host.now(), delivery.value.attempts + 1
        noted: dict[str, object] = {
            "attempts": attempts,
            "tried_at": one.tried_at or now,
            "status": answer.status,
            "problem": answer.problem,
            "said": answer.said,
        }
        if answer.status:
            self._pauses.answered(to.id)
        else:
            self._pauses.silent(to.id, now)
        match verdict(answer, attempts, host.chance.random()):
            case Delivered():
                self._count("webhooks_delivered")
                _ = await delivery.patch(state="delivered", delivered_at=now, **noted)
            case Later(seconds=seconds, pause=pause):
                self._count("webhooks_refused" if answer.refused else "webhooks_failed")
                if pause:
                    self._pauses.asked(to.id, now + seconds)
                _ = await delivery.patch(due=now + seconds, **noted)
            case GivenUp(end=end):
                self._count("webhooks_given_up")
                _ = await delivery.patch(state="failed", **noted)
                if end:
                    await self._end(to, "its receiver answered 410: it wants no more")

    async def _end(self, one: WebhookSubscription, why: str) -> None:
        _ = await self._subscriptions.patch(one.id, active=False, ended=why)
        self._count("webhooks_subscriptions_ended")
        await self._emit(WebhookEnded(subscription=one.id, owner=one.owner, why=why))

    async def _failing_since(self, to: WebhookSubscription) -> float:
        """The first attempt that failed since the last that did not, and since it was begun; 0 for none."""
        id, since = to.id, to.active_since
        last = await self._deliveries.find(
            lambda one: (one.subscription == id) & (one.state == "delivered"),
            sort=lambda one: desc(one.delivered_at),
            limit=1,
        )
        after = last.items[0].delivered_at if last.items else 0.0
        failing = (Compare("gt", ("tried_at",), after), Compare("ge", ("tried_at",), since))
        first = await self._deliveries.find(
            And((Compare("eq", ("subscription",), id), Compare("ne", ("state",), "delivered"), *failing)),
            sort=lambda one: one.tried_at,
            limit=1,
        )
        return first.items[0].tried_at if first.items else 0.0

    def _opened(self, secrets: WebhookSecret, now: float) -> list[str]:
        return [self._seal.open(secrets.id, secret) for secret in secrets.at(now)]

    def _count(self, name: str) -> None:
        self.counts[name] += 1


def delivery_of(id: str, subscription: str, topic: str, value: bytes) -> WebhookDelivery:
    """A delivery that waits, with what is sent to the byte."""
    now = current().host.now()
    body = b'{"type":%b,"timestamp":%b,"data":%b}' % (
        encode_json(topic),
        encode_json(datetime.fromtimestamp(now, UTC)),
        value,
    )
    return WebhookDelivery(id=id, subscription=subscription, type=topic, body=body.decode(), due=now, created_at=now)


@lru_cache(1_024)
def matching(kind: type[Event], query: str) -> Callable[[bytes], bool]:
    """Whether an event, in JSON, is one that a query string asks for. Raises `Invalid`."""
    where, after = asked_of_topic(kind, query)
    if after:
        raise Invalid("expected fields of the event; a cursor is for feeds", [])
    return matcher_of(kind, where)


def http_sender(reach: Reach, timeout: float, host: Host) -> Sender:
    """What sends over HTTP.

    Args:
        reach: How far it may send.
        timeout: Seconds for one webhook.
        host: The clock that dates are read by.

    Raises:
        Misconfigured: What it needs is not installed.
    """
    try:
        from hanse.gateway.webhooks.http_sender import HttpSender
    except ImportError as error:
        raise Misconfigured(f"webhooks need {error.name}: pip install 'hanse[webhooks]'") from None
    return HttpSender(reach, timeout, host)
