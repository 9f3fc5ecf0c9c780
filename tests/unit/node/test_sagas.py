"""Sagas on a node: steps take effect once, or are undone; what is left by one node is ended by the next."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Model, Resource
from hanse.delivery.retry import Terminal
from hanse.delivery.saga_machine import SagaAborted, SagaStuck, SagaUndone
from hanse.delivery.saga_rows import SAGA_STEPS, SAGAS, SagaRow, saga_in, step_in
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import DeadlineExceeded, Fault, KeyReused, Misdeclared, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy, send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.query import Query
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time


class OutOfStock(Fault, detail="no {sku} left"):
    """There is none."""

    sku: str


class Hold(Model):
    id: str


class Settled(Event):
    order: str


class World:
    """What happens elsewhere, and what is in its way."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.away: dict[str, int] = {}
        self.raises: dict[str, Exception] = {}
        self.gate = asyncio.Event()

    async def happens(self, what: str) -> None:
        name = what.split(maxsplit=1)[0]
        if self.away.get(name, 0):
            self.away[name] -= 1
            raise Unavailable(f"{name} is away")
        if name in self.raises:
            raise self.raises[name]
        if name == "wait" and what != "wait now":
            _ = await self.gate.wait()
        self.done.append(what)


world = World()


class Order(Resource):
    sku: str
    status: str = "new"


class Stock(Service, events=(Settled,)):
    @rpc
    async def reserve(self, sku: str) -> Hold:
        await world.happens(f"reserve {sku}")
        return Hold(id=f"hold-{sku}")

    @rpc
    async def release(self, id: str) -> None:
        await world.happens(f"release {id}")

    @rpc
    async def charge(self, who: str, amount: int) -> str:
        await world.happens(f"charge {amount}")
        return "receipt"

    @rpc
    async def wait(self, name: str) -> str:
        await world.happens(f"wait {name}")
        return name

    @rpc
    async def settle(self, order: str) -> None:
        await self.emit(Settled(order=order))


class Orders(Service):
    stock: Stock
    orders: Collection[Order]

    @rpc
    @saga
    async def place(self, s: Saga, sku: str, amount: int = 5) -> Order:
        order = await s.step(self._create, sku).undo(self._drop)
        _ = await s.step(self.stock.reserve, sku).undo(lambda hold: self.stock.release(hold.id))
        _ = await s.step(self.stock.charge, order.id, amount)
        return await s.step(self._paid, order.id)

    async def _create(self, sku: str) -> Order:
        return await self.orders.create(Order(sku=sku))

    async def _drop(self, order: Order) -> None:
        await world.happens(f"drop {order.sku}")
        await self.orders.delete(order.id)

    async def _paid(self, id: str) -> Order:
        return await self.orders.patch(id, status="paid")

    @rpc
    @saga
    async def careful(self, s: Saga, sku: str) -> list[Order]:
        made = await s.step(self._both, sku)
        _ = await s.step(self.stock.wait, "for it")
        return [await s.step(self._at, made[1]), made[0]]

    async def _both(self, sku: str) -> list[Order]:
        return [await self.orders.create(Order(sku=f"{sku} {number}")) for number in range(2)]

    async def _at(self, order: Order) -> Order:
        return await self.orders.patch(order.id, if_match=order.rev, status="sure")

    @rpc
    @saga
    async def ship(self, s: Saga, names: list[str]) -> list[str]:
        async def one(branch: Saga, name: str) -> str:
            hold = await branch.step(self.stock.reserve, name).undo(lambda hold: self.stock.release(hold.id))
            return await branch.step(self.stock.wait, f"{name} {hold.id}")

        return await asyncio.gather(*(one(s.branch(name), name) for name in names))

    @rpc
    @saga
    async def waits(self, s: Saga, names: list[str]) -> list[str]:
        return [await s.step(self.stock.wait, name) for name in names]

    @rpc
    @saga
    async def racing(self, s: Saga) -> None:
        async def one() -> None:
            _ = await s.step(self.stock.reserve, "tea")

        await asyncio.gather(one(), one())

    @rpc
    @saga
    async def writing(self, s: Saga) -> None:
        del s
        _ = await self.orders.create(Order(sku="tea"))

    @rpc
    @saga
    async def calling(self, s: Saga) -> None:
        del s
        _ = await self.stock.reserve("tea")

    @rpc
    @saga(timeout="1m")
    async def slowly(self, s: Saga) -> list[float]:
        _ = await s.step(self.stock.reserve, "tea").undo(lambda hold: self.stock.release(hold.id))
        first = await s.now()
        await s.sleep("10s")
        again = await s.now()
        _ = await s.step(self.stock.charge, s.new_id(), 7).within("5s")
        return [first, again, s.random()]

    @rpc
    @saga(events=(Settled,))
    async def paid_later(self, s: Saga, id: str) -> list[str]:
        _ = await s.step(self.stock.reserve, id).undo(lambda hold: self.stock.release(hold.id))
        first = await s.event(Settled, where=lambda event: event.order.startswith(id), timeout="1h")
        second = await s.event(Settled, where=lambda event: event.order.startswith(id), timeout="1h")
        return [first.order, second.order]


