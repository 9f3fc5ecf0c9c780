"""A shop whose events programs outside hear of, and a stand-in for what carries them there."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from hanse.contract.declare import rpc
from hanse.contract.guard import scope
from hanse.contract.model import Event
from hanse.gateway.gateway import Gateway
from hanse.gateway.webhooks.model import WebhookDelivery, WebhookSubscription
from hanse.gateway.webhooks.schedule import Answer
from hanse.gateway.webhooks.sender import Sending
from hanse.gateway.webhooks.service import Webhooks
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service

ADA = Identity("ada", tenant="acme", scopes=frozenset({"webhooks"}))
BOB = Identity("bob", tenant="other", scopes=frozenset({"webhooks"}))
OPERATOR = Identity("olga", scopes=frozenset({"manage"}))
URL = "https://receiver.example/hooks"


Value = Any


class OrderPaid(Event):
    order_id: str
    total: int = 1
    shop: str = "acme"


class OrderSent(Event):
    order_id: str


class Shop(Service, events=(OrderPaid, OrderSent)):
    @rpc
    async def pay(self, order_id: str, total: int = 1, shop: str = "acme") -> None:
        await self.emit(OrderPaid(order_id=order_id, total=total, shop=shop))

    @rpc
    async def dispatch(self, order_id: str) -> None:
        await self.emit(OrderSent(order_id=order_id))


@dataclass
class Outside:
    """Everybody outside: what they were sent, and how they answer."""

    host: Host
    answer: Callable[[Sending], Answer] = lambda _: Answer(204)
    came: list[tuple[float, Sending]] = field(default_factory=list[tuple[float, Sending]])

    async def send(self, sending: Sending) -> Answer:
        self.came.append((self.host.now(), sending))
        return self.answer(sending)

    async def close(self) -> None:
        return None

    @property
    def ids(self) -> list[str]:
        return [sending.headers["webhook-id"] for _, sending in self.came]


@dataclass
class System:
    """A node that sends webhooks."""

    node: Node
    outside: Outside
    cls: type[Webhooks]

    async def ask(self, who: Identity, operation: str, **arguments: Value) -> Value:
        with self.node.context(Headers(identity=who)):
            return await getattr(self.node.client(self.cls), operation)(**arguments)

    async def pay(self, order_id: str, **rest: Value) -> None:
        with self.node.context():
            await self.node.client(Shop).pay(order_id=order_id, **rest)
        await self.node.settle()

    async def subscriptions(self) -> list[WebhookSubscription]:
        return (await self.node.collection(WebhookSubscription).find()).items

    async def deliveries(self) -> list[WebhookDelivery]:
        return (await self.node.collection(WebhookDelivery).find()).items


@pytest.fixture
def outside(host: Host) -> Outside:
    return Outside(host)


@pytest.fixture
async def system(host: Host, outside: Outside) -> AsyncIterator[System]:
    gateway = Gateway().webhooks(
        OrderPaid,
        OrderSent,
        allow=scope("webhooks"),
        manage=scope("manage"),
        audience=lambda event: Identity(tenant=getattr(event, "shop", "acme")),
        sender=outside,
    )
    (cls,) = gateway.services
    assert issubclass(cls, Webhooks)
    async with Node(App("shop", Shop, gateway=gateway), host=host) as node:
        yield System(node, outside, cls)
