"""Examples are programs, not packages: each is imported from its file. And a store that is not at hand."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from hanse.store.base import Row, Store
from hanse.store.memory import MemoryStore

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    path = EXAMPLES / name
    title = f"example_{path.stem}"
    if title not in sys.modules:
        spec = importlib.util.spec_from_file_location(title, path)
        assert spec is not None
        assert spec.loader is not None
        # Annotations are looked up in the module of their class, so it has to be known before it is executed.
        sys.modules[title] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[title])
    return sys.modules[title]


class Far:
    """A store in memory whose reads take so long, one longer than the other, that others get in between."""

    def __init__(self, _url: str) -> None:
        self._near = MemoryStore()
        self._reads = 0

    async def load(self, collection: str, id: str, /) -> Row | None:
        row = await self._near.load(collection, id)
        self._reads += 1
        for _ in range(self._reads % 7):
            await asyncio.sleep(0)
        return row

    def __getattr__(self, name: str) -> object:
        return getattr(self._near, name)


@pytest.fixture
def far() -> Callable[[str], Store]:
    return lambda url: cast("Store", Far(url))


@pytest.fixture
def example() -> Callable[[str], ModuleType]:
    return load
