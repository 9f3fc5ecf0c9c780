"""Discovery over real sockets of this machine: that it speaks, listens, and says what is wrong."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.transport.process import free_port

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.transport import seeds, udp
from hanse.transport.discovery import Announcement, Discovery
from hanse.transport.members.addresses import one_of, parts_of
from hanse.transport.members.datagram import Envelope, Refused, Tell, encode
from hanse.transport.members.gossip import Finder, Gossip
from hanse.transport.members.interface import find_interface
from hanse.transport.members.rhythm import Rhythm
from hanse.transport.members.url import DiscoveryUrl, parse_url

from .lan import record

WAIT_SECONDS = 60.0
QUICK = Rhythm(tick=0.05, ack=0.1, probe=0.2, suspicion_min=0.2, suspicion_max=0.4, hello=0.2)


class Node:
    """A discovery, and what it has told."""

    def __init__(self, name: str, gossip: Gossip, **announced: object) -> None:
        self.here = Announcement(name, f"tcp://{name}:1", **announced)  # type: ignore[arg-type]
        self.gossip = gossip
        self.there: dict[str, Announcement] = {}
        self._changed = asyncio.Event()

    async def open(self) -> None:
        discovery: Discovery = self.gossip
        await discovery.open(self.here, self._told, self._gone)

    def _told(self, other: Announcement) -> None:
        self.there[other.instance] = other
        self._changed.set()

    def _gone(self, instance: str) -> None:
        del self.there[instance]
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not reached():
                self._changed.clear()
                _ = await self._changed.wait()

    async def knows(self, *names: str) -> None:
        await self.until(lambda: self.there.keys() == set(names))


class Lines(logging.Handler):
    """What is logged, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._changed.set()

    def count(self, part: str) -> int:
        return sum(part in line for line in self.lines)

    async def until(self, part: str) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.count(part):
                self._changed.clear()
                _ = await self._changed.wait()


class Broken:
    """A finder with a bug."""

    group = ""
    ports, prepare, everybody = seeds.Seeds([]).ports, seeds.Seeds([]).prepare, seeds.Seeds([]).everybody

    async def find(self, _: object, /) -> list[str]:
        raise ZeroDivisionError


@pytest.fixture
def lines() -> Iterator[Lines]:
    found, logger = Lines(), logging.getLogger("hanse.discovery")
    logger.addHandler(found)
    yield found
    logger.removeHandler(found)


@asynccontextmanager
async def opened(*nodes: Node) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            await node.open()
            stack.push_async_callback(node.gossip.close)
        yield


def node(name: str, finder: Finder, *keys: bytes, **announced: object) -> Node:
    return Node(name, Gossip(finder, Host.system(), keys=keys, rhythm=QUICK), **announced)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.mark.parametrize("at", [udp.GROUP, "broadcast"])
async def test_nodes_of_one_machine_find_one_another_and_say_goodbye(at: str, port: int) -> None:
    a, b, c = (node(name, udp.Group(at, port), names=("orders",)) for name in "abc")
    async with opened(a, b):
        async with opened(c):
            await a.knows("b", "c")
            await b.knows("a", "c")
            await c.knows("a", "b")
            assert c.there["a"] == a.here
        await a.knows("b")
        await b.knows("a")


async def test_who_is_gone_without_a_word_is_missed(port: int) -> None:
    a, b = node("a", udp.Group(port=port)), node("b", udp.Group(port=port))
    async with opened(a, b):
        await a.knows("b")
        for end in b.gossip._ends:
            await end.close()
        await a.knows()
        assert "closed the socket" in b.gossip.trouble()


async def test_a_change_is_told(port: int) -> None:
    a, b = node("a", udp.Group(port=port)), node("b", udp.Group(port=port))
    async with opened(a, b):
        await b.knows("a")
        a.gossip.announce(Announcement("a", "tcp://a:1", weight=0, version=2))
        await b.until(lambda: b.there["a"].weight == 0)
        a.gossip.suspect("b")
        b.gossip.suspect("nobody")


