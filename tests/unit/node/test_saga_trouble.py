"""What sagas make of silence, of changed code, and of steps that end when nobody waits for them any more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.delivery.saga_machine import SagaStuck
from hanse.delivery.saga_rows import SagaRow
from hanse.kernel.faults import DeadlineExceeded, Fault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy, send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.saga_desk import SagaDesk
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time


class Broke(Fault, detail="there is no money"): ...


class Paid(Event):
    amount: int


class Bank:
    """What happens elsewhere."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.opened = asyncio.Event()

    async def do(self, name: str) -> None:
        if name in self.fails:
            raise self.fails[name]
        self.done.append(name)


bank = Bank()


class Tills(Service):
    @rpc
    async def charge(self, amount: int) -> str:
        await bank.do("charge")
        return f"receipt {amount}"

    @rpc
    async def refund(self, receipt: str) -> None:
        await bank.do(f"refund {receipt}")

    @rpc
    async def wait(self) -> str:
        _ = await bank.opened.wait()
        await bank.do("wait")
        return "waited"

    @rpc
    async def unwait(self, _: str) -> None:
        await bank.do("unwait")


class Shop(Service):
    tills: Tills

    @rpc
    @saga(timeout="1m")
    async def pay(self, s: Saga, amount: int) -> str:
        return await s.step(self.tills.charge, amount).undo(self.tills.refund)

    @rpc
    @saga
    async def both(self, s: Saga) -> str:
        left, right = s.branch("left"), s.branch("right")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(self._wait(left))
            _ = group.create_task(self._charge(right))
        return waiting.result()

    async def _wait(self, s: Saga) -> str:
        return await s.step(self.tills.wait).undo(self.tills.unwait)

    async def _charge(self, s: Saga) -> None:
        _ = await s.step(self.tills.charge, 1)

    @rpc
    @saga
    async def rest(self, s: Saga) -> str:
        receipt = await s.step(self.tills.charge, 1).undo(self.tills.refund)
        await s.sleep("3h")
        return receipt

    @rpc
    @saga
    async def hear(self, s: Saga) -> int:
        return (await s.event(Paid)).amount

    @rpc
    @saga
    async def twice(self, s: Saga, amount: int) -> str:
        receipt = await s.step(self.tills.charge, amount).undo(self.tills.refund)
        return receipt + await s.step(self.tills.wait)


APP = App("shop", Tills, Shop)


@pytest.fixture(autouse=True)
async def _anew() -> None:
    bank.__init__()  # type: ignore[misc]


