"""What people do about sagas, by the store that keeps them: resumed, aborted, seen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hanse.cli.sagas import time_line
from hanse.contract.declare import rpc
from hanse.delivery.saga_machine import SagaAborted, SagaStuck
from hanse.delivery.saga_rows import SagaRow
from hanse.kernel.faults import Conflict, Misconfigured, NotFound, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy, send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.saga_desk import SagaDesk, desk_of
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore


class Trouble:
    """What is in the way of the one step."""

    now: Exception | None = None


class Till(Service):
    @rpc
    @saga
    async def pay(self, s: Saga, amount: int) -> int:
        _ = await s.step(self._open).undo(self._shut)
        return await s.step(self._take, amount)

    async def _open(self) -> str:
        return "open"

    async def _shut(self, _: str) -> None: ...

    async def _take(self, amount: int) -> int:
        if Trouble.now is not None:
            raise Trouble.now
        return amount


class Plain(Service):
    @rpc
    async def nothing(self) -> None: ...


APP = App("till", Till)


def inline(url: str) -> Store:
    return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())


@pytest.fixture
async def node(tmp_path: Path, host: Host) -> AsyncIterator[Node]:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}/till.db", grace=2.0))
    async with asyncio.timeout(86_400), Node(APP, settings, host=host, stores=inline) as made:
        yield made


@pytest.fixture
def desk(node: Node, host: Host) -> SagaDesk:
    return SagaDesk({"till": node.hosted[0].store}, host)


async def until(true: Callable[[], Awaitable[object]]) -> None:
    for _ in range(1_000_000):
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def stuck(node: Node, desk: SagaDesk) -> SagaRow:
    Trouble.now = KeyError("oops")
    with pytest.raises(SagaStuck):
        _ = await policy(node.client(Till), timeout="1h").pay(5)
    Trouble.now = None
    return (await desk.rows())[0]


def ended(desk: SagaDesk, id: str, state: str) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return (await desk.get(id)).state == state

    return has


@pytest.mark.virtual_time
async def test_a_stuck_saga_goes_on_when_it_is_resumed(node: Node, desk: SagaDesk) -> None:
    row = await stuck(node, desk)
    assert (row.state, row.step, row.why) == ("stuck", "take", "KeyError: 'oops'")
    assert (await desk.resume(row.id, by="ada")).state == "running"
    await until(ended(desk, row.id, "done"))
    steps = await desk.steps(row.id)
    assert [step.by or step.name for step in steps] == ["open", "ada", "take"]
    assert time_line(row, steps)[1].endswith(" s  resume  by ada")
    with pytest.raises(Conflict, match="only one that is stuck"):
        _ = await desk.resume(row.id, by="ada")


@pytest.mark.virtual_time
async def test_a_stuck_saga_turns_back_when_it_is_aborted(node: Node, desk: SagaDesk) -> None:
    row = await stuck(node, desk)
    assert (await desk.abort(row.id, by="ada")).state == "running"
    await until(ended(desk, row.id, "undone"))
    steps = await desk.steps(row.id)
    assert [step.by or step.name for step in steps] == ["open", "ada", "take", "undo:open"]
    assert steps[1].kind == "abort"
    with pytest.raises(Conflict, match="is undone already"):
        _ = await desk.abort(row.id, by="ada")


@pytest.mark.virtual_time
async def test_a_saga_that_tries_again_turns_back_when_it_is_aborted(node: Node, desk: SagaDesk) -> None:
    Trouble.now = Unavailable("the till is away")
    await send(node.client(Till).pay, 5)

    async def tries() -> bool:
        return any(row.trouble for row in await desk.rows(states=("running",), name="till.pay"))

    await until(tries)
    id = (await desk.rows())[0].id
    _ = await desk.abort(id, by="ada")
    await until(ended(desk, id, "undone"))
    Trouble.now = None
    assert await policy(node.client(Till), timeout="1h").pay(6) == 6
    assert SagaAborted().detail in (await desk.get(id)).why


@pytest.mark.virtual_time
async def test_the_figures_tell_how_many_there_are(node: Node, desk: SagaDesk) -> None:
    _ = await stuck(node, desk)
    assert (await node.figures()).stores[0].sagas == {"running": 0, "undoing": 0, "stuck": 1}


@pytest.mark.virtual_time
async def test_what_is_not_there_is_told(desk: SagaDesk) -> None:
    with pytest.raises(NotFound):
        _ = await desk.get("nothing")


@pytest.mark.parametrize(("app", "said"), [(App("plain", Plain), "@saga"), (APP, "in the memory of the process")])
async def test_an_app_without_sagas_that_last_has_no_desk(app: App, said: str, host: Host) -> None:
    with pytest.raises(Misconfigured, match=said):
        async with desk_of(app, Settings(node=NodeSettings(store="memory:")), host):
            pass
