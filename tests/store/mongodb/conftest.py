"""A server for the tests of this folder, and another for those that kill it; each test has a prefix of its own."""

from __future__ import annotations

import gc
import itertools
import warnings
from collections.abc import Iterator

import pytest

from .server import Server, started, why_not

_names = itertools.count()


@pytest.fixture(scope="session")
def mongodb() -> Iterator[Server]:
    """One that nobody kills."""
    if why := why_not():
        pytest.skip(why)
    one = started()
    try:
        yield one
    finally:
        one.remove()


@pytest.fixture
def url(mongodb: Server) -> str:
    """Collections of its own on it."""
    return mongodb.url(f"test{next(_names)}")


@pytest.fixture(scope="module")
def frail() -> Iterator[Server]:
    """One that keeps what it commits, to be killed."""
    if why := why_not():
        pytest.skip(why)
    one = started("--sync-on-commit")
    try:
        yield one
    finally:
        one.remove()


@pytest.fixture
def frail_url(frail: Server) -> str:
    """Collections of its own on it."""
    return frail.url(f"test{next(_names)}")


@pytest.fixture
def spilled() -> Iterator[None]:
    """Has sockets go here, and in no other test, that the driver was connecting when it was closed, and left open."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        _ = gc.collect()
