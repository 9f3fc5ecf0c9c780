"""What is ZeroMQ's own: garbage, names, keys, slow readers and lost peers; the rest is the suite's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest

from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.transport.direct import NotSent
from hanse.transport.stream.frame import ASKS, PREFACE
from hanse.transport.stream.limits import DEFAULT_LIMITS, StreamLimits
from hanse.transport.zmq.curve import Curve
from hanse.transport.zmq.direct import zmq_direct
from hanse.transport.zmq.listening import Listening
from hanse.transport.zmq.options import AHEAD_MAX

from .nodes import WAIT_SECONDS, Bare, Node, Ring, call, node, outside


def listening_of(one: Node) -> Listening:
    listening = one.direct.native
    assert isinstance(listening, Listening)
    return listening


async def until_connections(one: Node, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while one.connections() != count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


# Whoever is no node.


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([b"GET / HTTP/1.1"], "a node of Hanse was expected to greet"),
        ([b"hanse\xff"], "version 3 of Hanse's frames was expected"),
        ([b"hanse\x01", b"more"], "a message of one part was expected"),
        ([PREFACE + b"\xff\xff\xff\xff\x00" + bytes(8)], "a frame of at most"),
    ],
)
async def test_garbage_ends_its_connection_alone(
    parts: list[bytes], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with node() as one, node() as other:
        assert await one.ask(other, call(body=b"before")) == b"before"
        with outside() as context:
            bare = Bare(context, other.address)
            bare.socket.send_multipart(parts)
            await bare.ended()
            bare.socket.send(b"hanse\x01")
            assert await one.ask(other, call(body=b"after")) == b"after"
            assert other.connections() == 1, "whoever was told of the end is heard no more"
        assert why in caplog.text
        async with asyncio.timeout(WAIT_SECONDS):
            while len(listening_of(other)._pipes) > 1:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)


async def test_parts_after_the_first_end_a_connection_too(caplog: pytest.LogCaptureFixture) -> None:
    async with node() as one:
        with outside() as context:
            bare = Bare(context, one.address)
            bare.greet()
            await until_connections(one, 1)
            bare.socket.send_multipart([b"a"] * 100)
            await bare.ended()
        assert "a message of one part was expected" in caplog.text
        await until_connections(one, 0)


async def test_a_name_of_ones_own_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with node() as one:
        with outside() as context:
            bare = Bare(context, one.address, ROUTING_ID=b"me")
            bare.greet()
            await bare.ended()
            assert one.connections() == 0
    assert "wants to be called b'me'" in caplog.text


async def test_nobody_takes_over_the_name_of_another() -> None:
    async with node() as one, node() as other:
        assert await one.ask(other, call(body=b"1")) == b"1"
        (name,) = listening_of(other)._pipes
        with outside() as context:
            thief = Bare(context, other.address, ROUTING_ID=name)
            thief.greet()
            assert await one.ask(other, call(body=b"2")) == b"2"
            assert list(listening_of(other)._pipes) == [name]
        assert one.lost.empty()


async def test_a_message_over_the_limit_ends_its_connection() -> None:
    async with node(limits=StreamLimits(bytes_max=1_000)) as one:
        with outside() as context:
            bare = Bare(context, one.address)
            bare.greet()
            await until_connections(one, 1)
            bare.socket.send(bytes(1024 * 1024))
            await until_connections(one, 0)


# Slow readers.


async def test_who_does_not_read_fills_no_memory() -> None:
    asks, size = 400, 300_000  # more than buffers of the kernel's take
    async with node() as one, node() as other:
        with outside() as context:
            bare = Bare(context, one.address, RCVHWM=1, RCVBUF=8_192)
            bare.greet()
            for number in range(asks):
                message = call("grow", b"%d" % size)
                ask = (number, message.id, message.timeout, message.body)
                bare.say((ASKS, 0, [(message.kind, message.address, b"", [ask])]))
            async with asyncio.timeout(WAIT_SECONDS):
                while one.unsent() <= DEFAULT_LIMITS.unsent_bytes:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.001)
            for _ in range(20):
                assert await other.ask(one, call(body=b"well")) == b"well", "others are served meanwhile"
            assert one.served < asks, "what is asked by who reads no answers is not begun"
            assert one.unsent() <= DEFAULT_LIMITS.unsent_bytes_max
        await until_connections(one, 1)


async def test_callers_wait_for_who_does_not_read_and_go_on() -> None:
    limits = StreamLimits(unsent_bytes=100_000)
    async with node(limits=limits) as one, node() as other, Tasks(print) as tasks:
        assert await one.ask(other, call(body=b"1")) == b"1"
        driven = listening_of(other)._driven
        # As one whose loop stands still: its ROUTER is not read.
        asyncio.get_running_loop().remove_reader(driven._fd)
        body = bytes(500_000)
        asked = [tasks.start(one.ask(other, call("size", body))) for _ in range(AHEAD_MAX * 6)]
        async with asyncio.timeout(WAIT_SECONDS):
            while not one.unsent():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().add_reader(driven._fd, driven.wake)
        driven.wake()
        assert await asyncio.gather(*asked) == [b"%d" % len(body)] * len(asked)
        assert one.unsent() == 0


# Peers that come and go.


async def test_the_end_of_a_node_is_told_at_once() -> None:
    async with node() as one, node() as other, Tasks(lambda _: None) as tasks:
        asking = tasks.start(one.ask(other, call("hold")))
        async with asyncio.timeout(WAIT_SECONDS):
            while not other.served:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
        listening_of(other).end()
        with pytest.raises(Unavailable):
            await asking
        async with asyncio.timeout(WAIT_SECONDS):
            assert await one.lost.get() == other.address


async def test_who_asks_is_told_to_be_lost_to_whom_it_asked() -> None:
    async with node() as one:
        async with node() as other:
            assert await other.ask(one, call()) == b""
            assert await one.ask(other, call()) == b""
            assert (one.connections(), other.connections()) == (1, 1), "both ask over one connection"
            gone = other.address
        async with asyncio.timeout(WAIT_SECONDS):
            assert await one.lost.get() == gone


async def test_many_come_and_go() -> None:
    async with node() as one:
        for _ in range(20):
            async with node() as other:
                assert await other.ask(one, call(body=b"well")) == b"well"
        await until_connections(one, 0)
        listening = listening_of(one)
        async with asyncio.timeout(WAIT_SECONDS):
            while listening._pipes or listening._by_descriptor:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
        assert not listening._names
        assert not listening._blocked


async def test_nobody_at_an_address_is_not_sent() -> None:
    async with node() as one:
        async with node() as other:
            gone = other.address
        with pytest.raises(NotSent, match="nobody listens there"):
            await one.ask(gone, call())
        for wrong in (
            "tcp://127.0.0.1:1",
            "zmq+ipc:/run/shop/x.zmq",
            "zmq://127.0.0.1:1/path",
            "zmq://[::1:1",
            "zmq://",
        ):
            with pytest.raises(NotSent):
                await one.ask(wrong, call())


async def test_after_its_end_a_node_asks_nothing() -> None:
    async with node() as other:
        async with node() as one:
            pass
        with pytest.raises(NotSent):
            await one.ask(other, call())


# Keys.


async def test_nodes_with_keys_ask_each_other(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    keys = {name: ring.add(name) for name in ("ada", "bob")}
    ring.allow("ada", "bob")
    async with node(curve=keys["ada"]) as one, node(curve=keys["bob"]) as other:
        assert await one.ask(other, call(body=b"1")) == b"1"
        assert await other.ask(one, call(body=b"2")) == b"2"
        assert (one.connections(), other.connections()) == (1, 1), "a proven key makes the connection theirs"


async def test_a_key_that_is_not_on_the_list_cannot_connect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = Ring(tmp_path), Ring(tmp_path / "eve")
    (tmp_path / "eve").mkdir()
    ada, eve = ours.add("ada"), theirs.add("eve")
    ours.allow("ada")
    theirs.public["ada"] = ours.public["ada"]
    theirs.allow("ada", "eve")
    async with node(curve=ada) as one, node(curve=eve) as other:
        with pytest.raises(NotSent, match="not allowed there"):
            await other.ask(one, call())
        with pytest.raises(NotSent, match="is not in this node's list"):
            await one.ask(other, call())
        assert one.served == other.served == 0
    assert "the key is not in the list" in caplog.text


async def test_a_key_that_is_taken_from_the_list_makes_no_new_connections(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ada, bob = ring.add("ada"), ring.add("bob")
    ring.allow("ada", "bob")
    async with node(curve=ada) as one, node(curve=bob) as other, node(curve=bob) as late:
        assert await other.ask(one, call(body=b"1")) == b"1"
        ring.allow("ada")
        with pytest.raises(NotSent, match="not allowed there"):
            await late.ask(one, call())
        assert await other.ask(one, call(body=b"2")) == b"2", "what is connected stays so"


async def test_who_has_no_key_is_not_let_in_by_those_who_have(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ada = ring.add("ada")
    ring.allow("ada")
    quick = StreamLimits(connect_seconds=0.5)
    async with node(curve=ada, limits=quick) as one, node(limits=quick) as other:
        with pytest.raises(NotSent):
            await other.ask(one, call())
        with pytest.raises(NotSent, match="it has no key"):
            await one.ask(other, call())
        assert one.served == other.served == 0


async def test_who_cannot_prove_its_key_is_not_asked(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ada, bob, _ = ring.add("ada"), ring.add("bob"), ring.add("eve")
    ring.allow("ada", "bob", "eve")
    quick = StreamLimits(connect_seconds=0.5)
    async with node(curve=ada, limits=quick) as one, node(curve=bob) as other:
        plain = other.address.partition("?")[0]
        with pytest.raises(NotSent):
            await one.ask(f"{plain}?{urlencode({'key': ring.public['eve']})}", call())
        assert other.served == 0


async def test_a_list_that_cannot_be_read_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = Ring(tmp_path)
    ada, bob = ring.add("ada"), ring.add("bob")
    ring.allow("ada", "bob")
    theirs = tmp_path / "theirs"
    theirs.write_text(ring.allowed.read_text())
    async with node(curve=ada) as one, node(curve=Curve(secret=bob.secret, allowed=str(theirs))) as other:
        ring.allowed.write_text("no key\n")
        with pytest.raises(NotSent, match="not allowed there"):
            await other.ask(one, call())
        with pytest.raises(NotSent, match="line 1 of the list of keys"):
            await one.ask(other, call())
    assert "nobody can connect: line 1 of the list of keys" in caplog.text


# What cannot be used.


@pytest.mark.parametrize(
    "url",
    [
        "zmq://0.0.0.0:1",
        "zmq+ipc:",
        "zmq://127.0.0.1:1/path",
        "zmq://127.0.0.1:port",
        "zmq://?colour=red",
        "zmq://ada@127.0.0.1",
    ],
)
def test_a_url_that_cannot_be_used_says_so(url: str) -> None:
    with pytest.raises(Misconfigured):
        zmq_direct(url, Host.system())


async def test_an_address_that_is_taken_says_so() -> None:
    async with node() as one:
        with pytest.raises(CouldNotStart, match="Address already in use"):
            async with node(one.address):
                pass


async def test_files_are_for_one_process_each(tmp_path: Path) -> None:
    url = f"zmq+ipc:{tmp_path}"
    async with node(url, instance="a") as one, node(url, instance="b") as other:
        assert await one.ask(other, call(body=b"1")) == b"1"
        assert await other.ask(one, call(body=b"2")) == b"2"
        assert (one.connections(), other.connections()) == (1, 1)
        with pytest.raises(CouldNotStart, match="another process listens"):
            async with node(url, instance="a"):
                pass
        assert await other.ask(one, call(body=b"3")) == b"3"
        with pytest.raises(NotSent, match="zmq"):
            await one.ask("zmq://127.0.0.1:1", call())
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


async def test_a_node_may_tell_another_address_than_that_it_listens_at() -> None:
    async with node("zmq://127.0.0.1?advertise=shop.example:7421") as one:
        assert one.address == "zmq://shop.example:7421"


def test_keys_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ada = ring.add("ada")
    with pytest.raises(CouldNotStart, match="cannot be read"):
        zmq_direct("zmq://", Host.system(), curve=ada)
    ring.add("bob")
    ring.allow("bob")
    with pytest.raises(CouldNotStart, match="this node's own public key"):
        zmq_direct("zmq://", Host.system(), curve=ada)
    Path(ada.secret).write_text("secret")
    with pytest.raises(CouldNotStart, match="40 letters"):
        zmq_direct("zmq://", Host.system(), curve=ada)
    Path(ada.secret).write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(CouldNotStart, match="is it a list of keys"):
        zmq_direct("zmq://", Host.system(), curve=ada)
    Path(ada.secret).write_bytes(b"\xff" * 40)
    with pytest.raises(CouldNotStart, match="cannot be read"):
        zmq_direct("zmq://", Host.system(), curve=ada)
    with pytest.raises(Misconfigured, match="has no keys"):
        zmq_direct(f"zmq+ipc:{tmp_path}", Host.system(), curve=ada)


def test_without_zeromq_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['zmq'] = None\n"
        "from hanse.kernel.host import Host\n"
        "from hanse.transport.zmq.direct import zmq_direct\n"
        "zmq_direct('zmq://', Host.system())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'hanse[zmq]'" in done.stderr
