"""Views of topics: crowds, slow readers and restarts of those who tell, and each event is told once to everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.gateway.feeds import Source
from hanse.gateway.limits import Limits
from hanse.gateway.outlet import FULL_BYTES, Outlet, SendOutlet
from hanse.gateway.place import place_of
from hanse.gateway.told import Framing
from hanse.gateway.view import AWAY_SECONDS_MAX, View
from hanse.gateway.views import Views
from hanse.kernel.faults import Fault, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.memory import MemoryStore
from hanse.store.query import Compare
from hanse.store.sqlite import SqliteStore
from hanse.store.sqlite.desk import InlineDesk
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time


class Placed(Event):
    number: int
    note: str = ""


class Noted(Event):
    pass


class Orders(Service, events=(Placed, Noted)):
    @rpc
    async def tell(self, number: int, note: str = "") -> None:
        await self.emit(Placed(number=number, note=note))

    @rpc
    async def note(self) -> None:
        await self.emit(Noted())


class Imports(Service, events=(Placed, Noted)):
    @rpc
    async def tell(self, number: int, note: str = "") -> None:
        await self.emit(Placed(number=number, note=note))

    @rpc
    async def note(self) -> None:
        await self.emit(Noted())


class Door(Service, events=(Noted,)):
    @rpc
    async def ping(self) -> str:
        return "pong"


APP = App("shop", Orders, Imports, Door)
TELLERS = ("orders", "imports")


def inline(url: str) -> Store:
    if url == "memory:":
        return MemoryStore()
    return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())


class Listener:
    """Follows a topic, keeps what it is told, and resumes with the cursor that it was told last."""

    def __init__(self, tasks: Tasks) -> None:
        self.group = Framing("lines", b"{")
        self.tasks = tasks
        self.names: list[str] = []
        self.heard: dict[str, list[int]] = {name: [] for name in TELLERS}
        self.cursor = ""
        self.gone = True
        self.fault: Fault | None = None
        self.view: View
        self.open = asyncio.Event()
        self.open.set()
        self.outlet: Outlet

    async def come(self, view: View) -> None:
        self.view, self.gone = view, False
        self.outlet = SendOutlet(self, self._take, lambda: None, self.tasks)
        await view.admit(self, self.cursor, snapshot=False)

    def leave(self) -> None:
        if not self.gone:
            self.gone = True
            self.view.leave(self)
            self.outlet.close()

    async def _take(self, data: bytes) -> None:
        _ = await self.open.wait()
        for line in data.splitlines():
            told: dict[str, Any] = msgspec.json.decode(line)
            self.names.append(told["event"])
            if told["event"] == "emitted":
                self.heard[told["value"]["source"].rpartition("/")[2]].append(told["value"]["data"]["number"])
            self._moves_to(told.get("cursor", ""))

    def _moves_to(self, cursor: str) -> None:
        if self.cursor and cursor:
            assert place_of(cursor).covers(place_of(self.cursor)), "a cursor goes back"
        self.cursor = cursor

    async def begin(self) -> None:
        """It has begun."""

    def fell(self) -> None:
        self.leave()

    def failed(self, fault: Fault) -> None:
        self.fault = fault

    def waits(self) -> None:
        """Nobody looks after it."""

    def filled(self) -> None:
        self.view.rest(self)

    def emptied(self) -> None:
        self.view.serve(self)


class Scene:
    """Three nodes, one for each service; the views are at the door's."""

    def __init__(self, store: str, host: Host, tasks: Tasks, limits: Limits) -> None:
        transport = MemoryTransport()
        self.nodes = {
            name: Node(
                APP,
                Settings(node=NodeSettings(services=(name,), store=store)),
                host=host,
                transport=transport,
                stores=inline,
            )
            for name in ("orders", "imports", "door")
        }
        self.tasks = tasks
        self.views = Views(self.nodes["door"], limits)
        self.told: dict[str, list[int]] = {name: [] for name in TELLERS}
        self._count = 0

    def view(self, least: int = 0) -> View:
        return self.views.view(Source(Placed, Compare("ge", ("number",), least)))

    async def come(self, least: int = 0) -> Listener:
        one = Listener(self.tasks)
        await one.come(self.view(least))
        await settled()
        return one

    async def tell(self, name: str, *, size: int = 0) -> None:
        self._count += 1
        self.told[name].append(self._count)
        note = "x" * size
        if name == "orders":
            await self.nodes[name].client(Orders).tell(self._count, note)
        else:
            await self.nodes[name].client(Imports).tell(self._count, note)

    async def note(self, name: str) -> None:
        """Something of another topic."""
        if name == "orders":
            await self.nodes[name].client(Orders).note()
        else:
            await self.nodes[name].client(Imports).note()

    async def restart(self, name: str, away: float = 0.0) -> None:
        await self.nodes[name].stop()
        await asyncio.sleep(away)
        await self.nodes[name].start()


async def settled() -> None:
    """What is under way arrives."""
    await asyncio.sleep(0.1)


@asynccontextmanager
async def opened(scene: Scene) -> AsyncGenerator[Scene, None]:
    for node in scene.nodes.values():
        await node.start()
    yield scene
    await scene.views.tasks.cancel()
    for node in reversed(scene.nodes.values()):
        await node.stop()


@pytest.fixture
async def scene(tmp_path: Path, host: Host, tasks: Tasks) -> AsyncIterator[Scene]:
    async with opened(Scene(f"sqlite:///{tmp_path}", host, tasks, Limits())) as scene:
        yield scene