async def test_seeds_share_out_their_places_on_one_machine(port: int) -> None:
    places = [("127.0.0.1", port), ("localhost", port + 1)]
    a, b, c = (node(name, seeds.Seeds(places)) for name in "abc")
    async with opened(a, b, c):
        await a.knows("b", "c")
        await c.knows("a", "b")
        assert a.gossip.address == f"127.0.0.1:{port}"
        assert b.gossip.address == f"127.0.0.1:{port + 1}"
        assert c.gossip.address not in {"", a.gossip.address, b.gossip.address}
    assert a.gossip.address == ""


async def test_seeds_speak_ipv6(port: int) -> None:
    a, b = (
        Node(name, Gossip(seeds.Seeds([("::1", port)]), Host.system(), interface="::1", rhythm=QUICK)) for name in "ab"
    )
    async with opened(a, b):
        await a.knows("b")
        assert a.gossip.address == f"[::1]:{port}"


async def test_another_group_is_passed_over_where_it_comes_from_the_address_of_a_member(port: int) -> None:
    a, stranger = node("a", udp.Group(port=port)), node("stranger", udp.Group(port=port + 1))
    async with opened(a, stranger):
        ours, theirs = a.gossip.native, stranger.gossip.native
        assert ours is not None
        assert theirs is not None
        said = theirs.envelope.pack(encode(record("b", address="127.0.0.1:9")), encode(Tell()))
        refused = ours.envelope.open(said)
        assert isinstance(refused, Refused)
        assert (refused.why, refused.ours) == ("it is of another app or group", False)


async def test_keys_keep_strangers_out_and_say_so_once(port: int, lines: Lines) -> None:
    a, b = node("a", udp.Group(port=port), b"ours"), node("b", udp.Group(port=port), b"ours")
    stranger = node("stranger", udp.Group(port=port), b"theirs")
    async with opened(stranger, a, b):
        await a.knows("b")
        await b.knows("a")
        await lines.until("another key")
        assert not stranger.there
        assert lines.count("another key") <= 3


async def test_two_of_one_name_are_told(port: int, lines: Lines) -> None:
    first, second = node("twin", udp.Group(port=port)), node("twin", udp.Group(port=port))
    async with opened(first, second):
        await lines.until("nobody calls this node: another process is called 'twin' too")
        assert first.gossip.trouble() or second.gossip.trouble()


async def test_what_others_send_to_the_group_is_passed_over(port: int, lines: Lines) -> None:
    a, b = node("a", udp.Group(port=port)), node("b", udp.Group(port=port))
    junk = [b"", b"NOTIFY * HTTP/1.1", b"HNS\x01", bytes(60_000)]
    # An address that is none, a name, a group, of the other family, and a port of nobody's.
    odd = ("nonsense", "localhost:1", "239.1.1.1:7420", "[::1]:7420", "127.0.0.1:9")
    junk += [
        Envelope("", group=f"{udp.GROUP}:{port}").pack(encode(record(f"at {at}", address=at)), encode(Tell()))
        for at in odd
    ]
    async with opened(a):
        host, _, number = a.gossip.address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for datagram in junk:
                sock.sendto(datagram, (host, int(number)))
        async with opened(b):
            await a.knows("b")
            await b.knows("a")
    assert not lines.count("passed over")


async def test_a_failure_of_its_own_is_told(lines: Lines) -> None:
    a = node("a", Broken())
    async with opened(a):
        await lines.until("discovery has stopped")
        assert "ZeroDivisionError" in a.gossip.trouble()


