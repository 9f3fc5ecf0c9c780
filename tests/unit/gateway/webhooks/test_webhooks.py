"""Programs outside hear of each event that they want, for days if it has to be, and of no other."""

import asyncio
from itertools import pairwise

import msgspec
import pytest

from hanse.contract.model import Event
from hanse.gateway.gateway import Gateway
from hanse.gateway.webhooks.address import AddressRefused
from hanse.gateway.webhooks.model import WebhookSecret
from hanse.gateway.webhooks.schedule import ATTEMPTS_MAX, DELAYS_SECONDS, Answer
from hanse.gateway.webhooks.service import SUBSCRIPTIONS_MAX, TooMany, Webhooks
from hanse.gateway.webhooks.signature import is_signed, key_of, secret_of
from hanse.kernel.faults import Conflict, Forbidden, Invalid, Misdeclared, NotFound, Unauthenticated
from hanse.kernel.host import Host
from hanse.kernel.message import ANONYMOUS, Identity
from hanse.kernel.settings import ServiceSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node

from .conftest import ADA, BOB, OPERATOR, URL, OrderPaid, OrderSent, Outside, Shop, System

pytestmark = pytest.mark.virtual_time
HOUR = 3_600.0
DAY = 86_400.0


async def test_each_event_is_sent_once_signed_and_noted(system: System) -> None:
    made = await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1", total=7)
    await asyncio.sleep(1)
    ((at, sent),) = system.outside.came
    body = msgspec.json.decode(sent.body)
    assert (body["type"], body["data"]) == ("order_paid", {"order_id": "o1", "total": 7, "shop": "acme"})
    assert sent.url == URL
    assert int(sent.headers["webhook-timestamp"]) == int(at)
    id, signatures = sent.headers["webhook-id"], sent.headers["webhook-signature"]
    assert is_signed([key_of(made.secret)], id, int(at), sent.body, signatures)
    (kept,) = await system.deliveries()
    assert (kept.id, kept.state, kept.attempts, kept.status) == (id, "delivered", 1, 204)


async def test_only_what_was_asked_for_is_sent(system: System) -> None:
    await system.ask(ADA, "subscribe", url=URL, events=["order_paid"], where="total[gte]=10")
    await system.pay("little", total=9)
    await system.pay("much", total=10)
    with system.node.context():
        await system.node.client(Shop).dispatch(order_id="o1")
    await system.node.settle()
    await asyncio.sleep(1)
    assert [msgspec.json.decode(sent.body)["data"]["order_id"] for _, sent in system.outside.came] == ["much"]


async def test_events_of_one_tenant_are_not_sent_to_another(system: System) -> None:
    ours = await system.ask(ADA, "subscribe", url=URL)
    await system.ask(BOB, "subscribe", url=URL)
    await system.pay("o1", shop="acme")
    await asyncio.sleep(1)
    assert [one.subscription for one in await system.deliveries()] == [ours.subscription.id]


async def test_it_is_tried_for_days_under_one_id_and_then_given_up(system: System) -> None:
    system.outside.answer = lambda _: Answer(500, "no", said="out of order")
    await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1")
    await asyncio.sleep(4 * DAY + 3_600)
    times = [at for at, _ in system.outside.came]
    assert len(set(system.outside.ids)) == 1
    assert len(times) == ATTEMPTS_MAX
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert all(delay <= wait <= delay * 1.2 + 1.0 for delay, wait in zip(DELAYS_SECONDS, waits, strict=True))
    (kept,) = await system.deliveries()
    assert (kept.state, kept.attempts, kept.said) == ("failed", ATTEMPTS_MAX, "out of order")


async def test_a_receiver_that_is_gone_ends_its_subscription_and_that_is_told(system: System) -> None:
    system.outside.answer = lambda _: Answer(410, "gone")
    await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1")
    await asyncio.sleep(1)
    (left,) = await system.subscriptions()
    assert (left.active, "410" in left.ended) == (False, True)
    await system.pay("o2")
    assert len(system.outside.came) == 1


