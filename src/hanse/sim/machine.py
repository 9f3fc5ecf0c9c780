"""A simulated machine: a disk and clocks that last, and one process after the other that hosts services on them."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Protocol, final

import msgspec

from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.process import Process
from hanse.kernel.settings import Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.stores import store_url
from hanse.sim.chance import chance_of
from hanse.sim.disk import Disk, DiskDesk
from hanse.sim.door import Door
from hanse.sim.fence import Fenced
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import Network
from hanse.sim.trace import Trace
from hanse.sim.twin import Medium, Twin
from hanse.store.base import Store
from hanse.store.memory import MemoryStore
from hanse.store.sqlite.store import SqliteStore
from hanse.store.sqlite.url import parse_url

WALL = 1_750_000_000.0
"""The wall clock at the world's second 0: a day in June 2025."""

RESPAWN_SECONDS = 1.0
"""How long a supervisor waits before it starts a process again that could not start."""

SETTLE_POLL_SECONDS = 0.01
"""How often it is looked whether a node has settled."""

State = Literal["down", "starting", "up", "stopping"]

_log = logging.getLogger("hanse.sim")


class Clockwork(msgspec.Struct, frozen=True):
    """How wrong a machine's clocks are.

    Attributes:
        skew: Seconds that its wall clock is ahead.
        drift: How much faster its clocks run than the world's; 0.0001 is 100 parts in a million.
    """

    skew: float = 0.0
    drift: float = 0.0


class Died(Protocol):
    """Told of the end of each process, once its disk is as the next one will find it."""

    def __call__(self, machine: str, /, *, dark: bool) -> None: ...  # noqa: D102 - see the class


def _nobody(machine: str, /, *, dark: bool) -> None:
    """Nobody looks on."""


class Ground(msgspec.Struct, frozen=True):
    """What the machines of one world have in common.

    Attributes:
        loop, trace, network, seed, medium: The world's.
        died: Told of the end of each process.
    """

    loop: Loop
    trace: Trace
    network: Network
    seed: int
    medium: Medium
    died: Died = _nobody


