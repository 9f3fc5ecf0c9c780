"""Two processes that serve the same, over real sockets: what the kill of one costs who calls them."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hanse.kernel.faults import Fault
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import GATEWAY
from hanse.node.node import Node

from .fleet import Fleet

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
AFTER = 100
"""Calls that are made once the killed one is gone."""


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


@pytest.fixture
async def caller(shop: ModuleType, tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(node=NodeSettings(services=(GATEWAY,), transport=f"unix:{tmp_path / 'run'}", grace=1.0))
    async with Node(shop.app, settings) as node:
        yield node


@pytest.fixture
def instances(tmp_path: Path) -> Iterator[list[Fleet]]:
    fleets = [Fleet(tmp_path / "shop.py", tmp_path, "--transport", "unix:run") for _ in range(2)]
    yield fleets
    for one in fleets:
        one.end()


async def outcome(node: Node, shop: ModuleType, operation: str) -> int | str:
    try:
        answer: int = await getattr(node.client(shop.Orders), operation)()
    except Fault as fault:
        return fault.code
    return answer


@pytest.mark.parametrize(("operation", "failures_max"), [("place", 1), ("get", 0)])
async def test_a_kill_costs_at_most_one_call_and_none_that_may_be_repeated(
    caller: Node, shop: ModuleType, instances: list[Fleet], operation: str, failures_max: int
) -> None:
    for one in instances:
        await asyncio.to_thread(one.start, "orders")
    came: list[int | str] = []
    while len(set(came)) < len(instances):
        came.append(await outcome(caller, shop, operation))
    assert all(isinstance(one, int) for one in came)
    killing = asyncio.get_running_loop().run_in_executor(None, instances[0].kill, "orders")
    came.clear()
    while not killing.done():
        came.append(await outcome(caller, shop, operation))
    await killing
    came += [await outcome(caller, shop, operation) for _ in range(AFTER)]
    assert len([one for one in came if not isinstance(one, int)]) <= failures_max
    assert len(set(came[-AFTER // 2 :])) == 1