async def test_what_waits_for_an_ended_subscription_is_not_sent(system: System) -> None:
    system.outside.answer = lambda _: Answer(500, "no")
    made = await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1")
    await asyncio.sleep(1)
    await system.ask(ADA, "changed", id=made.subscription.id, active=False)
    await asyncio.sleep(60)
    (kept,) = await system.deliveries()
    assert (kept.state, len(system.outside.came)) == ("failed", 1)


async def test_what_waits_for_a_subscription_that_was_removed_is_not_sent(system: System) -> None:
    system.outside.answer = lambda _: Answer(500, "no")
    made = await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1")
    await system.ask(ADA, "unsubscribe", id=made.subscription.id)
    await asyncio.sleep(60)
    assert [one.problem for one in await system.deliveries()] == ["the subscription is gone"]
    assert await system.node.collection(WebhookSecret).count() == 0


async def test_a_receiver_that_asks_for_a_pause_gets_it_for_all_that_waits(system: System) -> None:
    system.outside.answer = lambda _: Answer(429, "slow down", retry_after=600.0)
    await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1")
    await asyncio.sleep(1)
    for n in range(5):
        await system.pay(f"more{n}")
    await asyncio.sleep(500)
    assert len(system.outside.came) == 1
    system.outside.answer = lambda _: Answer(200)
    await asyncio.sleep(200)
    assert {one.state for one in await system.deliveries()} == {"delivered"}


async def test_a_receiver_that_is_silent_is_left_alone_longer_and_longer(system: System) -> None:
    system.outside.answer = lambda _: Answer(0, "no answer")
    await system.ask(ADA, "subscribe", url=URL)
    for n in range(50):
        await system.pay(f"o{n}")
    await asyncio.sleep(120)
    assert len(system.outside.came) < 40


@pytest.mark.usefixtures("untraced")
async def test_a_subscription_that_nothing_reaches_for_days_is_ended(system: System) -> None:
    system.outside.answer = lambda _: Answer(500, "no")
    await system.ask(ADA, "subscribe", url=URL)
    for n in range(3):
        await system.pay(f"o{n}")
        await asyncio.sleep(2 * DAY)
    (left,) = await system.subscriptions()
    assert (left.active, "5 days" in left.ended) == (False, True)


@pytest.mark.usefixtures("untraced")
async def test_one_that_is_reached_now_and_then_is_not(system: System) -> None:
    await system.ask(ADA, "subscribe", url=URL)
    for n in range(4):
        system.outside.answer = lambda _, n=n: Answer(500 if n % 2 else 200, "no")  # type: ignore[misc]
        await system.pay(f"o{n}")
        await asyncio.sleep(2 * DAY)
    assert (await system.subscriptions())[0].active


async def test_a_secret_is_replaced_with_both_signing_for_a_while(system: System) -> None:
    made = await system.ask(ADA, "subscribe", url=URL)
    former, id = made.secret, made.subscription.id
    new = (await system.ask(ADA, "rotate", id=id, overlap=3_600.0)).secret
    await system.pay("o1")
    await asyncio.sleep(3_601)
    await system.pay("o2")
    await asyncio.sleep(1)
    believed = [
        [
            is_signed(
                [key_of(secret)], sent.headers["webhook-id"], int(at), sent.body, sent.headers["webhook-signature"]
            )
            for secret in (former, new)
        ]
        for at, sent in system.outside.came
    ]
    assert believed == [[True, True], [False, True]]


async def test_a_secret_is_told_once_and_is_in_no_row_that_is_shown(system: System) -> None:
    secret = secret_of(bytes(range(32)))
    made = await system.ask(ADA, "subscribe", url=URL, secret=secret)
    assert made.secret == secret
    shown = [await system.ask(ADA, "shown", id=made.subscription.id), await system.ask(ADA, "listed")]
    assert secret not in msgspec.json.encode([msgspec.to_builtins(one) for one in shown]).decode()
    assert secret not in repr(await system.node.collection(WebhookSecret).get(made.subscription.id))


async def test_a_ping_shows_that_the_way_is_open(system: System) -> None:
    made = await system.ask(ADA, "subscribe", url=URL)
    pinged = await system.ask(ADA, "ping", id=made.subscription.id)
    await asyncio.sleep(1)
    assert system.outside.ids == [pinged.id]
    await system.ask(ADA, "changed", id=made.subscription.id, active=False)
    with pytest.raises(Conflict, match="active"):
        await system.ask(ADA, "ping", id=made.subscription.id)


