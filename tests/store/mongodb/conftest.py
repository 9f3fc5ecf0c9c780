"""A server for the tests of this folder, and another for those that kill it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from tests.store.serving import serving

from .server import Server, started, why_not


@pytest.fixture(scope="session")
def quick_server() -> Iterator[Server]:
    """One that nobody kills."""
    yield from serving(why_not(), started)


@pytest.fixture(scope="session")
def safe_server() -> Iterator[Server]:
    """One that keeps what it commits, to be killed."""
    yield from serving(why_not(), lambda: started("--sync-on-commit"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let sockets go unheard that the driver was connecting when it was closed, and left open."""
    item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def spilled() -> Iterator[None]:
    """Has such sockets go here, and in no test of another folder; to look for them takes long."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        _ = gc.collect()
