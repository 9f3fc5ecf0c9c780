"""What tests of services share: a shop with orders, on stores of both kinds, near and far."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection

from .shop import Order, Shop


@pytest.fixture(params=["memory", "sqlite"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}"
    return Settings(node=NodeSettings(store=url, grace=1.0))


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    async with Node(App("shop", Shop), settings) as node:
        yield node


@pytest.fixture
def shop(node: Node) -> Shop:
    instance = node.hosted[0].instance
    assert isinstance(instance, Shop)
    return instance


@pytest.fixture(params=["local", "remote"])
def orders(request: pytest.FixtureRequest, node: Node, shop: Shop) -> Collection[Order]:
    """The same collection, as its owner has it and as everybody else does."""
    return shop.orders if request.param == "local" else node.collection(Order)
