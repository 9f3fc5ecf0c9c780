"""Virtual time for tests marked `virtual_time`: an hour of waiting costs nothing, on any machine."""

import asyncio
import random  # noqa: TID251 - the tests' host draws from a seed
import selectors
from collections.abc import Callable, Mapping

import pytest

from hanse.kernel.host import Host

WALL = 1_700_000_000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to its next timer when nothing is left to do now."""

    now = 0.0

    def __init__(self) -> None:
        super().__init__(Jumping(self))

    def time(self) -> float:
        return self.now


class Jumping(selectors.DefaultSelector):
    """Never blocks; where the loop would wait, its time moves on."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits for another, and no timer is set: this would wait for ever")
            self._loop.now += max(timeout, 0.0)
        return ready


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: run on a loop that jumps to its next timer")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time") is not None:
        return {"virtual": VirtualLoop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def host() -> Host:
    """A machine whose clocks follow the loop's, and whose draws follow a seed."""
    chance = random.Random(7)

    def clock() -> float:
        return asyncio.get_running_loop().time()

    return Host("test", now=lambda: WALL + clock(), monotonic=clock, chance=chance, entropy=chance.randbytes)
