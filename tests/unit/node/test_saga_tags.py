"""Tags that the code of a saga adds to its story: all that it does carries them, also when another node goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.delivery.retry import Terminal
from hanse.delivery.saga_rows import SagaRow
from hanse.kernel.context import current
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.saga_desk import SagaDesk
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time


class Seen:
    """The tags of the calls that came, and whether the till is away."""

    tags: list[tuple[str, dict[str, str]]]
    away: bool

    @classmethod
    def anew(cls) -> None:
        cls.tags, cls.away = [], False

    @classmethod
    def note(cls, what: str) -> None:
        cls.tags.append((what, current().tags))


class Till(Service):
    @rpc
    async def pay(self) -> str:
        Seen.note("pay")
        if Seen.away:
            raise Unavailable("the till is away")
        raise Terminal("no money")


class Orders(Service):
    till: Till

    @rpc
    @saga
    async def place(self, s: Saga, sku: str) -> str:
        current().tag(order=f"{sku}-1")
        _ = await s.step(self._open).undo(self._drop)
        current().tag(till="left")
        return await s.step(self.till.pay)

    @rpc
    @saga
    async def quietly(self, s: Saga) -> str:
        return await s.step(self._open)

    async def _open(self) -> str:
        Seen.note("open")
        return "open"

    async def _drop(self, _: str) -> None:
        Seen.note("drop")


@pytest.fixture
def make(tmp_path: Path, host: Host) -> Callable[[], Node]:
    Seen.anew()
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}/orders.db", grace=2.0))

    def inline(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    return lambda: Node(App("orders", Till, Orders), settings, host=host, stores=inline)


@pytest.fixture
async def node(make: Callable[[], Node]) -> AsyncIterator[Node]:
    async with asyncio.timeout(86_400), make() as made:
        yield made


def desk_of(node: Node, host: Host) -> SagaDesk:
    return SagaDesk({"orders": next(one.store for one in node.hosted if one.part.name == "orders")}, host)


async def until(node: Node, host: Host, state: str, *, asked: int = 0) -> SagaRow:
    """The only saga, once it is in a state, and so many calls have come."""
    while True:
        for row in await desk_of(node, host).rows():
            if row.state == state and len(Seen.tags) >= asked:
                return row
        await asyncio.sleep(0.01)


async def test_steps_and_what_undoes_them_carry_the_tags_of_the_code(node: Node) -> None:
    with pytest.raises(Terminal):
        _ = await node.client(Orders).place("tea")
    both = {"order": "tea-1", "till": "left"}
    assert Seen.tags == [("open", {"order": "tea-1"}), ("pay", both), ("drop", both)]


async def test_tags_of_who_asked_stay(node: Node, host: Host) -> None:
    with node.context():
        current().tag(customer="ada")
        _ = await node.client(Orders).quietly()
    assert [row.tags for row in await desk_of(node, host).rows()] == [{"customer": "ada"}]


async def test_sagas_are_found_by_their_tags(node: Node, host: Host) -> None:
    for sku in ("tea", "cake"):
        with pytest.raises(Terminal):
            _ = await node.client(Orders).place(sku)
    desk = desk_of(node, host)
    assert [row.arguments for row in await desk.rows(tags={"order": "tea-1"})] == ['{"sku":"tea"}']
    assert [row.arguments for row in await desk.rows(tags={"order": "cake-1", "till": "left"})] == ['{"sku":"cake"}']
    assert await desk.rows(tags={"order": "tea-1", "till": "right"}) == []


async def test_who_takes_a_saga_up_carries_its_tags_on(make: Callable[[], Node], host: Host) -> None:
    Seen.away = True
    async with make() as one:
        await send(one.client(Orders).place, "tea")
        assert (await until(one, host, "running", asked=2)).tags == {"order": "tea-1", "till": "left"}
    Seen.anew()
    async with make() as two:
        _ = await until(two, host, "undone")
    assert [what for what, _ in Seen.tags] == ["pay", "drop"]
    assert all(tags == {"order": "tea-1", "till": "left"} for _, tags in Seen.tags)
