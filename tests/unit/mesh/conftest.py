"""What tests of calls share: a node with two services that call one another."""

from collections.abc import AsyncIterator

import pytest

from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node

from .apart import Shops, shops_on
from .back import SCRIPTS, STREAMS, Back, FrontDoor


@pytest.fixture
def settings() -> Settings:
    return Settings(node=NodeSettings(calls_max=50, grace=1.0))


@pytest.fixture
async def node(settings: Settings, host: Host) -> AsyncIterator[Node]:
    async with Node(App("shop", Back, FrontDoor), settings, host=host) as node:
        yield node
    SCRIPTS.clear()
    STREAMS.clear()


@pytest.fixture
def back(node: Node) -> Back:
    return node.client(Back)


@pytest.fixture
async def shops(host: Host) -> AsyncIterator[Shops]:
    async with shops_on(host) as shops:
        yield shops