APP = App("orders", Stock, Orders)


@pytest.fixture(autouse=True)
async def _anew() -> None:
    world.__init__()  # type: ignore[misc]


@pytest.fixture
def make(tmp_path: Path, host: Host) -> Callable[..., Node]:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", grace=2.0))

    def inline(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    def node(app: App = APP) -> Node:
        return Node(app, settings, host=host, stores=inline)

    return node


@pytest.fixture
async def node(make: Callable[..., Node]) -> AsyncIterator[Node]:
    async with asyncio.timeout(3 * 86_400), make() as made:
        yield made


def store_of(node: Node) -> Store:
    return next(hosted.store for hosted in node.hosted if hosted.part.name == "orders")


async def sagas(node: Node) -> list[SagaRow]:
    found = await store_of(node).find(SAGAS, Query())
    return [saga_in(row) for row in found.rows]


async def until(true: Callable[[], Awaitable[object]]) -> None:
    for _ in range(1_000_000):
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def steps(node: Node) -> list[str]:
    """The names of what the journal holds, in the order in which it happened."""
    found = await store_of(node).find(SAGA_STEPS, Query(limit=1000))
    return [step.name for step in sorted(map(step_in, found.rows), key=lambda step: step.rev)]


async def state(node: Node, wanted: str) -> SagaRow:
    """The only saga, once it is in a state."""

    async def is_there() -> bool:
        return (await sagas(node))[0].state == wanted

    await until(is_there)
    return (await sagas(node))[0]


async def trouble_of(node: Node) -> str:
    return "".join(row.trouble for row in await sagas(node))


async def happened(count: int) -> bool:
    return len(world.done) >= count


async def test_a_saga_comes_to_what_its_code_returns(node: Node) -> None:
    order = await node.client(Orders).place("tea")
    assert (order.sku, order.status) == ("tea", "paid")
    assert world.done == ["reserve tea", "charge 5"]
    assert await steps(node) == ["create", "stock.reserve", "stock.charge", "paid"]
    assert [(row.name, row.state) for row in await sagas(node)] == [("orders.place", "done")]


async def test_rows_know_their_revisions_also_after_a_crash(make: Callable[..., Node]) -> None:
    async with make() as one:
        await send(one.client(Orders).careful, "tea")
        await until(lambda: steps(one))
        await one.settle()
    world.gate.set()
    async with make() as two:
        row = await state(two, "done")
        answered = codec_for(list[Order]).decode_json(row.result.encode())
        rows = {row.id: row for row in (await two.collection(Order).find()).items}

        assert [order.status for order in answered] == ["sure", "new"]
        assert answered == [rows[order.id] for order in answered]


async def test_a_row_that_a_saga_answers_knows_its_revision(node: Node) -> None:
    world.gate.set()
    placed = await node.client(Orders).place("tea")
    careful = await node.client(Orders).careful("tea")

    for order in (placed, *careful):
        assert order == await node.collection(Order).get(order.id)


async def test_a_fault_that_a_contract_knows_undoes_the_steps_the_last_one_first(node: Node) -> None:
    world.raises["charge"] = OutOfStock("money")
    with pytest.raises(OutOfStock, match="no money left"):
        _ = await node.client(Orders).place("tea")
    assert world.done == ["reserve tea", "release hold-tea", "drop tea"]
    assert await node.collection(Order).count() == 0
    assert [row.state for row in await sagas(node)] == ["undone"]


async def test_terminal_begins_the_way_back(node: Node) -> None:
    world.raises["charge"] = Terminal("never")
    with pytest.raises(Terminal):
        _ = await node.client(Orders).place("tea")
    assert world.done[-1] == "drop tea"


async def test_one_key_is_one_saga(node: Node) -> None:
    orders = policy(node.client(Orders), idempotency_key="k1")
    first, second = await asyncio.gather(orders.place("tea"), orders.place("tea"))
    assert first.id == second.id == (await orders.place("tea")).id
    assert world.done == ["reserve tea", "charge 5"]
    with pytest.raises(KeyReused):
        _ = await orders.place("cake")


async def test_what_is_away_is_waited_for(node: Node) -> None:
    world.away["charge"] = 20
    order = await policy(node.client(Orders), timeout="1h").place("tea")
    assert order.status == "paid"
    assert world.done == ["reserve tea", "charge 5"]


async def test_a_saga_that_tries_again_says_so(node: Node) -> None:
    world.away["charge"] = 1000
    await send(node.client(Orders).place, "tea")
    await until(lambda: trouble_of(node))
    rows = await sagas(node)
    assert rows[0].state == "running"
    assert rows[0].step == "stock.charge"
    assert "charge is away" in rows[0].trouble


async def test_who_stops_waiting_stops_nothing(node: Node) -> None:
    with pytest.raises(DeadlineExceeded):
        _ = await policy(node.client(Orders), timeout="1s").waits(["a"])
    world.gate.set()
    assert (await state(node, "done")).result == '["a"]'


async def test_a_bug_is_no_decision_and_the_saga_is_stuck(node: Node) -> None:
    world.raises["charge"] = KeyError("oops")
    with pytest.raises(SagaStuck, match="internal error") as caught:
        _ = await policy(node.client(Orders), timeout="1h").place("tea")
    row = (await sagas(node))[0]
    assert (row.state, row.step, row.id) == ("stuck", "stock.charge", caught.value.saga)
    assert world.done == ["reserve tea"]


async def test_an_undo_that_keeps_failing_leaves_the_saga_stuck(node: Node) -> None:
    world.raises |= {"charge": OutOfStock("money"), "release": KeyError("oops")}
    with pytest.raises(SagaStuck):
        _ = await policy(node.client(Orders), timeout="1h").place("tea")
    row = (await sagas(node))[0]
    assert (row.state, row.stuck_in, row.step) == ("stuck", "undoing", "undo:stock.reserve")
    assert world.done == ["reserve tea"]


async def test_steps_run_side_by_side_in_branches(node: Node) -> None:
    world.gate.set()
    assert await node.client(Orders).ship(["a", "b"]) == ["a hold-a", "b hold-b"]
    assert sorted(await steps(node)) == ["a/stock.reserve", "a/stock.wait", "b/stock.reserve", "b/stock.wait"]


async def test_a_branch_that_fails_has_all_of_them_undone(node: Node) -> None:
    world.raises["wait"] = OutOfStock("time")
    with pytest.raises(OutOfStock):
        _ = await node.client(Orders).ship(["a", "b"])
    assert sorted(world.done[:2]) == ["reserve a", "reserve b"]
    assert sorted(world.done[2:]) == ["release hold-a", "release hold-b"]


async def test_steps_of_one_name_are_numbered(node: Node) -> None:
    world.gate.set()
    assert await node.client(Orders).waits(["a", "b", "a"]) == ["a", "b", "a"]
    assert await steps(node) == ["stock.wait", "stock.wait#2", "stock.wait#3"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("racing", "s.branch"), ("writing", "reads and writes in steps"), ("calling", "call it in a step")],
)
async def test_code_that_could_differ_the_next_time_is_refused(node: Node, name: str, said: str) -> None:
    with pytest.raises(SagaStuck, match=said):
        await getattr(node.client(Orders), name)()
    assert await node.collection(Order).count() == 0


