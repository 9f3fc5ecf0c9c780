"""The devices: switched as often as they have to be, whatever gets in between; in one process, and apart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hanse import App, Conflict, Created, Existing, Invalid, Node, NotFound, Settings, Unavailable, Updated
from hanse.kernel.closing import closing
from hanse.kernel.message import Message
from hanse.kernel.settings import NodeSettings, ServiceSettings
from hanse.store.base import Store
from hanse.transport.memory import MemoryTransport

AT_ONCE = {"worker": ServiceSettings(settings={"seconds": 0})}
SWITCH = "rows/devices.patch"


class Holding(MemoryTransport):
    """Keeps the worker's first switch until it is let go; may lose the answer to it."""

    def __init__(self, *, loses: bool = False) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.free = asyncio.Event()
        self.answered = asyncio.Event()
        self.loses = loses

    async def request(self, message: Message, /) -> Message:
        if message.address != SWITCH or self.reached.is_set():
            return await super().request(message)
        self.reached.set()
        await self.free.wait()
        answer = await super().request(message)
        self.answered.set()
        if self.loses:
            raise Unavailable("the answer is lost")
        return answer


class House:
    """The example's names, and a node that knows its services, wherever they are."""

    def __init__(self, names: ModuleType, node: Node) -> None:
        self.names: Any = names
        self.devices: Any = node.client(names.Devices)
        self.rows: Any = node.collection(names.Device)

    async def changes(self, after: str | None = None) -> AsyncIterator[Any]:
        """The devices as they are and become, each as it should be."""
        async with asyncio.timeout(30), closing(self.rows.follow(after=after)) as told:
            async for change in told:
                if isinstance(change, (Existing, Created, Updated)):
                    device: Any = change.value if isinstance(change, Existing) else change.after
                    assert (device.power == "on") == (device.switched % 2 == 1)
                    assert device.pending == (device.power != device.wanted)
                    yield device

    async def quiet(self, id: str) -> Any:  # noqa: ANN401 - a row of a class that is loaded from a file
        """The device, once nothing is to be done about it."""
        async with closing(self.changes()) as changes:
            async for device in changes:
                if device.id == id and not device.pending:
                    return device
        raise AssertionError(id)


@pytest.fixture
def names(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("power/power.py")


@pytest.fixture
def calm(names: ModuleType) -> App:
    """The house without anybody who plays with the switches."""
    return App("power", names.DeviceService, names.Worker)


@pytest.fixture
async def house(names: ModuleType, calm: App) -> AsyncIterator[House]:
    async with Node(calm, Settings(services=AT_ONCE)) as node:
        yield House(names, node)


async def test_what_is_not_there_cannot_be_switched(house: House) -> None:
    with pytest.raises(NotFound):
        await house.devices.ask("toaster", "on")


async def test_a_device_is_on_or_off_and_nothing_else(house: House) -> None:
    with pytest.raises(Invalid):
        await house.devices.ask("lamp", "dim")


async def test_a_device_that_is_asked_for_is_switched(house: House) -> None:
    asked = await house.devices.ask("lamp", "on")
    assert (asked.wanted, asked.power, asked.pending) == ("on", "off", True)
    device = await house.quiet("lamp")
    assert (device.power, device.switched) == ("on", 1)


async def test_asking_again_switches_nothing(house: House) -> None:
    await house.devices.ask("lamp", "on")
    await house.quiet("lamp")
    assert not (await house.devices.ask("lamp", "on")).pending
    assert (await house.quiet("lamp")).switched == 1


async def test_all_who_ask_at_once_are_heard_or_told(house: House) -> None:
    wishes = [house.devices.ask("lamp", wanted) for wanted in ("on", "off", "on", "off", "on")]
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    heard = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert heard
    device = await house.quiet("lamp")
    assert device.power == device.wanted == max(heard, key=lambda answer: answer.rev).wanted


async def test_where_reads_take_time_pending_is_about_what_is_there(
    names: ModuleType, calm: App, far: Callable[[str], Store]
) -> None:
    async with Node(calm, Settings(services=AT_ONCE), stores=far) as node:
        house = House(names, node)
        cursor = await house.rows.cursor()
        for turns, wanted in enumerate(("on", "off") * 20):
            for _ in range(turns):
                await asyncio.sleep(0)  # lets the worker go on, a bit further each time
            with suppress(Conflict):
                last = await house.devices.ask("lamp", wanted)
        async with closing(house.changes(cursor)) as changes:
            async for device in changes:
                if device.rev >= last.rev and not device.pending:
                    break


async def test_who_asks_for_the_opposite_in_time_has_nothing_switched(
    names: ModuleType, calm: App, caplog: pytest.LogCaptureFixture
) -> None:
    transport = Holding()
    async with Node(calm, Settings(services=AT_ONCE), transport=transport) as node:
        house = House(names, node)
        await house.devices.ask("lamp", "on")
        await transport.reached.wait()
        await house.devices.ask("lamp", "off")
        transport.free.set()
        await transport.answered.wait()
        assert (await house.quiet("lamp")).switched == 0
        assert caplog.records == []
        await house.devices.ask("lamp", "on")
        assert (await house.quiet("lamp")).switched == 1


async def test_a_switch_whose_answer_is_lost_is_not_done_again(names: ModuleType, calm: App) -> None:
    transport = Holding(loses=True)
    transport.free.set()
    async with Node(calm, Settings(services=AT_ONCE), transport=transport) as node:
        house = House(names, node)
        await house.devices.ask("lamp", "on")
        assert (await house.quiet("lamp")).switched == 1
        await house.devices.ask("lamp", "off")
        assert (await house.quiet("lamp")).switched == 2


async def test_devices_are_what_they_were_after_a_restart(names: ModuleType, calm: App, tmp_path: Path) -> None:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"), services=AT_ONCE)
    async with Node(calm, settings) as node:
        await House(names, node).devices.ask("lamp", "on")
        await House(names, node).quiet("lamp")
    async with Node(calm, settings) as node:
        assert (await House(names, node).quiet("lamp")).power == "on"
        assert await node.collection(names.Device).count() == 8


@pytest.mark.parametrize("nodes_of", [["devices worker randomizer"], ["devices", "worker", "randomizer"]])
async def test_somebody_keeps_asking_and_each_change_is_sound(names: ModuleType, nodes_of: list[str]) -> None:
    transport = MemoryTransport()
    async with AsyncExitStack() as nodes:
        for services in map(tuple, map(str.split, nodes_of)):
            settings = Settings(node=NodeSettings(services=services), services=AT_ONCE)
            node = await nodes.enter_async_context(Node(names.app, settings, transport=transport))
        async with closing(House(names, node).changes()) as changes:
            async for device in changes:
                if device.switched:
                    break
