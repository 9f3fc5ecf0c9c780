"""A real server for the tests of this folder, and another for those that kill it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import Server, running, why_not


@pytest.fixture(scope="session")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that keeps nothing, for what is not about that."""
    if why := why_not():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("redis-quick"), synchronous="off") as one:
        yield one


@pytest.fixture(scope="session")
def safe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that flushes each commit, to be killed."""
    if why := why_not():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("redis-safe"), "--appendonly", "yes", "--appendfsync", "always") as one:
        yield one