async def test_another_node_ends_what_was_left(make: Callable[..., Node]) -> None:
    async with make() as one:
        await send(one.client(Orders).ship, ["a", "b"])
        await until(lambda: happened(2))
    assert sorted(world.done) == ["reserve a", "reserve b"]
    world.gate.set()
    async with make() as two:
        row = await state(two, "done")
    assert row.result == '["a hold-a","b hold-b"]'
    assert sorted(world.done) == ["reserve a", "reserve b", "wait a hold-a", "wait b hold-b"]


async def test_another_node_ends_the_way_back(make: Callable[..., Node]) -> None:
    world.raises["charge"] = OutOfStock("money")
    world.away["drop"] = 10_000
    async with make() as one:
        await send(one.client(Orders).place, "tea")
        await until(lambda: happened(2))
    world.away.clear()
    async with make() as two:
        row = await state(two, "undone")
    assert world.done == ["reserve tea", "release hold-tea", "drop tea"]
    assert row.why == "no money left"


class Changed(Orders, name="orders"):
    """The next version of the code, which asks for other steps."""

    @rpc
    @saga
    async def waits(self, s: Saga, names: list[str]) -> list[str]:
        holds = [await s.step(self.stock.reserve, name) for name in names]
        return [hold.id.removeprefix("hold-") for hold in holds]


class Pinned(Orders, name="orders"):
    """The next version of the code, which keeps the old one."""

    @rpc
    @saga(version=2)
    async def waits(self, s: Saga, names: list[str]) -> list[str]:
        holds = [await s.step(self.stock.reserve, name) for name in names]
        return [hold.id.removeprefix("hold-") for hold in holds]

    @saga(of="waits", version=1)
    async def waits_1(self, s: Saga, names: list[str]) -> list[str]:
        return [await s.step(self.stock.wait, name) for name in names]