async def test_what_failed_is_sent_again_by_hand_under_its_id(system: System) -> None:
    system.outside.answer = lambda _: Answer(410, "gone")
    made = await system.ask(ADA, "subscribe", url=URL)
    id = made.subscription.id
    await system.pay("o1")
    await asyncio.sleep(1)
    await system.ask(ADA, "changed", id=id, active=True)
    system.outside.answer = lambda _: Answer(200)
    assert (await system.ask(ADA, "replay", id=id)).count == 1
    await asyncio.sleep(1)
    assert len(set(system.outside.ids)) == 1
    page = await system.ask(ADA, "delivered", id=id, state="delivered")
    assert [one.id for one in page.items] == system.outside.ids[:1]


async def test_one_delivery_or_a_span_of_time_is_sent_again(system: System) -> None:
    made = await system.ask(ADA, "subscribe", url=URL)
    id = made.subscription.id
    for n in range(3):
        await system.pay(f"o{n}")
        await asyncio.sleep(10)
    times = [at for at, _ in system.outside.came]
    one, second, _ = system.outside.ids
    assert (await system.ask(ADA, "replay", id=id, delivery=one)).count == 1
    assert (await system.ask(ADA, "replay", id=id, since=times[1] - 1, until=times[2] - 1, state=None)).count == 1
    await asyncio.sleep(1)
    assert sorted(system.outside.ids[3:]) == sorted([one, second])
    with pytest.raises(NotFound):
        await system.ask(ADA, "replay", id=(await system.ask(ADA, "subscribe", url=URL)).subscription.id, delivery=one)


async def test_what_is_over_for_long_is_forgotten(host: Host, outside: Outside) -> None:
    gateway = Gateway().webhooks(OrderPaid, sender=outside)
    (cls,) = gateway.services
    assert issubclass(cls, Webhooks)
    settings = Settings(services={"webhooks": ServiceSettings(settings={"history": HOUR})})
    async with Node(App("shop", Shop, gateway=gateway), settings, host=host) as node:
        system = System(node, outside, cls)
        await system.ask(ADA, "subscribe", url=URL)
        await system.pay("o1")
        await asyncio.sleep(HOUR / 2)
        assert len(await system.deliveries()) == 1
        await asyncio.sleep(2 * HOUR)
        assert await system.deliveries() == []


async def test_nobody_sees_or_changes_what_is_anothers_but_who_manages(system: System) -> None:
    id = (await system.ask(ADA, "subscribe", url=URL)).subscription.id
    for operation in ("shown", "changed", "unsubscribe", "rotate", "ping", "delivered", "replay"):
        with pytest.raises(NotFound):
            await system.ask(BOB, operation, id=id)
    assert (await system.ask(BOB, "listed")).items == []
    assert [one.id for one in (await system.ask(OPERATOR, "listed")).items] == [id]
    assert (await system.ask(OPERATOR, "shown", id=id)).owner == "acme/"
    with pytest.raises(Unauthenticated):
        await system.ask(ANONYMOUS, "listed")
    with pytest.raises(Forbidden, match="the scope webhooks"):
        await system.ask(Identity("eve"), "listed")


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"events": ["order_lost"]}, "/events"),
        ({"where": "total[gte]=much", "events": ["order_paid"]}, "/where: of order_paid: Expected `int`"),
        ({"where": "colour=red"}, "/where: of order_paid: .*colour"),
        ({"where": "after=a.1", "events": ["order_paid"]}, "/where"),
        ({"secret": "whsec_short"}, "/secret"),
    ],
)
async def test_what_cannot_be_is_refused(system: System, asked: dict[str, object], wrong: str) -> None:
    with pytest.raises(Invalid, match=wrong):
        await system.ask(ADA, "subscribe", url=URL, **asked)
    assert await system.subscriptions() == []