async def test_a_name_that_is_nobodys_is_said_once_and_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    finder = seeds.Seeds([("nobody.invalid", 7420), ("127.0.0.1", 7420)])
    for _ in range(2):
        assert await finder.find(find_interface("")) == ["127.0.0.1:7420"]
    assert sum("cannot look up nobody.invalid" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("finder", "interface", "problem"),
    [
        (seeds.Seeds([("127.0.0.1", 1)]), "nowhere0", r"no interface 'nowhere0'; expected .*lo \(127.0.0.1\)"),
        (seeds.Seeds([("127.0.0.1", 1)]), "203.0.113.0/24", "no interface"),
        (seeds.Seeds([("127.0.0.1", 1)]), "203.0.113.7", "is the address this machine's"),
        (udp.Group(), "::1", "IPv6 has no broadcast"),
        (udp.Group("broadcast"), "::1", "name another interface, or give seeds"),
    ],
)
async def test_a_network_that_cannot_be_used_is_said(finder: Finder, interface: str, problem: str) -> None:
    gossip = Gossip(finder, Host.system(), interface=interface)
    with pytest.raises(CouldNotStart, match=problem):
        await Node("a", gossip).open()
    await gossip.close()


async def test_a_port_that_is_taken_is_said(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        with pytest.raises(CouldNotStart, match=f"127.0.0.1:{port}"):
            await node("a", seeds.Seeds([("127.0.0.1", port)], own_port=port)).open()


async def test_a_group_of_another_program_is_said(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((udp.GROUP, port))
        with pytest.raises(CouldNotStart, match="cannot be used to find others"):
            await node("a", udp.Group(port=port)).open()


async def test_what_cannot_be_told_leaves_no_socket_behind(port: int) -> None:
    for finder in (udp.Group(port=port), seeds.Seeds([("127.0.0.1", port)])):
        with pytest.raises(Misconfigured, match="expected 1 to 128 bytes"):
            await node("a" * 200, finder).open()


async def test_what_is_closed_does_nothing() -> None:
    gossip = udp.discovery("udp://", Host.system())
    gossip.suspect("a")
    gossip.announce(Announcement("a", ""))
    gossip._receive(b"late", "127.0.0.1:1")
    assert (gossip.trouble(), gossip.native, gossip.address) == ("", None, "")
    await gossip.close()


@pytest.mark.parametrize(
    "url",
    [
        "udp://10.0.0.1",
        "udp://239.1.1.1,239.1.1.2",
        "udp://somewhere",
        "udp://?key=secret",
        "udp://?port=70000",
        "udp://?port=x",
        "udp:///path",
        "udp://239.1.1.1:x",
        "udp://[239",
    ],
)
def test_urls_of_groups_that_cannot_be_used(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"expected .*got"):
        _ = udp.discovery(url, Host.fixed(wall=0.0, seed=1))


@pytest.mark.parametrize(
    "url", ["static://", "dns://", "static://:7420", "dns://name:99999", "static://a:1/b", "dns://::1"]
)
def test_urls_of_seeds_that_cannot_be_used(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"expected .*got"):
        _ = seeds.discovery(url, Host.fixed(wall=0.0, seed=1))


def test_secrets_in_urls_are_not_shown() -> None:
    with pytest.raises(Misconfigured) as caught:
        _ = udp.discovery("udp://?key=secret", Host.fixed(wall=0.0, seed=1))
    assert "secret" not in str(caught.value)


def test_urls_say_what_to_speak_on() -> None:
    assert parse_url("static://a,[::1]:5", "", 7).places == (("a", 7), ("::1", 5))
    assert parse_url("udp://broadcast?interface=eth0&port=9", "", 7) == DiscoveryUrl((("broadcast", 7),), "eth0", 9)


def test_interfaces_are_found_by_name_address_and_network() -> None:
    by = {wanted: find_interface(wanted).address for wanted in ("", "lo", "127.0.0.1", "127.0.0.0/8")}
    assert set(by.values()) == {"127.0.0.1"}
    assert find_interface("127.5.5.5").broadcast == "127.255.255.255"


@pytest.mark.parametrize("address", ["", "a:1", "10.0.0.1", "10.0.0.1:0", "0.0.0.0:1", "255.255.255.255:1", "::1:7"])
def test_addresses_that_are_of_no_one(address: str) -> None:
    assert one_of(address) is None


def test_addresses_have_ports() -> None:
    assert parts_of("10.0.0.1:99999") is None
    assert parts_of("10.0.0.1:²") is None
    assert parts_of("[::1]", 5) == ("::1", 5)
