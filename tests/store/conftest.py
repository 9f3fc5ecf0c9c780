"""Each test has a store of its own, on a server that it shares with others."""

from __future__ import annotations

import itertools

import pytest

from .server import StoreServer

_names = itertools.count()


@pytest.fixture
def url(quick_server: StoreServer) -> str:
    """A store on a server that nobody kills."""
    return quick_server.store(f"test{next(_names)}")


@pytest.fixture
def safe_url(safe_server: StoreServer) -> str:
    """A store on a server that keeps what it acknowledges, to be killed."""
    return safe_server.store(f"test{next(_names)}")
