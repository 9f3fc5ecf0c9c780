"""A stop that has to end before all is finished says what was left, and that nothing of it is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host
from hanse.node.app import App
from hanse.node.leftover import COUNT_MAX, LeftOver, left_over, told_at_end
from hanse.node.node import Node
from hanse.service.reaction import on
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time


class Placed(Event):
    number: int


class Broken(Fault):
    """The printer is broken."""


class Shop(Service, events=(Placed,)):
    @rpc
    async def place(self, count: int) -> None:
        await self.emit(*(Placed(number=number) for number in range(count)))


class Mailer(Service):
    @on(Placed, attempts=50)
    async def receipt(self, event: Placed) -> None:
        raise Broken


class Quick(Service):
    @on(Placed)
    async def seen(self, event: Placed) -> None:
        """Handles it."""


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(App("shop", Shop, Mailer, Quick), host=host) as node:
        yield node


async def test_a_stop_tells_which_relay_had_how_much_to_hand_on(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    await node.client(Shop).place(3)
    await asyncio.sleep(0.5)
    await node.stop(grace=1.0)

    assert "the relay to mailer.receipt had 3 entries to hand on at the end of the grace" in caplog.text
    assert "nothing is lost, they stay in the log and go out after the next start" in caplog.text
    assert "quick.seen" not in caplog.text
    assert "0 operations" not in caplog.text


class OnAwayStore:
    """A relay whose store answers no more, or takes its time."""

    def __init__(self, takes: float) -> None:
        self.name: str = "mailer.receipt"
        self.behind: bool = True
        self.trouble: str = ""
        self._takes = takes

    async def left(self, limit: int) -> int:
        await asyncio.sleep(self._takes)
        raise Unavailable(f"the disk is gone, and with it up to {limit} entries")


@pytest.mark.parametrize("takes", [0.0, 1_000.0])
async def test_a_store_that_is_away_holds_no_stop_up(takes: float) -> None:
    assert await left_over([OnAwayStore(takes)]) == [LeftOver("mailer.receipt", None)]
    assert asyncio.get_running_loop().time() < 2.0


@pytest.mark.parametrize(
    ("running", "left", "said"),
    [
        (2, [], "2 operations were still running at the end of the grace"),
        (
            0,
            [LeftOver("a.b", None, "it cannot deliver: away")],
            "had entries to hand on at the end of the grace (it ca",
        ),
        (0, [LeftOver("a.b", COUNT_MAX)], "had 1000 entries or more to hand on"),
        (0, [], "something was still under way at the end of the grace"),
    ],
)
def test_what_was_left_is_said_in_words(running: int, left: list[LeftOver], said: str) -> None:
    [line] = told_at_end(running, left)
    assert said in line
