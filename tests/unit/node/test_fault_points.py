"""A node at work passes every fault point, and a crash at one leaves what its meaning says."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.delivery.action import Selection
from hanse.delivery.retry import Terminal
from hanse.kernel.closing import closing
from hanse.kernel.fault_point import POINTS, arm
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Ready, Updated
from hanse.service.collection import Collection
from hanse.service.held import Held
from hanse.service.leases import StoredLeases
from hanse.service.reaction import every, on, rule
from hanse.service.replica import Replica
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore


class Order(Resource):
    sku: str
    status: str = "new"


class Placed(Event):
    sku: str


class Letter(Resource):
    text: str


class Crash(BaseException):
    """The machine is gone."""


class Shop(Service, events=(Placed,)):
    orders: Collection[Order]
    letters: Collection[Letter]

    @rpc
    async def place(self, sku: str) -> str:
        order = await self.orders.create(Order(sku=sku))
        await self.emit(Placed(sku=sku))
        return order.id

    @on(Placed)
    async def confirm(self, event: Placed) -> None:
        if event.sku == "nothing" and not MENDED:
            raise Terminal("there is nothing to say")
        await self.letters.create(Letter(text=event.sku))

    @rule(Order, where=lambda order: order.status == "new")
    async def pack(self, held: Held[Order]) -> None:
        await held.patch(status="packed")

    @rpc
    @saga
    async def wrap(self, s: Saga) -> None:
        await s.step(self._open).undo(self._close)
        raise Terminal("no paper left")

    async def _open(self) -> None: ...

    async def _close(self, _: None) -> None: ...

    @every(60.0)
    async def tidy(self) -> None:
        await self.letters.create(Letter(text="tidy"))


class Window(Service):
    orders: Replica[Order]


OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"deadletters:write"})))
MENDED: list[str] = []
APP = App("shop", Shop)
COPIED = App("shop", Shop, Window)
pytestmark = pytest.mark.virtual_time


@pytest.fixture
def make(tmp_path: Path, host: Host) -> Iterator[Callable[..., Node]]:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"))
    stores: list[SqliteStore] = []

    def inline(url: str) -> Store:
        """A file, but no thread: the loop of these tests does not wait for one."""
        stores.append(SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk()))
        return stores[-1]

    def node(app: App = APP) -> Node:
        return Node(app, settings, host=host, stores=inline)

    yield node
    for connection in (connection for store in stores for connection in store._connections):
        connection.close()  # as the system does it for a process that crashed


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm(None)
    MENDED.clear()


def crashing(point: str) -> None:
    def hook(name: str) -> None:
        if name == point:
            arm(None)
            raise Crash(name)

    arm(hook)


async def counts(node: Node) -> tuple[int, int]:
    return await node.collection(Order).count(), await node.collection(Letter).count()


async def changed(node: Node) -> None:
    """Read the feed up to a change that was made after it began."""
    async with closing(node.collection(Order).follow()) as items:
        async for item in items:
            if isinstance(item, Ready):
                await node.client(Shop).place("ink")
            if isinstance(item, Updated):
                return


async def test_a_node_at_work_passes_every_point(make: Callable[..., Node], host: Host) -> None:
    passed: dict[str, None] = {}
    arm(passed.setdefault)
    async with make(COPIED) as node:
        assert await StoredLeases(node.hosted[0].store, host).acquire("x", seconds=1.0)
        async with asyncio.timeout(600):
            await policy(node.client(Shop), idempotency_key="1").place("tea")
            await node.client(Shop).place("nothing")
            with pytest.raises(Terminal):
                await node.client(Shop).wrap()
            await changed(node)
            await node.settle()
            MENDED.append("nothing")
            with node.context(OPERATOR):
                _ = await node.letters("shop").replay(Selection())
        await asyncio.sleep(61.0)
    assert sorted(passed) == sorted(POINTS)


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("store.before_commit", (0, 0)),
        ("store.after_commit", (1, 0)),
        ("unit.before_commit", (0, 0)),
        ("unit.after_commit", (1, 0)),
        ("key.after_answer", (1, 0)),
    ],
)
async def test_a_call_that_ends_at_a_point_is_stored_or_is_not(
    make: Callable[[], Node], point: str, left: tuple[int, int]
) -> None:
    async with make() as node:
        crashing(point)
        with pytest.raises(Crash):
            await policy(node.client(Shop), idempotency_key="1").place("tea")
        # Within this turn of the loop nothing has reacted to it.
        assert await counts(node) == left


@pytest.mark.parametrize("point", ["node.opened", "node.ready", "node.draining", "node.drained"])
async def test_a_node_that_ends_at_a_point_starts_again(make: Callable[[], Node], point: str) -> None:
    node = make()
    crashing(point)
    with pytest.raises(Crash):
        async with node:
            pass
    async with make() as node:
        await node.client(Shop).place("tea")
