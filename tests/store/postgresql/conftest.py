"""A real server for the tests of this folder, and another for those that kill it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.store.serving import serving

from .server import Server, started, why_not


@pytest.fixture(scope="session")
def quick_server() -> Iterator[Server]:
    """One that does not wait for disks, for what is not about them."""
    yield from serving(why_not(), lambda: started("fsync=off", "full_page_writes=off", "max_connections=300"))


@pytest.fixture(scope="session")
def safe_server() -> Iterator[Server]:
    """One that keeps what it commits, to be killed; small, so that it is soon back."""
    yield from serving(why_not(), lambda: started("shared_buffers=16MB"))
