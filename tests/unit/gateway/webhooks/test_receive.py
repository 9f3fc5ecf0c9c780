"""A webhook that comes in is an event, once, and only if it is believed."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import pytest
from openapi_spec_validator import validate
from tests.unit.gateway.conftest import Answer, Door

from hanse.contract.model import Event, Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.webhooks.signature import headers_of, secret_of
from hanse.gateway.webhooks.verify import Signed
from hanse.kernel.faults import Misdeclared, Unauthenticated
from hanse.kernel.host import Host
from hanse.kernel.message import Identity
from hanse.kernel.settings import GatewaySettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service

from .conftest import OrderPaid, Shop

pytestmark = pytest.mark.virtual_time
SECRET = secret_of(bytes(range(32)))


class Payment(Event):
    type: str
    amount: int = 0


class Booking(Resource):
    amount: int


class Books(Service, events=(Payment,)):
    bookings: Collection[Booking]

    @on(Payment)
    async def book(self, payment: Payment) -> None:
        _ = await self.bookings.create(Booking(amount=payment.amount))


async def identify(_: Mapping[str, str]) -> Identity:
    raise Unauthenticated


class Sender:
    """Who sends webhooks to us."""

    def __init__(self, node: Node, door: Door) -> None:
        self.node = node
        self._door = door

    async def __call__(
        self, id: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({}), *, ago: float = 0.0
    ) -> Answer:
        signed = headers_of([SECRET], id, int(self.node.host.now() - ago), body)
        named = {name.replace("-", "_"): text for name, text in signed.items()}
        return await self._door("POST", "/api/hooks/bank", body, **{**named, **headers})

    async def figures(self) -> str:
        return (await self._door("GET", "/metrics")).body.decode()

    async def booked(self) -> list[int]:
        await self.node.settle()
        return [one.amount for one in (await self.node.collection(Booking).find()).items]


@pytest.fixture
async def sender(host: Host, tasks: Tasks) -> AsyncIterator[Sender]:
    gateway = Gateway("/api", identify=identify).receive(Payment, "/hooks/bank", signed=Signed.standard(SECRET))
    settings = Settings(gateway=GatewaySettings(metrics="open"))
    async with Node(App("books", Books, gateway=gateway), settings, host=host) as node:
        yield Sender(node, Door(gateway.asgi(node), tasks))


async def test_it_is_told_as_an_event_and_nobody_else_is_asked_who_it_is(sender: Sender) -> None:
    answer = await sender("msg_1", b'{"type":"paid","amount":7,"of":"fields that are not known"}')
    assert (answer.status, await sender.booked()) == (204, [7])


async def test_it_may_come_often_and_is_told_once(sender: Sender) -> None:
    for _ in range(3):
        assert (await sender("msg_1", b'{"type":"paid","amount":7}')).status == 204
    assert (await sender("msg_2", b'{"type":"paid","amount":8}')).status == 204
    assert sorted(await sender.booked()) == [7, 8]


async def test_a_key_of_the_request_does_not_make_it_another(sender: Sender) -> None:
    for key in ("one", "two"):
        assert (await sender("msg_1", b'{"type":"paid","amount":7}', {"idempotency_key": key})).status == 204
    assert await sender.booked() == [7]


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"webhook_signature": "v1,forged"}, 401, "webhook_refused"),
        ({"webhook_id": "msg_2"}, 401, "webhook_refused"),
        ({"webhook_signature": ""}, 401, "webhook_refused"),
        ({"content_type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
async def test_what_is_forged_is_a_problem_and_no_event(
    sender: Sender, changed: dict[str, str], status: int, code: str
) -> None:
    answer = await sender("msg_1", b'{"type":"paid"}', changed)
    assert (answer.status, answer.json["code"], await sender.booked()) == (status, code, [])


async def test_what_was_seen_is_not_believed_later(sender: Sender) -> None:
    answer = await sender("msg_1", b'{"type":"paid"}', ago=301)
    assert (answer.status, answer.json["code"]) == (401, "webhook_refused")
    assert "301 s" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"type":7}', 422),
        (b"{}", 422),
        (b"no json", 400),
        (b'{"type":' + b"[" * 5_000 + b"]" * 5_000 + b"}", 400),
        (b'{"type":"' + b"x" * 2_000_000 + b'"}', 413),
    ],
    ids=["another type", "nothing", "no json", "deep", "large"],
)
async def test_what_is_signed_and_cannot_be_read_is_a_problem(sender: Sender, body: bytes, status: int) -> None:
    answer = await sender("msg_1", body)
    assert (answer.status, await sender.booked()) == (status, [])


async def test_other_methods_of_the_path_ask_who_it_is(host: Host, tasks: Tasks) -> None:
    gateway = Gateway(identify=identify).receive(Payment, "/hook", signed=Signed.github("a secret"))
    gateway.events(Payment, "/hook")
    async with Node(App("books", Books, gateway=gateway), host=host) as node:
        assert (await Door(gateway.asgi(node), tasks)("GET", "/hook")).status == 401


async def test_the_document_tells_what_comes_in_and_what_is_sent(host: Host, tasks: Tasks) -> None:
    gateway = Gateway("/api").receive(Payment, "/hook", signed=Signed.github("a secret")).webhooks(OrderPaid)
    async with Node(App("books", Books, Shop, gateway=gateway), host=host) as node:
        document = (await Door(gateway.asgi(node), tasks)("GET", "/api/openapi.json")).json
    validate(document)
    assert document["paths"]["/hook"]["post"]["operationId"] == "receive_payment"
    sent = document["webhooks"]["order_paid"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert sent["properties"]["data"]["$ref"].endswith("/OrderPaid")


def test_what_cannot_be_received_is_refused_where_it_is_declared() -> None:
    scheme = Signed.github("a secret")
    with pytest.raises(Misdeclared, match="Event class"):
        Gateway().receive(Booking, "/hook", signed=scheme)  # type: ignore[arg-type]
    with pytest.raises(Misdeclared, match="placeholders"):
        Gateway().receive(Payment, "/hooks/{who}", signed=scheme)
    with pytest.raises(Misdeclared, match="twice"):
        Gateway().receive(Payment, "/hook", signed=scheme).receive(Payment, "/hook", signed=scheme)


async def test_what_is_refused_is_counted_by_its_reason_and_told_once_a_minute(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hanse.webhooks"):
        for _ in range(3):
            _ = await sender("msg_1", b'{"type":"paid"}', {"webhook_signature": "v1,forged"})
        _ = await sender("msg_1", b'{"type":"paid"}', ago=301)
        _ = await sender("msg_1", b'{"type":"paid"}', {"webhook_signature": ""})
        _ = await sender("x" * 300, b'{"type":"paid"}')
        await asyncio.sleep(61)
        _ = await sender("msg_1", b'{"type":"paid"}', {"webhook_signature": "v1,forged"})
    figures = await sender.figures()
    found = re.findall(r'hanse_webhooks_refused_total\{http_route="/api/hooks/bank",reason="(\w+)"\} (\d+)', figures)
    assert found == [("forged", "4"), ("malformed", "1"), ("stale", "1"), ("unsigned", "1")]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 5
    assert told[-1].startswith("webhooks at /api/hooks/bank are refused as forged: 3 since it was said last")
    assert "v1,forged" not in caplog.text