async def test_a_log_that_is_gone_is_told_to_all_and_they_go_on_from_what_there_is(host: Host, tasks: Tasks) -> None:
    async with opened(Scene("memory:", host, tasks, Limits())) as scene:
        crowd = [await scene.come() for _ in range(5)]
        await scene.restart("imports")
        await asyncio.sleep(5)
        await scene.tell("imports")
        await scene.tell("orders")
        await settled()

        assert {tuple(one.names) for one in crowd} == {("ready", "reset", "ready", "emitted", "emitted")}
        assert all(one.heard == scene.told for one in crowd)
        crowd[0].leave()
        await scene.tell("imports")
        await crowd[0].come(scene.view())
        await settled()
        assert crowd[0].heard == scene.told


async def test_a_topic_whose_teller_stays_away_is_told_to_be_away(scene: Scene) -> None:
    one = await scene.come()
    await scene.nodes["imports"].stop()
    await asyncio.sleep(2 * AWAY_SECONDS_MAX)
    await scene.nodes["imports"].start()

    assert isinstance(one.fault, UnknownOperation)


async def test_who_tells_may_restart_and_nobody_notices(scene: Scene) -> None:
    crowd = [await scene.come() for _ in range(20)]
    await scene.tell("orders")
    await scene.restart("orders", away=10)
    await scene.tell("orders")
    await scene.tell("imports")
    await asyncio.sleep(5)

    assert {tuple(one.names) for one in crowd} == {("ready", *3 * ["emitted"])}
    assert all(one.heard == scene.told for one in crowd)


async def test_who_is_slow_rests_and_hears_all_of_it_later(scene: Scene) -> None:
    keen, slow = await scene.come(), await scene.come()
    slow.open.clear()
    for _ in range(12):
        await scene.tell("orders", size=10_000)
    await settled()
    assert slow.outlet.left < 2 * FULL_BYTES
    slow.open.set()
    await settled()

    assert keen.heard == slow.heard == scene.told


async def test_signs_of_life_carry_where_all_logs_are(scene: Scene) -> None:
    one = await scene.come(least=1000)
    first = place_of(one.cursor)
    await scene.tell("orders")
    for _ in range(3):
        await scene.note("imports")
    await asyncio.sleep(60)

    assert one.names == ["ready", *["ready"] * (len(one.names) - 1)]
    assert [after - before for before, after in zip(first.seqs, place_of(one.cursor).seqs, strict=True)] == [1, 3]
    told = len(one.names)
    await asyncio.sleep(60)
    assert len(one.names) == told, "where the logs stand still, there is nothing to tell"


async def test_who_is_ahead_in_a_quiet_log_hears_at_once_of_the_other(scene: Scene) -> None:
    early = await scene.come()
    await scene.note("imports")  # the view has not been told of that, but who comes now has
    ahead = await scene.come()
    await scene.tell("orders")
    await settled()

    assert ahead.heard == early.heard == scene.told
    assert place_of(ahead.cursor).covers(place_of(early.cursor))
    assert ahead.cursor != early.cursor
    await asyncio.sleep(60)
    assert ahead.cursor == early.cursor


class Story:
    """Random: who tells, restarts and is trimmed, who comes, breaks off and is slow."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.chance = Host.fixed(wall=0.0, seed=seed).chance
        self.crowd: list[Listener] = []
        self.began: dict[Listener, dict[str, int]] = {}

    async def act(self) -> None:
        scene, name = self.scene, self.chance.choice(TELLERS)
        match self.chance.randrange(12):
            case 0 | 1 | 2 | 3:
                for _ in range(self.chance.randrange(1, 4)):
                    await scene.tell(name, size=self.chance.choice([0, 0, 3_000]))
            case 4:
                await scene.note(name)
            case 5:
                await self.come()
            case 6 | 7 if self.crowd:
                self.chance.choice(self.crowd).leave()
            case 8 if self.crowd:
                one = self.chance.choice(self.crowd)
                if one.open.is_set():
                    one.open.clear()
                else:
                    one.open.set()
            case 9:
                await scene.restart(name, self.chance.choice([0.0, 1.0]))
            case _:
                await self.come_back()
        await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.001, 0.1, 20.0]))

    async def come(self) -> None:
        if len(self.crowd) < 6:
            one = Listener(self.scene.tasks)
            self.crowd.append(one)
            await one.come(self.scene.view())
            self.began[one] = {name: len(told) for name, told in self.scene.told.items()}
            await settled()  # it has its first cursor, so that it can resume

    async def come_back(self) -> None:
        for one in self.crowd:
            if one.gone:
                one.open.set()
                await one.come(self.scene.view())


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_breaks_each_event_is_told_once_and_in_the_order_of_its_log(
    tmp_path: Path, host: Host, tasks: Tasks, seed: int
) -> None:
    async with opened(Scene(f"sqlite:///{tmp_path}", host, tasks, Limits(view_changes=5, view_bytes=50_000))) as scene:
        story = Story(scene, seed)
        for _ in range(60):
            await story.act()
        for one in story.crowd:
            one.open.set()
        await asyncio.sleep(5)
        await story.come_back()
        await asyncio.sleep(5)

        for one in story.crowd:
            assert {name: one.heard[name] for name in TELLERS} == {
                name: told[story.began[one][name] :] for name, told in scene.told.items()
            }
            assert one.fault is None
            assert "reset" not in one.names
