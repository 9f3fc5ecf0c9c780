"""What unit tests share: a machine whose clocks follow the loop, so that they are virtual where the loop's are."""

import asyncio
import random  # noqa: TID251 - the tests' host draws from a seed

import pytest

from hanse.kernel.host import Host

WALL = 1_700_000_000.0


@pytest.fixture
def host() -> Host:
    """A machine whose clocks follow the loop's, and whose draws follow a seed."""
    chance = random.Random(7)

    def clock() -> float:
        return asyncio.get_running_loop().time()

    return Host("test", now=lambda: WALL + clock(), monotonic=clock, chance=chance, entropy=chance.randbytes)