async def test_a_url_inside_is_refused_at_once(system: System) -> None:
    made = await system.ask(ADA, "subscribe", url=URL)
    with pytest.raises(AddressRefused, match="link-local"):
        await system.ask(ADA, "subscribe", url="https://169.254.169.254/latest")
    with pytest.raises(AddressRefused, match="loopback"):
        await system.ask(ADA, "subscribe", url="https://localhost/")
    with pytest.raises(AddressRefused, match="expected https"):
        await system.ask(ADA, "changed", id=made.subscription.id, url="http://receiver.example/")


async def test_limits_are_told(system: System) -> None:
    made = await system.ask(ADA, "subscribe", url=URL)
    with pytest.raises(Invalid, match="/limit"):
        await system.ask(ADA, "listed", limit=1_000)
    with pytest.raises(Invalid, match="/overlap"):
        await system.ask(ADA, "rotate", id=made.subscription.id, overlap=-1.0)
    with pytest.raises(Invalid, match="/events"):
        await system.ask(ADA, "changed", id=made.subscription.id, events=[])
    for _ in range(SUBSCRIPTIONS_MAX - 1):
        await system.ask(ADA, "subscribe", url=URL)
    with pytest.raises(TooMany, match="100 subscriptions"):
        await system.ask(ADA, "subscribe", url=URL)


def test_webhooks_are_declared_once_before_the_app_and_of_events() -> None:
    with pytest.raises(Misdeclared, match="Event classes"):
        Gateway().webhooks(Shop)  # type: ignore[arg-type]
    with pytest.raises(Misdeclared, match="expected events"):
        Gateway().webhooks()
    with pytest.raises(Misdeclared, match="declared already"):
        Gateway().webhooks(OrderPaid).webhooks(OrderSent)
    gateway = Gateway()
    _ = App("shop", Shop, gateway=gateway)
    with pytest.raises(Misdeclared, match="before"):
        gateway.webhooks(OrderPaid)

    class Ping(Event): ...

    with pytest.raises(Misdeclared, match="ping"):
        Gateway().webhooks(Ping)


async def test_what_became_of_it_is_counted(system: System) -> None:
    await system.ask(ADA, "subscribe", url=URL)
    await system.pay("o1")
    await asyncio.sleep(1)
    system.outside.answer = lambda _: Answer(0, "inside", refused=True)
    await system.pay("o2")
    await asyncio.sleep(1)
    system.outside.answer = lambda _: Answer(410, "gone")
    await system.pay("o3")
    await asyncio.sleep(1)
    counted = {name: count for (_, name), count in (await system.node.figures()).counted.items() if count}
    assert counted == {
        "webhooks_delivered": 1,
        "webhooks_refused": 1,
        "webhooks_given_up": 1,
        "webhooks_subscriptions_ended": 1,
    }


@pytest.mark.usefixtures("untraced")
async def test_one_that_is_begun_again_has_all_its_days_again(system: System) -> None:
    system.outside.answer = lambda _: Answer(500, "no")
    made = await system.ask(ADA, "subscribe", url=URL)
    for n in range(3):
        await system.pay(f"o{n}")
        await asyncio.sleep(2 * DAY)
    assert not (await system.subscriptions())[0].active
    await system.ask(ADA, "changed", id=made.subscription.id, active=True)
    await asyncio.sleep(DAY)
    assert (await system.subscriptions())[0].active


async def test_several_that_are_refused_for_good_at_once_end_it_once(system: System) -> None:
    system.outside.answer = lambda _: Answer(410, "gone")
    await system.ask(ADA, "subscribe", url=URL)
    for n in range(8):
        with system.node.context():
            await system.node.client(Shop).pay(order_id=f"o{n}")
    await system.node.settle()
    await asyncio.sleep(60)
    assert {one.state for one in await system.deliveries()} == {"failed"}
    counted = (await system.node.figures()).counted
    assert counted["webhooks", "webhooks_subscriptions_ended"] >= 1
    assert not (await system.subscriptions())[0].active


def test_a_gateway_to_everything_shows_no_secrets() -> None:
    (cls,) = Gateway().webhooks(OrderPaid).services
    paths = " ".join(Gateway.everything([cls]).surface)
    assert "/webhook_subscriptions" in paths
    assert "webhook_secrets" not in paths
