"""Hosts of a real network find, miss and get back one another: each in a network namespace of its own.

It is told how long each took (`-rP` shows it); the limits themselves are held in virtual time.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, cast

import pytest

from .network import HOSTS, NEEDED, Network

pytestmark = NEEDED
PROGRAM = """
import asyncio, json, signal, sys
from hanse.kernel.host import Host
from hanse.transport import seeds, udp
from hanse.transport.discovery import Announcement

def say(**line):
    print(json.dumps(line), flush=True)

async def main(name, url):
    gossip = (udp if url.startswith("udp") else seeds).discovery(url, Host.system())
    here = Announcement(name, f"tcp://{name}:7421", names=("orders",), app="shop")
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await gossip.open(here, lambda other: say(came=other.instance, version=other.version), lambda name: say(went=name))
    say(ready=gossip.address)
    await over.wait()
    await gossip.close()

asyncio.run(main(*sys.argv[1:]))
"""


class Node:
    """A process that takes part, and whom it knows."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process
        self.there: dict[str, int] = {}
        self.address = cast("str", json.loads(self._line())["ready"])

    def _line(self) -> str:
        return cast("IO[str]", self.process.stdout).readline()

    def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            line = cast("dict[str, object]", json.loads(self._line()))
            if "came" in line:
                self.there[str(line["came"])] = cast("int", line["version"])
            else:
                del self.there[str(line["went"])]

    def knows(self, *others: Node) -> None:
        self.until(lambda: self.there.keys() == {other.name for other in others})

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


def start(network: Network, host: str, url: str, name: str = "") -> Node:
    return Node(name or host, network.start(host, sys.executable, "-c", PROGRAM, name or host, url))


def all_know(*nodes: Node) -> None:
    for node in nodes:
        node.knows(*(other for other in nodes if other is not node))


def told(what: str, began: float) -> None:
    print(f"{what}: {time.monotonic() - began:.2f} s")  # noqa: T201, TID251 - told, not asserted


def now() -> float:
    return time.monotonic()  # noqa: TID251 - told, not asserted


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture(
    params=["udp://?interface=eth0", "udp://broadcast?interface=10.77.0.0/24", "static://10.77.0.1?interface=eth0"]
)
def nodes(request: pytest.FixtureRequest, network: Network) -> list[Node]:
    began = now()
    made = [start(network, host, cast("str", request.param)) for host in HOSTS]
    all_know(*made)
    told("started and found one another", began)
    return made


def test_a_host_that_is_killed_is_missed_and_one_that_leaves_says_so(nodes: list[Node]) -> None:
    a, b, c = nodes
    assert [node.address.rpartition(":")[0] for node in nodes] == ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
    began = now()
    c.signal(signal.SIGKILL)
    all_know(a, b)
    told("missed a kill", began)
    began = now()
    b.signal(signal.SIGTERM)
    a.knows()
    told("heard a goodbye", began)
    assert b.process.wait(20) == 0


def test_both_sides_of_a_partition_keep_their_own_and_merge(nodes: list[Node], network: Network) -> None:
    a, b, c = nodes
    began = now()
    network.cut("h1")
    a.knows()
    all_know(b, c)
    told("parted", began)
    began = now()
    network.mend("h1")
    all_know(*nodes)
    told("merged", began)


def test_a_process_that_was_stopped_comes_back(nodes: list[Node]) -> None:
    a, b, c = nodes
    began = now()
    b.signal(signal.SIGSTOP)
    all_know(a, c)
    told("missed one that stands still", began)
    began = now()
    b.signal(signal.SIGCONT)
    all_know(a, b, c)
    told("came back", began)
    assert a.there["h2"] > 1


def test_a_network_that_loses_a_third_is_no_reason_to_miss_a_newcomer_or_a_kill(network: Network) -> None:
    for host in HOSTS:
        network.lose(host, 30)
    a, b, c = (start(network, host, "udp://?interface=eth0") for host in HOSTS)
    # One may be missed for a moment, and comes back.
    all_know(a, b, c)
    c.signal(signal.SIGKILL)
    all_know(a, b)


def test_who_names_no_interface_is_heard_on_this_machine_only(network: Network) -> None:
    outside, other = (start(network, host, "udp://?interface=eth0") for host in ("h1", "h3"))
    inside, beside = (start(network, "h2", "udp://", name) for name in ("inside", "beside"))
    all_know(outside, other)
    all_know(inside, beside)
    assert inside.address.startswith("127.0.0.1:")
    for node in (inside, other):
        node.signal(signal.SIGTERM)
        assert node.process.communicate(timeout=20)[0] == ""
