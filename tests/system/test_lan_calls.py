"""Calls between hosts of a real network, over TCP and ZeroMQ: through kills, cables that are pulled, and losses.

Each host is a network namespace of its own, and nodes find each other by UDP. What ends a call while its way is broken
is a fault within its time; once the way is back, calls go on without a restart of anything.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pytest

from .fleet import keys_in
from .network import NEEDED, Network

pytestmark = NEEDED

SHOP = """
import os
from hanse import App, Service, rpc

class Orders(Service):
    @rpc
    async def place(self) -> int:
        return os.getpid()

app = App("shop", Orders)
"""

SECONDS = 1.0
"""For each call to be answered."""

CALLER = """
import asyncio, json, sys
import msgspec
from hanse import Node, Settings
from hanse.kernel.faults import Fault
from hanse.kernel.settings import NodeSettings
from shop import Orders, app

LATE_SECONDS = 5.0
EVERY_SECONDS = 0.02

async def outcome(client):
    try:
        async with asyncio.timeout(LATE_SECONDS):
            return {"by": await client.place()}
    except Fault as fault:
        return {"fault": fault.code}
    except TimeoutError:
        return {"fault": "late"}

async def main():
    here = msgspec.convert(json.loads(sys.argv[1]), NodeSettings)
    async with Node(app, Settings(node=here)) as node:
        client = node.client(Orders)
        while True:
            print(json.dumps(await outcome(client)), flush=True)
            await asyncio.sleep(EVERY_SECONDS)

asyncio.run(main())
"""

RIGHT = {"unavailable", "deadline_exceeded"}
"""What a call may come to while nobody can be reached."""

LONG = 150
"""Calls that fail in a row by the time at which the host is given up for dead."""


class Caller:
    """A process that calls, one call after the other, and tells what came of each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def until(self, reached: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """What came of the calls from now on, until it is enough."""
        came: list[dict[str, Any]] = []
        while not came or not reached(came):
            came.append(json.loads(cast("IO[str]", self._process.stdout).readline()))
        return came

    def answered(self, times: int, *, by: int | None = None) -> list[dict[str, Any]]:
        """The same, until so many in a row were answered, by one process if it is named."""
        return self.until(lambda came: len(came) >= times and all(is_answer(one, by) for one in came[-times:]))

    def failed(self, times: int) -> list[dict[str, Any]]:
        """The same, until so many in a row have failed."""
        return self.until(lambda came: len(came) >= times and all("fault" in one for one in came[-times:]))


def is_answer(one: dict[str, Any], by: int | None) -> bool:
    return "by" in one and by in (None, one["by"])


def faults(came: list[dict[str, Any]]) -> set[str]:
    return {one["fault"] for one in came if "fault" in one}


class Lan:
    """Hosts that can run the shop, and call it.

    Args of the constructor:
        network: The hosts.
        folder: Where the shop is.
        settings: Of `node`, for all.
    """

    def __init__(self, network: Network, folder: Path, settings: dict[str, str]) -> None:
        self.network = network
        self._folder = folder
        self._settings = settings

    def shop(self, host: str) -> subprocess.Popen[str]:
        """A process that serves the shop."""
        pairs = [f"node.{name}={value}" for name, value in {**self._settings, "services": "orders"}.items()]
        told = [part for pair in pairs for part in ("--set", pair)]
        process = self.network.start(host, sys.executable, "-m", "hanse", "run", "shop.py", *told, folder=self._folder)
        assert cast("IO[str]", process.stdout).readline().startswith("Hanse shop: ")
        return process

    def caller(self, host: str) -> Caller:
        """A process that calls it."""
        here = {**self._settings, "services": ["gateway"], "timeout": SECONDS}
        process = self.network.start(host, sys.executable, "-c", CALLER, json.dumps(here), folder=self._folder)
        return Caller(process)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture(params=["tcp", "zmq"])
def lan(request: pytest.FixtureRequest, network: Network, tmp_path: Path) -> Lan:
    _ = (tmp_path / "shop.py").write_text(SHOP)
    settings = {"transport": f"{request.param}://", "interface": "eth0"}
    if request.param == "zmq":
        settings |= keys_in(tmp_path)
    return Lan(network, tmp_path, settings)


class Broken(NamedTuple):
    """A way to break the way between the first two hosts, and to mend it."""

    begin: Callable[[Network], None]
    end: Callable[[Network], None]


WAYS = {
    "cut": Broken(lambda network: network.cut("h2"), lambda network: network.mend("h2")),
    "unplugged": Broken(lambda network: network.unplug("h2"), lambda network: network.plug("h2")),
    "requests lost": Broken(lambda network: network.part("h2", "h1"), lambda network: network.mend("h2")),
    "answers lost": Broken(lambda network: network.part("h2", "h1", hook="output"), lambda network: network.mend("h2")),
}


@pytest.mark.parametrize("way", WAYS)
def test_calls_end_in_time_while_the_way_is_broken_and_go_on_when_it_is_back(lan: Lan, way: str) -> None:
    shop, caller = lan.shop("h2"), lan.caller("h1")
    _ = caller.answered(5)
    WAYS[way].begin(lan.network)
    broken = caller.failed(LONG)
    WAYS[way].end(lan.network)
    after = caller.answered(10)
    assert faults(broken + after) <= RIGHT
    assert shop.poll() is None
    assert len({one["by"] for one in after[-10:]}) == 1


def test_of_two_hosts_the_one_that_can_be_reached_answers(lan: Lan) -> None:
    _, _, caller = lan.shop("h2"), lan.shop("h3"), lan.caller("h1")
    _ = caller.until(lambda came: len({one["by"] for one in came if "by" in one}) == 2)
    lan.network.unplug("h2")
    came = caller.answered(50)
    assert faults(came) <= RIGHT
    assert len({one["by"] for one in came[-50:]}) == 1
    lan.network.plug("h2")
    back = caller.until(lambda came: len({one["by"] for one in came if "by" in one}) == 2)
    # A call may have waited for a connection since before the cable was back.
    assert faults(back) <= RIGHT


def test_a_host_that_is_killed_costs_one_call_at_most(lan: Lan) -> None:
    killed, _, caller = lan.shop("h2"), lan.shop("h3"), lan.caller("h1")
    _ = caller.until(lambda came: len({one["by"] for one in came if "by" in one}) == 2)
    killed.send_signal(signal.SIGKILL)
    came = caller.answered(50)
    assert len([one for one in came if "fault" in one]) <= 1
    again = lan.shop("h2")
    assert again.poll() is None
    assert faults(caller.until(lambda came: len({one["by"] for one in came}) == 2)) == set()


def test_calls_get_through_a_network_that_loses_a_third(lan: Lan) -> None:
    _, caller = lan.shop("h2"), lan.caller("h1")
    _ = caller.answered(5)
    lan.network.lose("h2", 30)
    lossy = caller.until(lambda came: len([one for one in came if "by" in one]) >= 20)
    lan.network.mend("h2")
    after = caller.answered(20)
    assert faults(lossy + after) <= RIGHT
