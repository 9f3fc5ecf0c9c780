"""What tests of the gateway share: a shop, and a client that speaks ASGI to its door without a network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.guard import scope
from hanse.contract.model import Model, Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.streams import ABORT
from hanse.kernel.context import current
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service

Value = Any


class OutOfStock(Fault, status=409, detail="only {left} of {sku} left"):
    sku: str
    left: int


class Address(Model):
    city: str
    zip: str = ""


class Order(Resource):
    sku: str
    amount: Decimal = Decimal(1)
    status: Literal["new", "paid"] = "new"
    paid: bool = False
    count: int = 0
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    note: str | None = None
    rank: int | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    address: Address | None = None


class Shop(Service):
    """A shop."""

    orders: Collection[Order]

    @rpc(faults=(OutOfStock,))
    async def reserve(self, sku: str, count: int = 1) -> dict[str, int]:
        """Hold some of them.

        For a while.
        """
        if sku == "tea":
            raise OutOfStock(sku, left=2)
        return {sku: count}

    @rpc(route="GET /stock/{sku}")
    async def stock(self, sku: str, at_least: int = 0, colors: list[str] = [], note: str = "") -> dict[str, Any]:  # noqa: B006
        return {"sku": sku, "at_least": at_least, "colors": colors, "note": note}

    @rpc(route="POST /stock/{sku}")
    async def refill(self, sku: str, count: int) -> int:
        return count

    @rpc(route="GET /count/{upto}")
    async def counting(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number
        if upto == 3:
            raise OutOfStock("numbers", left=0)

    @rpc
    async def forever(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    @rpc
    async def crash(self) -> None:
        raise ZeroDivisionError("secret")

    @rpc
    async def who(self) -> dict[str, str]:
        context = current()
        return {"who": context.identity.subject, "trace": context.headers.traceparent, **context.tags}

    @rpc(allow=scope("admin"))
    async def close(self) -> None:
        """Close the shop."""

    @rpc
    async def nap(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "rested"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Value:
        return msgspec.json.decode(self.body)


class Wire:
    """One exchange over ASGI; the client takes at most `window` pieces that it has not read."""

    def __init__(self, window: int = 100) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.came: asyncio.Queue[dict[str, Any]] = asyncio.Queue(window)
        self.events: list[str] = []
        self.cut = False
        self.ended = asyncio.Event()

    def abort(self) -> None:
        self.cut = True
        self.sent.put_nowait({"type": "http.disconnect"})
        while not self.came.empty():
            self.came.get_nowait()

    def leave(self, kind: str = "http") -> None:
        self.sent.put_nowait({"type": f"{kind}.disconnect"})

    async def next(self) -> dict[str, Any]:
        return await self.came.get()

    async def say(self, message: Value) -> None:
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        self.sent.put_nowait({"type": "websocket.receive", "text": text})

    async def hear(self) -> Value:
        event = await self.next()
        return msgspec.json.decode(event["text"]) if event["type"] == "websocket.send" else event

    async def event(self) -> dict[str, Any]:
        """The next event of an event stream, of which several may come together; comments are left out."""
        while True:
            while not self.events:
                self.events += (await self.next()).get("body", b"").decode().split("\n\n")
            lines = self.events.pop(0).splitlines()
            parts = [line.partition(": ") for line in lines if line[:1] not in {"", ":"}]
            fields: dict[str, Any] = {name: value for name, _, value in parts}
            if "data" in fields:
                return {**fields, "data": msgspec.json.decode(fields["data"])}


class Door:
    """Asks an ASGI application."""

    def __init__(self, app: Value, tasks: Tasks) -> None:
        self.app = app
        self._tasks = tasks

    async def __call__(self, method: str, path: str, value: Value = None, **headers: str) -> Answer:
        """One request; `value` is sent as JSON unless it is bytes already."""
        wire = Wire()
        body = b"" if value is None else value if isinstance(value, bytes) else msgspec.json.encode(value)
        if body:
            headers.setdefault("content_type", "application/json")
        wire.sent.put_nowait({"type": "http.request", "body": body, "more_body": False})
        await self.app(self.scope(method, path, headers), wire.sent.get, wire.came.put)
        start = wire.came.get_nowait()
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        parts = [wire.came.get_nowait()["body"] for _ in range(wire.came.qsize())]
        return Answer(start["status"], names, b"".join(parts))

    def open(self, path: str, *, kind: str = "http", method: str = "GET", window: int = 100, **headers: str) -> Wire:
        """A request whose answer goes on, or a WebSocket."""
        wire = Wire(window)
        wire.sent.put_nowait({"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"})
        if kind == "http":
            headers.setdefault("accept", "text/event-stream")
        self._tasks.start(self._run(self.scope(method, path, headers, kind=kind, abort=wire.abort), wire))
        return wire

    async def socket(self, path: str = "/live", **options: Value) -> Wire:
        """An accepted WebSocket."""
        wire = self.open(path, kind="websocket", **options)
        assert await wire.next() == {"type": "websocket.accept"}
        return wire

    async def _run(self, scope: dict[str, Any], wire: Wire) -> None:
        await self.app(scope, wire.sent.get, wire.came.put)
        wire.ended.set()

    def scope(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        kind: str = "http",
        abort: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        raw, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": kind,
            "path": raw,
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50_000),
            "extensions": {ABORT: abort, "websocket.http.response": {}},
        }
        return scope | {"method": method} if kind == "http" else scope


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    failures: list[BaseException] = []
    async with Tasks(failures.append) as tasks:
        yield tasks
    assert failures == []


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(App("shop", Shop), host=host) as node:
        yield node


@pytest.fixture
def opened(node: Node, tasks: Tasks) -> Callable[[Gateway], Door]:
    """The door that a gateway is."""
    return lambda gateway: Door(gateway.asgi(node), tasks)


@pytest.fixture
def door(opened: Callable[[Gateway], Door]) -> Door:
    """Everything of the shop, exposed."""
    return opened(Gateway.everything([Shop]))


@pytest.fixture
def shop() -> type[Shop]:
    return Shop


@pytest.fixture
def order() -> type[Order]:
    return Order
