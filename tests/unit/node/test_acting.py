"""Whoever carries out actions on dead letters asks its store seldom where there are none."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from hanse.delivery.action import ACTIONS
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.node.acting import Actor
from hanse.store.base import Found
from hanse.store.query import Query

pytestmark = pytest.mark.virtual_time


class Rows:
    """A store without actions, that notes when it was asked for them."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.asked: list[float] = []
        self.wake: Callable[[], None] = lambda: None

    def listen(self, wake: Callable[[], None], *, names: Sequence[str]) -> Callable[[], None]:
        assert names == [ACTIONS]
        self.wake = wake
        return lambda: None

    async def find(self, name: str, query: Query) -> Found:
        self.asked.append(asyncio.get_running_loop().time())
        if self.away:
            raise Unavailable("it is away")
        return Found((), None)


@asynccontextmanager
async def acting(rows: Rows, host: Host) -> AsyncGenerator[None]:
    hosted: Any = SimpleNamespace(store=rows, part=SimpleNamespace(name="shop"))
    actor = Actor(hosted, {}, host, None)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(actor.run())
        yield
        await actor.stop(grace=1.0)


async def test_a_store_that_has_none_is_asked_once_a_minute(host: Host) -> None:
    rows = Rows()
    async with acting(rows, host):
        await asyncio.sleep(601)
    assert len(rows.asked) == 11


async def test_what_the_store_tells_of_is_looked_at_at_once(host: Host) -> None:
    rows = Rows()
    async with acting(rows, host):
        await asyncio.sleep(7)
        rows.wake()
        await asyncio.sleep(1)
        assert [at - rows.asked[0] for at in rows.asked] == pytest.approx([0.0, 7.0])


async def test_a_store_that_is_away_is_asked_again_soon(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows(away=True)
    async with acting(rows, host):
        await asyncio.sleep(31)
    assert len(rows.asked) == 7
    assert "it is tried again" in caplog.text