@final
class Machine:
    """One machine of a world.

    Attributes:
        name: Of the machine; that of its service, where it hosts one.
        services: Names of the services that it hosts.
        state: What its process does.
        app: The version of the code that its next process runs.
        settings: Those of its process, or of the last; before the first, those that it will have.
        node: The node of the process, while there is one.
        lives: How many processes there were.
        door: What its process, or the last that did, serves to the outside.
        jump: Seconds that its wall clock is ahead of what it usually shows.
        clockwork: How wrong its clocks usually are.
        exit: Why the last process that ended by itself did so; empty where none has.
        retired: Whether fakes have taken the place of all that it hosted.
        dead: The processes that there were.
    """

    def __init__(
        self, name: str, services: tuple[str, ...], app: App, settings: Settings, ground: Ground, disk: Disk
    ) -> None:
        self.name: str = name
        self.services: tuple[str, ...] = services
        self.state: State = "down"
        self.app: App = app
        self.node: Node | None = None
        self.lane: Lane | None = None
        self.disk: Disk = disk
        self.lives: int = 0
        self.jump: float = 0.0
        self.clockwork: Clockwork = Clockwork()
        self.dead: list[Lane] = []
        self.exit: str = ""
        self.retired: bool = False
        self.settings: Settings = settings
        self._next = settings
        self._paths: dict[str, str] = {}
        self._ground = ground
        self._transport: Twin | None = None
        self.door: Door | None = None
        self._listens = False

    def serving(self, more_than: int = 0) -> int:
        """How many requests its process is handling; see `hanse.sim.twin.Twin.serving`."""
        return self._transport.serving(more_than) if self.running and self._transport is not None else 0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.state != "down"

    @property
    def up(self) -> bool:
        """Whether it serves what it has to."""
        return self.state == "up" or self.retired

    def start(self) -> None:
        """Start a process, unless there is one."""
        if self.running or self.retired:
            return
        ground, clockwork = self._ground, self.clockwork
        self.lives += 1
        self.state = "starting"
        self.settings = self._next
        self._paths.clear()
        ground.trace.add(ground.loop.now, self.name, "start", f"{self.lives}")
        lane = self.lane = Lane(ground.loop, self.name, rate=1.0 + clockwork.drift, offset=100.0 * self.lives)
        host = host_of(lane, chance=(ground.seed, self.name, self.lives), wall=self.wall)
        lane.context.run(ambient.set, Context(host))
        self._transport = ground.medium.join(lane, self.settings.node)
        _ = lane.start(self._live(lane, host, self._transport), "node")

    def configure(self, settings: Settings) -> None:
        """Have its next process, and those after it, run under other settings."""
        self._next = settings

    def path_of(self, service: str) -> str:
        """Where on its disk a service keeps its rows; empty where its store is no file."""
        path = self._paths.get(service)
        if path is None:
            url = _store_url(self.settings, service)
            path = self._paths[service] = parse_url(url).path if url.startswith("sqlite:") else ""
        return path

    def listen(self) -> None:
        """Serve the gateway of the app to the outside, as soon as there is a node, and in every process from now on."""
        if not self._listens:
            self._listens = True
            self._open_door()

    def _open_door(self) -> None:
        node, lane = self.node, self.lane
        if self._listens and node is not None and lane is not None and node.app.gateway is not None:
            self.door = Door(self._ground.network, lane, node.app.gateway.asgi(node))

    def wall(self) -> float:
        """What its wall clock shows."""
        now = self._ground.loop.now
        return WALL + now * (1.0 + self.clockwork.drift) + self.clockwork.skew + self.jump

    def kill(self, *, dark: bool = False) -> None:
        """End the process as by `kill -9`; where it goes `dark`, the power goes too, with what was not flushed."""
        ground, lane = self._ground, self.lane
        if lane is not None:
            ground.trace.add(ground.loop.now, self.name, "dark" if dark else "kill")
            assert self._transport is not None
            self._end(lane)
            ground.network.died(self._transport.port, dark=dark)
            if self.door is not None and self.door.port.lane is lane:
                ground.network.died(self.door.port, dark=dark)
        if dark:
            self.disk.darkened()
        else:
            self.disk.killed()
        if dark or lane is not None:
            ground.died(self.name, dark=dark)

    def stop(self, grace: float, then: Callable[[], object] | None = None) -> None:
        """Have the process finish what is under way and end; then something else, unless it stops already.

        One that is not up yet has nothing to finish; where there is none, what comes then comes now.
        """
        lane, node = self.lane, self.node
        if self.state == "stopping":
            return
        if lane is None or node is None:
            self.kill()
            if then is not None:
                _ = then()
            return
        self.state = "stopping"
        self._ground.trace.add(self._ground.loop.now, self.name, "stop")
        _ = lane.start(self._stop(node, lane, grace, then), "stop")

    def pause(self, seconds: float) -> None:
        """Have the process stand still."""
        if self.lane is not None and self.running:
            self._ground.trace.add(self._ground.loop.now, self.name, "pause", f"{seconds:.3f}")
            self.lane.pause(seconds)

    def retire(self, service: str) -> None:
        """Host a service no more, from the next process on."""
        self.services = tuple(name for name in self.services if name != service)
        self.retired = not self.services
        self.start()

    @property
    def idle(self) -> bool:
        """Whether its node has nothing under way."""
        return self.retired or (self.node is not None and self.node.idle)

    async def settled(self) -> None:
        """Wait until its node has handed on all that it told; also over the end of a process."""
        while not self.retired:
            if self.node is not None and self.lane is not None and await _settled(self.node, self.lane):
                return
            await asyncio.sleep(SETTLE_POLL_SECONDS)

    async def _live(self, lane: Lane, host: Host, transport: Twin) -> None:
        ground, settings = self._ground, self.settings
        here = msgspec.structs.replace(settings.node, services=self.services)
        try:
            node = Node(
                self.app,
                msgspec.structs.replace(settings, node=here),
                host=host,
                transport=transport,
                stores=lambda url: self._store(url, lane, host),
            )
            await node.start()
        except (Exception, Fenced) as error:  # noqa: BLE001 - whatever keeps a process from starting ends it
            if lane.alive:
                self._exit(lane, error)
            return
        # Who was killed at a fault point comes this far where nothing is left to wait for.
        if lane.alive:
            self.node = node
            self.state = "up"
            self._open_door()
            ground.trace.add(ground.loop.now, self.name, "ready")

    def _exit(self, lane: Lane, error: BaseException) -> None:
        """A process could not start."""
        ground = self._ground
        if isinstance(error, Fault):
            # As on any machine: a supervisor starts it again.
            self.exit = error.detail
            _ = ground.loop.at(ground.loop.now + RESPAWN_SECONDS, self.start)
        else:
            # A mistake, which the world has to tell.
            self.exit = f"{type(error).__name__}: {error}"
            ground.loop.call_exception_handler({"exception": error})
        ground.trace.add(ground.loop.now, self.name, "exit", self.exit)
        self._gone(lane)

    async def _stop(self, node: Node, lane: Lane, grace: float, then: Callable[[], object] | None) -> None:
        end = self._ground.loop.now + grace
        if self.door is not None and self.door.port.lane is lane:
            await self._close_door(self.door, node, grace)
        await node.stop(max(0.0, end - self._ground.loop.now))
        if not lane.alive:
            return
        self._ground.trace.add(self._ground.loop.now, self.name, "stopped")
        self._gone(lane)
        if then is not None:
            _ = self._ground.loop.at(self._ground.loop.now, then)

    async def _close_door(self, door: Door, node: Node, grace: float) -> None:
        """As a server does it that is asked to stop: streams end with a hint, what is under way is answered."""
        node.state = "draining"
        await asyncio.sleep(node.settings.node.drain_delay)
        end = self._ground.loop.now + grace
        assert node.app.gateway is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await node.app.gateway.drain(node)
        await door.close(max(0.0, end - self._ground.loop.now))

    def _gone(self, lane: Lane) -> None:
        """The process has ended by itself."""
        assert self._transport is not None
        self._ground.network.left(self._transport.port)
        self._end(lane)
        self.disk.killed()
        self._ground.died(self.name, dark=False)

    def _end(self, lane: Lane) -> None:
        lane.kill()
        self.dead.append(lane)
        self.state, self.node, self.lane = "down", None, None

    def _store(self, url: str, lane: Lane, host: Host) -> Store:
        if url.startswith("memory:"):
            return MemoryStore()
        parsed = parse_url(url)
        desk = DiskDesk(self.disk, parsed.path, lane)
        return SqliteStore(parsed.path, synchronous=parsed.synchronous, desk=desk, host=host, disk=self.disk)


