"""Async tests marked `simulated` run on the loop of simulated worlds."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from hanse.sim.loop import Loop


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "simulated: run on the loop of simulated worlds")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("simulated") is not None:
        return {"simulated": Loop}
    return {"asyncio": asyncio.new_event_loop}
