"""Transports and discoveries by their URLs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.mesh.routed import Routed
from hanse.node.transports import Place, open_discovery, open_transport, place_of
from hanse.testing.local import LocalNetwork
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport
from hanse.transport.zmq.keys import new_keys


def place(**settings: str) -> Place:
    return place_of("shop", NodeSettings(**settings), Host.fixed(wall=0.0, seed=1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("carrier://x", "'carrier:' names none of the transports that are installed: amqp:, amqps:, memory:, nats:"),
        ("memory:shared", "expected memory: and nothing behind it"),
        ("unix:", "expected to be like 'unix:/run/shop'"),
        ("tcp://0.0.0.0:1", "add .advertise=HOST:PORT"),
        ("tcp://?advertize=a:1", "expected advertise=HOST:PORT as the option of .*, got advertize"),
        ("redis://a:secret@b/1?replicas=1", "expected no options behind 'redis://b/1', got replicas$"),
        ("amqp://b/shop?heartbeat=5", "expected no options behind 'amqp://b/shop', got heartbeat$"),
    ],
)
def test_a_transport_that_cannot_be_is_told(url: str, told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        open_transport(url, place())


def test_a_discovery_that_cannot_be_is_told() -> None:
    with pytest.raises(Misconfigured, match="'pigeons:' names none of the discoveries that are installed: dns:"):
        open_transport("tcp://", place(discovery="pigeons://"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tls_certificate": "node.pem"}, "both or none"),
        ({"tls_authority": "/nowhere/authority.pem"}, "tls_authority cannot be used"),
    ],
)
def test_what_a_broker_cannot_be_asked_with_is_told(settings: dict[str, str], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        open_transport("nats://127.0.0.1:4222", place(**settings))


def test_half_of_tls_is_refused() -> None:
    with pytest.raises(Misconfigured, match="all three or none"):
        open_transport("tcp://", place(tls_certificate="node.pem"))


def test_each_start_has_a_name_of_its_own_unless_one_is_given() -> None:
    host = Host.fixed(wall=0.0, seed=1)
    names = {place_of("shop", NodeSettings(), host).here.instance for _ in range(2)}

    assert len(names) == 2
    assert place(instance="shop-1").here.instance == "shop-1"


@pytest.mark.parametrize("given", ["zmq_secret", "zmq_allowed"])
def test_half_of_the_keys_is_refused(given: str) -> None:
    with pytest.raises(Misconfigured, match="or neither: a key"):
        open_transport("zmq://", place(**{given: "node.key"}))


async def test_nodes_with_keys_over_zeromq_are_open_to_those_of_the_list_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    public, secret = new_keys()
    key, allowed = tmp_path / "node.key", tmp_path / "allowed"
    key.write_text(secret)
    allowed.write_text(f"{public} this node\n")
    settings = {"interface": "127.0.0.3", "discovery": "static://127.0.0.3:7419"}
    transport = open_transport("zmq://", place(zmq_secret=str(key), zmq_allowed=str(allowed), **settings))
    await transport.open()
    try:
        assert isinstance(transport, Routed)
        assert transport.here.address.startswith("zmq://127.0.0.3:")
        assert quote(public, safe="") in transport.here.address
    finally:
        await transport.close()
    assert not caplog.records
    _ = open_transport("zmq://192.0.2.1:7421", place())
    assert "set node.zmq_secret and zmq_allowed" in caplog.text


def test_files_of_zeromq_are_found_in_their_folder(tmp_path: Path) -> None:
    assert isinstance(open_transport(f"zmq+ipc:{tmp_path}", place()), Routed)


async def test_where_others_are_found_they_reach_this_node_too() -> None:
    transport = open_transport("tcp://", place(interface="127.0.0.2", discovery="static://127.0.0.2:7419"))
    await transport.open()
    try:
        assert isinstance(transport, Routed)
        assert transport.here.address.startswith("tcp://127.0.0.2:")
    finally:
        await transport.close()


async def test_anybody_can_reach_a_node_without_tls_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    _ = open_transport("tcp://192.0.2.1:7421", place())
    _ = open_transport("tcp://", place())

    assert [record.getMessage() for record in caplog.records] == [
        "whoever reaches tcp://192.0.2.1:7421 may call everything; set node.tls_certificate, tls_key and tls_authority"
    ]


def test_a_folder_is_a_discovery_too(tmp_path: Path) -> None:
    assert open_discovery(f"unix:{tmp_path}", place()) is not None


class Alone:
    """A discovery that finds nobody, and says why."""

    async def open(
        self, here: Announcement, told: Callable[[Announcement], None], gone: Callable[[str], None], /
    ) -> None:
        """Take part."""

    def announce(self, here: Announcement, /) -> None:
        """Tell nobody."""

    def suspect(self, instance: str, /) -> None:
        """Know nothing of it."""

    async def close(self) -> None:
        """Leave."""

    def trouble(self) -> str:
        return "another process has this name"


async def test_what_is_wrong_with_discovery_is_wrong_with_the_transport() -> None:
    host = Host.system()
    direct = LocalNetwork().direct("a")
    transport = Routed(Announcement("a", ""), MemoryTransport(), direct, Alone(), host=host)
    before = transport.trouble()
    await transport.open()
    try:
        assert (before, transport.trouble()) == ("the transport is closed", "another process has this name")
    finally:
        await transport.close()
