import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from .nodes import Place, short_folder


@pytest.fixture(params=["unix", "tcp"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with short_folder() as folder:
        yield Place(request.param, folder)


@pytest.fixture
def unix() -> Iterator[Place]:
    with short_folder() as folder:
        yield Place("unix", folder)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