def _store_url(settings: Settings, service: str) -> str:
    """As a node chooses it."""
    wanted = settings.services.get(service)
    return (wanted.store if wanted else "") or store_url(settings.node.store, service)


async def _settled(node: Node, lane: Lane) -> bool:
    """Wait until a node has settled; whether it did so before its process stopped or died."""
    settling = lane.start(node.settle(), "settle")
    try:
        while lane.alive and not settling.done():  # noqa: ASYNC110 - a process that is killed sets nothing any more
            await asyncio.sleep(SETTLE_POLL_SECONDS)
    finally:
        settling.cancel()
    if not settling.done():
        return False
    error = settling.exception()
    if error is not None and not isinstance(error, Fault):
        raise error
    # It fails where the node stops.
    return error is None


def host_of(lane: Lane, *, chance: tuple[int, str, int], wall: Callable[[], float]) -> Host:
    """The clocks and draws of one process."""
    seed, name, life = chance
    return Host(
        name,
        now=wall,
        monotonic=lane.time,
        chance=chance_of(seed, "machine", name, life),
        entropy=chance_of(seed, "entropy", name, life).randbytes,
        processes=_Lives(name, life),
    )


@final
class _Lives:
    """The processes of one machine, as one of them sees them: those before it have ended."""

    def __init__(self, machine: str, life: int) -> None:
        self.own: Process | None = Process(zlib.crc32(machine.encode()), life)

    def has_ended(self, process: Process, /) -> bool:
        assert self.own is not None
        return process.machine == self.own.machine and process.life < self.own.life


async def until(condition: Callable[[], bool], *, every: float, limit: float) -> bool:
    """Wait until something holds, looking so often; whether it does within the limit."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    while not condition():
        if loop.time() >= end:
            return False
        await asyncio.sleep(every)
    return True