class Dropped(Orders, name="orders"):
    """The next version of the code, which has dropped the old one."""

    @rpc
    @saga(version=2)
    async def waits(self, s: Saga, names: list[str]) -> list[str]:
        holds = [await s.step(self.stock.reserve, name) for name in names]
        return [hold.id.removeprefix("hold-") for hold in holds]


async def left_waiting(make: Callable[..., Node]) -> None:
    """A saga has done one step of two."""
    async with make() as node:
        await send(node.client(Orders).waits, ["now", "b"])
        await until(lambda: steps(node))
    world.gate.set()


async def test_code_that_does_not_fit_the_journal_is_stuck(make: Callable[..., Node]) -> None:
    await left_waiting(make)
    async with make(App("orders", Stock, Changed)) as node:
        row = await state(node, "stuck")
    assert "the journal goes on with stock.wait, but the code asks for stock.reserve" in row.why
    assert world.done == ["wait now"]


async def test_a_saga_ends_with_the_version_that_began_it(make: Callable[..., Node]) -> None:
    await left_waiting(make)
    async with make(App("orders", Stock, Pinned)) as node:
        row = await state(node, "done")
        assert await node.client(Pinned).waits(["c"]) == ["c"]
    assert row.version == 1
    assert world.done == ["wait now", "wait b", "reserve c"]


async def test_a_version_that_is_gone_is_told(make: Callable[..., Node]) -> None:
    await left_waiting(make)
    async with make(App("orders", Stock, Dropped)) as node:
        row = await state(node, "stuck")
    assert "@saga(of='waits', version=1)" in row.why


async def test_a_sleep_goes_on_where_it_was(make: Callable[..., Node]) -> None:
    async with make() as one:
        await send(one.client(Orders).slowly)
        await until(lambda: happened(1))
        await asyncio.sleep(1)
    await asyncio.sleep(7)
    async with make() as two:
        row = await state(two, "done")
    assert world.done == ["reserve tea", "charge 7"]
    assert row.ended_at - row.started_at < 12


async def test_a_saga_turns_back_when_its_time_is_over(node: Node) -> None:
    world.away["charge"] = 1_000_000
    with pytest.raises(SagaUndone) as caught:
        _ = await policy(node.client(Orders), timeout="1h").slowly()
    assert (caught.value.cause, caught.value.retryable) == (DeadlineExceeded.code, False)
    # Nobody knew whether it was charged, so that was asked for until it was known.
    assert (await sagas(node))[0].state == "undone"
    assert world.done[0] == "reserve tea"
    assert world.done[-1] == "release hold-tea"


async def test_an_event_is_waited_for_and_given_once(node: Node) -> None:
    await send(node.client(Orders).paid_later, "7")
    await until(lambda: steps(node))
    for order in ("8", "7a", "7b"):
        await node.client(Stock).settle(order)
    assert (await state(node, "done")).result == '["7a","7b"]'


async def test_an_event_that_came_before_the_wait_is_not_missed(make: Callable[..., Node]) -> None:
    async with make() as one:
        world.away["reserve"] = 1_000_000
        await send(one.client(Orders).paid_later, "7")
        await until(lambda: trouble_of(one))
        await one.client(Stock).settle("7a")
        await one.settle()
    world.away.clear()
    async with make() as two:
        await until(lambda: steps(two))
        await two.client(Stock).settle("7b")
        assert (await state(two, "done")).result == '["7a","7b"]'


async def test_an_event_that_does_not_come_turns_the_saga_back(node: Node) -> None:
    with pytest.raises(SagaUndone, match="is undone, as"):
        _ = await policy(node.client(Orders), timeout="2h").paid_later("7")
    assert world.done == ["reserve 7", "release hold-7"]


async def test_a_saga_by_hand_needs_no_node(host: Host) -> None:
    class Direct(Service):
        @saga
        async def go(self, s: Saga, fail: bool) -> str:
            _ = await s.step(self._do, "one").undo(self._undo)
            if fail:
                raise OutOfStock("luck")
            return "done"

        async def _do(self, name: str) -> str:
            world.done.append(name)
            return name

        async def _undo(self, name: str) -> None:
            world.done.append(f"undo {name}")

    del host
    assert await Direct().go(fail=False) == "done"
    with pytest.raises(OutOfStock):
        _ = await Direct().go(fail=True)
    assert world.done == ["one", "one", "undo one"]


class Unhinted(Service):
    @rpc
    @saga
    async def go(self, s: Saga, order: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        del s, order


async def test_a_wrong_hint_is_told_at_the_start(make: Callable[..., Node]) -> None:
    with pytest.raises(Misdeclared, match="Nowhere"):
        async with make(App("unhinted", Unhinted)):
            pass


def test_aborting_is_a_fault() -> None:
    assert SagaAborted().status == 409
