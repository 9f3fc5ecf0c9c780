"""A real server for the tests of this folder; each test has an app of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import WANTED, Server, binary


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # It takes seconds to start, so all share it; who has it broken has it whole again in the end.
    if binary() is None:
        pytest.skip(WANTED)
    one = Server(tmp_path_factory.mktemp("rabbitmq"))
    one.start()
    try:
        one.wait_ready()
        yield one
    finally:
        one.close()
