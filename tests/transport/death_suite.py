"""Processes that are killed, stand still or go in good order, as those notice that call them over a broker."""

from __future__ import annotations

import asyncio
import signal

import pytest

from hanse.kernel.closing import closing
from hanse.kernel.faults import Unavailable
from hanse.kernel.message import Kind, Message
from hanse.testing.transport_things import Things

from .brokered import Node, apps, call, echo, node, opened, serving
from .process import ServerProcess

NOTICE_SECONDS = 60.0
LONG_SECONDS = 240.0
CALLS = 50
CALLERS = 16
REPLACED = 5


async def fault_of(one: Node, message: Message) -> str:
    """Why a request came to nothing."""
    with pytest.raises(Unavailable) as raised:
        _ = await one.request(message)
    return raised.value.detail


async def read(one: Node, begun: asyncio.Event) -> str:
    """Why a stream broke."""
    try:
        async with closing(one.stream(call("hang", b"1", timeout=LONG_SECONDS, kind=Kind.STREAM))) as items:
            async for _ in items:
                begun.set()
    except Unavailable as fault:
        return fault.detail
    raise AssertionError("the stream ended as if all were well")


class DeathSuite:
    """Derive from it beside a fixture `server`.

    Attributes:
        held_up_max: Calls that one which stands still may hold up; None where the broker hands it its share all along.
    """

    held_up_max: int | None = None

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
    async def test_what_was_asked_of_a_process_that_dies_or_stands_still_ends(
        self, server: ServerProcess, how: signal.Signals
    ) -> None:
        begun = asyncio.Event()
        one = node(server.url)
        with serving(server, one.names.app) as process:
            async with opened(one), asyncio.timeout(NOTICE_SECONDS), asyncio.TaskGroup() as group:
                asking = group.create_task(fault_of(one, call("hold", timeout=LONG_SECONDS)))
                reading = group.create_task(read(one, begun))
                _ = await begun.wait()
                _ = await echo(one)
                process.send_signal(how)
                said = {await asking, await reading}
        assert all("whoever" in one for one in said)

    async def test_what_is_served_for_a_process_that_dies_ends(self, server: ServerProcess) -> None:
        things = Things("held")
        other = node(server.url)
        other.listen("held", things.server)
        async with opened(other):
            await other.flush()
            with serving(server, other.names.app) as process:
                # The process is asked to ask us, and dies amid that; so both sides of it are seen to end.
                forward = Message(Kind.CALL, "1", "things.forward", LONG_SECONDS, body=b"held.hold")
                async with asyncio.timeout(NOTICE_SECONDS), asyncio.TaskGroup() as group:
                    _ = group.create_task(fault_of(other, forward))
                    await things.until(lambda: things.running == 1)
                    process.kill()
                await things.until(lambda: things.cancelled == ["held.hold"])
        things.server.close()

    async def test_a_process_that_stands_still_holds_up_few_calls_and_no_others(self, server: ServerProcess) -> None:
        if self.held_up_max is None:
            pytest.skip("the broker hands one that stands still its share of the calls, until it has gone")
        one = node(server.url)
        app = one.names.app
        with serving(server, app), serving(server, app) as still:
            async with opened(one):
                still.send_signal(signal.SIGSTOP)
                fates = [await held_up(one) for _ in range(CALLS)]
        assert fates.count(True) <= self.held_up_max
        assert not fates[-1]

    async def test_no_call_fails_while_instances_come_and_go_in_good_order(self, server: ServerProcess) -> None:
        app = next(apps)
        failed: list[BaseException] = []
        done = 0
        stopping = False

        async def load(one: Node) -> None:
            nonlocal done
            while not stopping:
                try:
                    assert await echo(one) == b"well"
                except Exception as error:  # noqa: BLE001 - none may come
                    failed.append(error)
                done += 1

        async with opened(one := node(server.url, app)), asyncio.TaskGroup() as group:
            before = await instance(server, app)
            callers = [group.create_task(load(one)) for _ in range(CALLERS)]
            for _ in range(REPLACED):
                after = await instance(server, app)
                seen = done
                before.leave("things")
                await before.flush()
                await before.close()
                async with asyncio.timeout(NOTICE_SECONDS):
                    while done < seen + 100:  # noqa: ASYNC110 - calls are what there is to wait for
                        await asyncio.sleep(0)
                before = after
            stopping = True
            _ = await asyncio.wait(callers)
            await before.close()
        assert failed == []


async def held_up(one: Node) -> bool:
    try:
        assert (await one.request(call("echo", b"well", timeout=LONG_SECONDS))).body == b"well"
    except Unavailable:
        return True
    return False


async def instance(server: ServerProcess, app: str) -> Node:
    one = node(server.url, app)
    one.listen("things", Things().server)
    await one.open()
    await one.flush()
    return one
