"""A real server for the tests of this folder, and another for those that kill it; each test has a schema of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from .server import Server, started, why_not

_names = itertools.count()


@pytest.fixture(scope="session")
def quick_server() -> Iterator[Server]:
    """One that does not wait for disks, for what is not about them."""
    if why := why_not():
        pytest.skip(why)
    one = started("fsync=off", "full_page_writes=off", "max_connections=300")
    try:
        yield one
    finally:
        one.remove()


@pytest.fixture
def url(quick_server: Server) -> str:
    """A schema of its own on it."""
    return quick_server.url(f"test{next(_names)}", synchronous="off")


@pytest.fixture(scope="module")
def safe_server() -> Iterator[Server]:
    """One that keeps what it commits, to be killed."""
    if why := why_not():
        pytest.skip(why)
    one = started()
    try:
        yield one
    finally:
        one.remove()


@pytest.fixture
def safe_url(safe_server: Server) -> str:
    """A schema of its own on it."""
    return safe_server.url(f"test{next(_names)}")
