"""A real server for the tests of this folder, and others for those that kill it; each test has a prefix of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from .server import Server, running, why_not

_names = itertools.count()


@pytest.fixture(scope="session")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that keeps nothing, for what is not about that."""
    if why := why_not():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("redis-quick")) as one:
        yield one


@pytest.fixture
def url(quick_server: Server) -> str:
    """A prefix of its own on it."""
    return quick_server.store(f"test{next(_names)}", synchronous="off")


@pytest.fixture(scope="module")
def safe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that flushes each commit, to be killed."""
    if why := why_not():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("redis-safe"), "--appendonly", "yes", "--appendfsync", "always") as one:
        yield one


@pytest.fixture
def safe_url(safe_server: Server) -> str:
    """A prefix of its own on it."""
    return safe_server.store(f"test{next(_names)}")
