"""The plugin for pytest: virtual time for tests marked `virtual_time`, and simulations that fail with their report.

It is found by its entry point. Other tests run as they would without it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator, Mapping

import pytest

MARK = "virtual_time"
"""The mark of tests that run on the loop of simulated worlds."""

LINE = f"{MARK}: run on the loop of simulated worlds, where an hour of waiting takes no time"

ASYNCIO = "asyncio"
"""What pytest-asyncio calls itself among plugins."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", LINE)


class _Factories:
    """Has pytest-asyncio run a test on the loop of simulated worlds."""

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        from hanse.sim.loop import Loop

        return {MARK: Loop}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Let a marked test have its loop, and no other test one that pytest-asyncio would not give it."""
    manager, factories = metafunc.config.pluginmanager, _Factories()
    if metafunc.definition.get_closest_marker(MARK) is None or not manager.hasplugin(ASYNCIO):
        return (yield)
    _ = manager.register(factories)
    try:
        return (yield)
    finally:
        _ = manager.unregister(factories)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Keep what else could differ from run to run out of a marked test."""
    if pyfuncitem.get_closest_marker(MARK) is None:
        return (yield)
    from hanse.sim.steady import steady

    with steady():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the report of a simulation that does not hold, and nothing of how it came to be called."""
    del item
    report = yield
    told = sys.modules.get("hanse.sim.failure")
    if call.excinfo is not None and told is not None and call.excinfo.errisinstance(told.DoesNotHold):
        report.longrepr = str(call.excinfo.value)
    return report
