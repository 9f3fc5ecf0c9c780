"""`Webhooks`: the service that tells programs outside of events, as those who subscribe see it.

A subscription is a row, and so is each delivery: one for each event and each subscription that wants it, made with the
mark of the event, so that there is exactly one. A rule sends those that are due: see `delivering`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, cast

import msgspec

from hanse.contract.declare import rpc
from hanse.contract.guard import Guard, authenticated
from hanse.contract.model import Event
from hanse.gateway.webhooks.address import Reach, reach_of, target_of
from hanse.gateway.webhooks.delivering import Delivering, delivery_of, http_sender, matching
from hanse.gateway.webhooks.model import (
    PING,
    DeliveryPage,
    Replayed,
    Secret,
    State,
    Subscribed,
    SubscriptionPage,
    WebhookDelivery,
    WebhookEnded,
    WebhookSecret,
    WebhookSubscription,
    owner_of,
)
from hanse.gateway.webhooks.seal import Seal
from hanse.gateway.webhooks.sender import Sender
from hanse.gateway.webhooks.signature import SECRET_BYTES, key_of, secret_of
from hanse.kernel.context import current
from hanse.kernel.faults import Conflict, Fault, Flaw, Forbidden, Invalid, Misconfigured, NotFound, Unauthenticated
from hanse.kernel.message import Identity
from hanse.service.collection import Collection
from hanse.service.held import Held
from hanse.service.query import desc
from hanse.service.reaction import every, rule
from hanse.service.service import Service
from hanse.store.query import And, Compare, Where

_log = logging.getLogger("hanse.webhooks")

SUBSCRIPTIONS_MAX = 100
"""Subscriptions of one owner."""

PAGE_ITEMS_MAX = 100
"""Items on one page of an answer."""

REPLAYED_MAX = 1_000
"""Deliveries that one call sends again."""

TRIMMED_MAX = 5_000
"""Old deliveries that one run forgets."""

SEALED_MAX = 1_000
"""Secrets that one run seals anew."""

AT_ONCE = 256
"""Deliveries on their way at once."""

AT_ONCE_EACH = 4
"""Of one subscription."""

LEASE_SECONDS = 60.0
"""A delivery is sent in less than that, or begun again."""

TIMEOUT_SECONDS_MAX = 45.0
"""Longest time for one attempt: it has to be noted within its lease."""

ROTATION_SECONDS = 86_400.0
"""How long a former secret signs as well, unless somebody says otherwise."""

HISTORY_SECONDS = 2_592_000.0
"""How long deliveries that are over are kept: 30 days."""


class TooMany(Fault, status=409, detail="expected at most {most} {what}; remove one first"):
    """There is one of it too many."""

    what: str
    most: int


class Webhooks(Service, name="webhooks", events=(WebhookEnded,)):
    """Tells programs outside of events, by the Standard Webhooks.

    What was seen may be seen again, and in another order: receivers go by the id and the time of each.
    """

    subscriptions: Collection[WebhookSubscription]
    secrets: Collection[WebhookSecret]
    deliveries: Collection[WebhookDelivery]
    allow: tuple[str, ...] = ()
    http: bool = False
    timeout: float = 15.0
    history: float = HISTORY_SECONDS
    keys: tuple[str, ...] = ()

    __kinds__: ClassVar[Mapping[str, type[Event]]] = {}
    __may__: ClassVar[Guard] = authenticated
    __manages__: ClassVar[Guard] = Guard(lambda _: False, "a scope that nobody has")
    __audience__: ClassVar[Callable[[Event], Identity] | None] = None
    __sender__: ClassVar[Sender | None] = None

    async def started(self) -> None:
        """Get ready to send.

        Raises:
            Misconfigured: What may be sent to, for how long, or the keys that seal secrets cannot be; or what it needs
                is not installed.
        """
        if not 0.0 < self.timeout <= TIMEOUT_SECONDS_MAX:
            raise Misconfigured(f"expected a timeout of webhooks of up to {TIMEOUT_SECONDS_MAX:g} s")
        self._reach: Reach = reach_of(self.allow, http=self.http)
        self._seal: Seal = Seal(self.keys)
        if not self.keys:
            _log.warning("secrets of webhooks lie open in the store: services.webhooks.settings.keys has no key")
        self._sender: Sender = type(self).__sender__ or http_sender(self._reach, self.timeout, current().host)
        self._delivering: Delivering = Delivering(self, self._sender, self._seal, self.emit)
        self.__counts__: dict[str, int] = self._delivering.counts

    async def stopping(self) -> None:
        """Let go of connections."""
        if sender := cast("Sender | None", getattr(self, "_sender", None)):
            await sender.close()

    @rpc(route="POST /")
    async def subscribe(self, url: str, events: tuple[str, ...] = (), where: str = "", secret: str = "") -> Subscribed:
        """Have events sent to a URL, each once or more, signed with a secret that this answer alone tells.

        Args:
            url: Where they are sent: HTTPS, and public.
            events: Topics; all that there are where none is given.
            where: Which of these, as in a query string: `total[gte]=10`.
            secret: Of one's own, `whsec_` and 24 to 64 bytes in base64; by default one is made.

        Raises:
            Invalid: One of these cannot be.
            AddressRefused: The URL leads nowhere that is sent to.
            TooMany: The caller has as many as anybody may have.
        """
        owner = self._caller()
        if await self.subscriptions.count(lambda one: one.owner == owner) >= SUBSCRIPTIONS_MAX:
            raise TooMany("subscriptions", SUBSCRIPTIONS_MAX)
        topics = self._wanted(url, events or tuple(self.__kinds__), where)
        made = WebhookSubscription(url=url, events=topics, where=where, owner=owner)
        made = msgspec.structs.replace(made, created_at=_now(), active_since=_now())
        made = await self.subscriptions.create(made)
        secret = self._secret(secret)
        _ = await self.secrets.create(WebhookSecret(id=made.id, current=self._sealed(made.id, secret)))
        return Subscribed(subscription=made, secret=secret)

    @rpc(idempotent=True, route="GET /")
    async def listed(self, limit: int = 50, cursor: str = "") -> SubscriptionPage:
        """The caller's subscriptions; those of everybody for whoever manages them."""
        owner = self._caller()
        mine = None if self._manages() else Compare("eq", ("owner",), owner)
        page = await self.subscriptions.find(mine, limit=_limit(limit), cursor=cursor or None)
        return SubscriptionPage(items=page.items, next=page.next)

    @rpc(idempotent=True, route="GET /{id}")
    async def shown(self, id: str) -> WebhookSubscription:
        """One subscription.

        Raises:
            NotFound: The caller has none of that id.
        """
        return await self._owned(id)

    @rpc(route="PATCH /{id}")
    async def changed(
        self,
        id: str,
        *,
        url: str | None = None,
        events: tuple[str, ...] | None = None,
        where: str | None = None,
        active: bool | None = None,
    ) -> WebhookSubscription:
        """Change a subscription; one that was ended is begun again with `active`.

        Raises:
            Invalid: One of these cannot be.
            NotFound: The caller has none of that id.
            AddressRefused: The URL leads nowhere that is sent to.
        """
        found = await self._owned(id)
        url = found.url if url is None else url
        where = found.where if where is None else where
        active = found.active if active is None else active
        topics = self._wanted(url, found.events if events is None else events, where)
        ended = "" if active else found.ended
        since = _now() if active and not found.active else found.active_since
        return await self.subscriptions.patch(
            id, url=url, events=topics, where=where, active=active, ended=ended, active_since=since
        )

    @rpc(idempotent=True, route="DELETE /{id}")
    async def unsubscribe(self, id: str) -> None:
        """End a subscription; what waits for it is not sent any more.

        Raises:
            NotFound: The caller has none of that id.
        """
        _ = await self._owned(id)
        await self.subscriptions.delete(id)
        await self.secrets.delete(id)

    @rpc(route="POST /{id}/secret")
    async def rotate(self, id: str, overlap: float = ROTATION_SECONDS, secret: str = "") -> Secret:
        """Replace the secret of a subscription; until the overlap is over there are signatures of both.

        Args:
            id: Of the subscription.
            overlap: Seconds in which receivers change over; 0 where the former secret is known to others.
            secret: One of one's own; by default one is made.

        Raises:
            Invalid: The overlap or the secret cannot be.
            NotFound: The caller has none of that id.
        """
        _ = await self._owned(id)
        if not 0.0 <= overlap <= HISTORY_SECONDS:
            raise _refused("overlap", f"expected 0 to {HISTORY_SECONDS:g} seconds")
        kept, until = await self.secrets.get(id), _now() + overlap
        secret = self._secret(secret)
        former = self._sealed(id, self._seal.open(id, kept.current))
        _ = await self.secrets.put(
            msgspec.structs.replace(kept, current=self._sealed(id, secret), former=former, former_until=until)
        )
        return Secret(secret=secret, former_until=until)

    @rpc(route="POST /{id}/ping")
    async def ping(self, id: str) -> WebhookDelivery:
        """Send something that tells nothing, to see whether the way is open.

        Raises:
            NotFound: The caller has none of that id.
            Conflict: The subscription is not active.
        """
        found = await self._owned(id)
        if not found.active:
            raise Conflict(f"expected an active subscription, but {id} is not: {found.ended or 'it was turned off'}")
        return await self.deliveries.create(delivery_of(current().host.new_id(), id, PING, b"{}"))

    @rpc(idempotent=True, route="GET /{id}/deliveries")
    async def delivered(self, id: str, state: State | None = None, limit: int = 50, cursor: str = "") -> DeliveryPage:
        """What was sent to a subscription and what waits for it, the newest first.

        Raises:
            NotFound: The caller has none of that id.
        """
        _ = await self._owned(id)
        page = await self.deliveries.find(
            _of(id, state), sort=lambda one: desc(one.created_at), limit=_limit(limit), cursor=cursor or None
        )
        return DeliveryPage(items=page.items, next=page.next)

    @rpc(route="POST /{id}/replay")
    async def replay(
        self,
        id: str,
        delivery: str = "",
        since: float = 0.0,
        until: float = 0.0,
        state: State | None = "failed",
        cursor: str = "",
    ) -> Replayed:
        """Send deliveries again, under the ids that they had: one, or those that were made in a span of time.

        Args:
            id: Of the subscription.
            delivery: Id of the one that is meant; empty for a span.
            since: Wall-clock second that the span begins with.
            until: Wall-clock second that it ends before; 0 for now.
            state: Of which state; null for those that were delivered too.
            cursor: The `next` of the call before, where there were more than one call sends.

        Raises:
            NotFound: The caller has no such subscription or delivery.
        """
        _ = await self._owned(id)
        if delivery:
            one = await self.deliveries.get(delivery)
            if one.subscription != id:
                raise NotFound("webhook_delivery", delivery)
            await self._again(one)
            return Replayed(count=1)
        span = (Compare("ge", ("created_at",), since), Compare("lt", ("created_at",), until or _now()))
        where = And((*span, _of(id, state)))
        page = await self.deliveries.find(where, limit=REPLAYED_MAX, cursor=cursor or None)
        for one in page.items:
            await self._again(one)
        return Replayed(count=len(page.items), next=page.next)

    async def told(self, event: Event) -> None:
        """Make the deliveries of an event, with the mark that it was handled."""
        hears = type(self).__audience__
        await self._delivering.tell(event, None if hears is None else owner_of(hears(event)))

    @rule(
        WebhookDelivery,
        where=lambda one: one.state == "waiting",
        every="1m",
        lease=LEASE_SECONDS,
        concurrency=AT_ONCE,
        at=lambda one: one.due,
        per=lambda one: one.subscription,
        per_concurrency=AT_ONCE_EACH,
    )
    async def send(self, delivery: Held[WebhookDelivery]) -> None:
        """Send what is due, and note what came of it."""
        await self._delivering.send(delivery)

    @every("10m")
    async def end(self) -> None:
        """Turn off subscriptions that nothing could be delivered to for days."""
        await self._delivering.end_silent()

    @every("1h")
    async def reseal(self) -> None:
        """Seal with the first key of the settings what lies open, or is sealed with a key that is on its way out."""
        sealed = 0
        async for one in self.secrets.scan():
            if self._seal.is_current(one.current) and self._seal.is_current(one.former):
                continue
            current, former = (self._sealed(one.id, self._seal.open(one.id, it)) for it in (one.current, one.former))
            _ = await self.secrets.put(msgspec.structs.replace(one, current=current, former=former))
            sealed += 1
            if sealed >= SEALED_MAX:
                return

    @every("1h")
    async def trim(self) -> None:
        """Forget deliveries that have been over for long."""
        before, trimmed = _now() - self.history, 0
        async for one in self.deliveries.scan(lambda one: (one.state != "waiting") & (one.created_at < before)):
            await self.deliveries.delete(one.id)
            trimmed += 1
            if trimmed >= TRIMMED_MAX:
                return

    async def _again(self, one: WebhookDelivery) -> None:
        _ = await self.deliveries.patch(one.id, state="waiting", due=0.0, attempts=0, problem="", tried_at=0.0)

    def _caller(self) -> str:
        """Whose subscriptions the caller's are.

        Raises:
            Unauthenticated, Forbidden: They may have none.
        """
        who, may = current().identity, type(self).__may__ | type(self).__manages__
        if may.allows(who):
            return owner_of(who)
        if who.anonymous:
            raise Unauthenticated
        raise Forbidden(f"to have webhooks needs {may.wants}")

    def _manages(self) -> bool:
        return type(self).__manages__.allows(current().identity)

    async def _owned(self, id: str) -> WebhookSubscription:
        owner = self._caller()
        found = await self.subscriptions.get(id)
        if found.owner != owner and not self._manages():
            # Whether others have one of this id is none of the caller's business.
            raise NotFound("webhook_subscription", id)
        return found

    def _wanted(self, url: str, topics: Sequence[str], where: str) -> tuple[str, ...]:
        _ = target_of(url, self._reach)
        known = type(self).__kinds__
        if unknown := [topic for topic in topics if topic not in known]:
            raise _refused("events", f"expected some of {', '.join(known)}, got {unknown[0][:100]!r}")
        if not topics:
            raise _refused("events", "expected one at the least")
        for topic in topics:
            try:
                _ = matching(known[topic], where)
            except Invalid as fault:
                raise _refused("where", f"of {topic}: {fault.detail}") from None
        return tuple(dict.fromkeys(topics))

    def _sealed(self, id: str, secret: str) -> str:
        return self._seal.close(id, secret, current().host.entropy)

    def _secret(self, given: str) -> str:
        if not given:
            return secret_of(current().host.entropy(SECRET_BYTES))
        try:
            _ = key_of(given)
        except Misconfigured as fault:
            raise _refused("secret", fault.detail) from None
        return given


def _of(subscription: str, state: State | None) -> Where:
    of = Compare("eq", ("subscription",), subscription)
    return of if state is None else And((of, Compare("eq", ("state",), state)))


def _refused(name: str, expected: str) -> Invalid:
    return Invalid(f"/{name}: {expected}", [Flaw(f"/{name}", "invalid", expected)])


def _limit(limit: int) -> int:
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise _refused("limit", f"expected 1 to {PAGE_ITEMS_MAX}")
    return limit


def _now() -> float:
    return current().host.now()
