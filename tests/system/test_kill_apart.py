"""Two processes that serve the same: what the kill of one costs who calls them, over each transport."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from hanse.kernel.faults import Fault
from hanse.kernel.settings import Settings
from hanse.node.app import GATEWAY
from hanse.node.node import Node

from .fleet import MEDIUMS, RABBIT, Fleet, medium, node_settings

SHOP = """
import os

from hanse import App, Service, rpc


class Orders(Service):
    @rpc
    async def place(self) -> int:
        return os.getpid()

    @rpc(idempotent=True)
    async def get(self) -> int:
        return os.getpid()


app = App("shop", Orders)
"""
EVERY_SECONDS = 0.01
"""How often a call begins, whether those before are over or not."""
AFTER = 100
"""Calls that begin once the killed one is gone."""
CROWD, CROWDS_MAX = 200, 100
"""Calls at once, and how often, after which both have to have answered one."""


@pytest.fixture
def shop(tmp_path: Path) -> ModuleType:
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("shop_apart", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shop_apart"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=[*MEDIUMS, RABBIT])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    with medium(request.param, tmp_path) as wanted:
        yield wanted


@pytest.fixture
def instances(tmp_path: Path, options: tuple[str, ...]) -> Iterator[list[Fleet]]:
    fleets = [Fleet(tmp_path / "shop.py", tmp_path, *options) for _ in range(2)]
    yield fleets
    for one in fleets:
        one.end()


@pytest.fixture
async def caller(shop: ModuleType, tmp_path: Path, options: tuple[str, ...]) -> AsyncIterator[Node]:
    here = msgspec.structs.replace(node_settings(tmp_path, *options), services=(GATEWAY,), grace=1.0)
    async with Node(shop.app, Settings(node=here)) as node:
        yield node


Outcome = int | str
"""Who answered, or the code of the fault."""


async def outcome(call: Callable[[], Awaitable[int]]) -> Outcome:
    try:
        return await call()
    except Fault as fault:
        return fault.code


async def both(call: Callable[[], Awaitable[int]]) -> set[Outcome]:
    """Call until two have answered: many at once, as one that is slow at first is passed over by who can wait."""
    answered: set[Outcome] = set()
    for _ in range(CROWDS_MAX):
        answered.update(await asyncio.gather(*(outcome(call) for _ in range(CROWD))))
        if len([one for one in answered if isinstance(one, int)]) > 1:
            break
    return answered


async def through(ends: asyncio.Future[None], call: Callable[[], Awaitable[int]]) -> tuple[list[Outcome], int]:
    """What comes of calls that begin every so often, while something ends and for a while after.

    And how many were under way at once meanwhile: one, unless the machine is so busy that an answer takes longer.
    """
    begun: list[asyncio.Task[Outcome]] = []
    never = asyncio.get_running_loop().create_future()
    after, under_way = 0, 1
    async with asyncio.TaskGroup() as group:
        while after < AFTER:
            after += ends.done()
            begun.append(group.create_task(outcome(call)))
            if not after:
                under_way = max(under_way, sum(not one.done() for one in begun))
            _ = await asyncio.wait([never], timeout=EVERY_SECONDS)
    return [one.result() for one in begun], under_way


@pytest.mark.parametrize(("operation", "may_fail"), [("place", True), ("get", False)])
async def test_a_kill_costs_at_most_one_call_and_none_that_may_be_repeated(
    shop: ModuleType, instances: list[Fleet], caller: Node, operation: str, *, may_fail: bool
) -> None:
    for one in instances:
        await asyncio.to_thread(one.start, "orders")
    call = getattr(caller.client(shop.Orders), operation)
    assert len(await both(call)) == len(instances)
    killing = asyncio.get_running_loop().run_in_executor(None, instances[0].kill, "orders")
    came, under_way = await through(killing, call)
    assert len([one for one in came if not isinstance(one, int)]) <= under_way * may_fail
    assert len(set(came[-AFTER // 2 :])) == 1