@pytest.fixture
def make(tmp_path: Path, host: Host) -> Callable[..., Node]:
    def inline(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    def node(app: App = APP, grace: float = 2.0) -> Node:
        settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", grace=grace, retention=7_200.0))
        return Node(app, settings, host=host, stores=inline)

    return node


@pytest.fixture
async def node(make: Callable[..., Node]) -> AsyncIterator[Node]:
    async with asyncio.timeout(7 * 86_400), make() as made:
        yield made


def desk(node: Node) -> SagaDesk:
    return SagaDesk({"shop": next(one.store for one in node.hosted if one.part.name == "shop")}, node.host)


async def until(true: Callable[[], Awaitable[object]]) -> None:
    for _ in range(1_000_000):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")


async def state(node: Node, wanted: str) -> SagaRow:
    async def there() -> bool:
        return [row.state for row in await desk(node).rows()] == [wanted]

    await until(there)
    return (await desk(node).rows())[0]


async def names(node: Node) -> list[str]:
    rows = await desk(node).rows()
    return [step.name for step in await desk(node).steps(rows[0].id)] if rows else []


async def left_after_one_step(make: Callable[..., Node]) -> None:
    """A saga has done one step of two, and its node is gone."""
    async with make() as node:
        await send(node.client(Shop).twice, 5)
        await until(lambda: names(node))
    bank.opened.set()


async def test_what_nobody_answered_is_asked_for_again_on_the_way_back_and_undone(node: Node) -> None:
    bank.fails["charge"] = Unavailable("the line is dead")
    await send(node.client(Shop).pay, 5)
    _ = await state(node, "undoing")
    del bank.fails["charge"]
    row = await state(node, "undone")

    assert bank.done == ["charge", "refund receipt 5"]
    assert await names(node) == ["tills.charge", "settled:tills.charge", "undo:tills.charge"]
    assert row.why == str(DeadlineExceeded("shop.pay"))


async def test_what_nobody_answered_is_not_undone_where_it_turns_out_that_it_was_refused(node: Node) -> None:
    bank.fails["charge"] = Unavailable("the line is dead")
    await send(node.client(Shop).pay, 5)
    _ = await state(node, "undoing")
    bank.fails["charge"] = Broke()
    _ = await state(node, "undone")

    assert bank.done == []
    assert await names(node) == ["tills.charge", "settled:tills.charge"]


async def test_a_step_that_ends_after_the_code_has_failed_is_undone(node: Node) -> None:
    bank.fails["charge"] = Broke()
    await send(node.client(Shop).both)
    await until(lambda: names(node))
    await asyncio.sleep(5)
    bank.opened.set()
    row = await state(node, "undone")

    assert row.why == str(Broke())
    assert bank.done == ["wait", "unwait"]


async def test_a_saga_that_sleeps_turns_back_when_it_is_aborted(node: Node) -> None:
    await send(node.client(Shop).rest)

    async def sleeps() -> bool:
        return "sleep" in await names(node)

    await until(sleeps)
    _ = await desk(node).abort((await desk(node).rows())[0].id, by="ada")
    _ = await state(node, "undone")
    assert bank.done == ["charge", "refund receipt 1"]


async def test_an_event_that_is_not_listed_leaves_the_saga_stuck(node: Node) -> None:
    with pytest.raises(SagaStuck, match=r"@saga\(events=\(Paid,\)\)"):
        _ = await node.client(Shop).hear()


async def test_what_is_over_is_forgotten_with_its_steps(node: Node) -> None:
    _ = await node.client(Shop).pay(5)
    row = await state(node, "done")
    await asyncio.sleep(7_200 + 120)
    assert await desk(node).rows() == []
    store = next(one.store for one in node.hosted if one.part.name == "shop")
    assert await store.load("saga_steps", f"{row.id}/tills.charge") is None


class Dearer(Shop, name="shop"):
    """Code that asks for the same with other arguments."""

    @rpc
    @saga
    async def twice(self, s: Saga, amount: int) -> str:
        receipt = await s.step(self.tills.charge, amount + 1).undo(self.tills.refund)
        return receipt + await s.step(self.tills.wait)


class Counting(Shop, name="shop"):
    """Code to whose types the arguments do not fit."""

    @rpc
    @saga
    async def twice(self, s: Saga, amount: list[int]) -> str:  # type: ignore[override]
        del s
        return str(amount)


class Sleepy(Shop, name="shop"):
    """Code that does something else under the same name."""

    @rpc
    @saga
    async def twice(self, s: Saga, amount: int) -> str:
        del amount
        branch = s.branch("x")
        return str(await branch.now())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (Dearer, "the journal has it with other arguments"),
        (Counting, "its arguments do not fit the code any more"),
        (Sleepy, "the journal goes on with tills.charge, but the code asks for x/now"),
    ],
)
async def test_code_that_was_changed_leaves_the_saga_stuck(
    make: Callable[..., Node], changed: type[Service], said: str
) -> None:
    await left_after_one_step(make)
    async with make(App("shop", Tills, changed)) as node:
        row = await state(node, "stuck")
    assert said in row.why
    assert bank.done == ["charge"]


class Forgiving(Shop, name="shop"):
    """Code that does not fail where it failed."""

    @rpc
    @saga(timeout="1m")
    async def pay(self, s: Saga, amount: int) -> str:
        try:
            return await s.step(self.tills.charge, amount).undo(self.tills.refund)
        except DeadlineExceeded:
            return "never mind"


async def test_code_that_fails_no_more_on_its_way_back_leaves_the_saga_stuck(make: Callable[..., Node]) -> None:
    bank.fails["charge"] = Unavailable("the line is dead")
    async with make() as node:
        await send(node.client(Shop).pay, 5)
        _ = await state(node, "undoing")
    async with make(App("shop", Tills, Forgiving)) as node:
        row = await state(node, "stuck")
    assert "comes to a good end now" in row.why


async def test_who_waits_when_the_node_stops_is_told_to_ask_elsewhere(make: Callable[..., Node]) -> None:
    node = make()
    await node.start()

    async def asking() -> None:
        with pytest.raises(Unavailable):
            _ = await policy(node.client(Shop), timeout="1h").twice(5)

    async with asyncio.TaskGroup() as group:
        _ = group.create_task(asking())
        await until(lambda: names(node))
        await node.stop()
