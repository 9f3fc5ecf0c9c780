"""Processes that are killed, that stand still, and that go in good order, as those notice that call them."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from hanse.kernel.closing import closing
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.testing.transport_things import Things
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

from .server import Server

_apps = map("death-%d".__mod__, itertools.count(1))
NOTICE_SECONDS = 10.0
LONG_SECONDS = 60.0


def call(operation: str, body: bytes = b"", kind: Kind = Kind.CALL) -> Message:
    return Message(kind, "1", f"things.{operation}", LONG_SECONDS, body=body)


@contextmanager
def process(server: Server, app: str) -> Generator[subprocess.Popen[bytes]]:
    script = str(Path(__file__).with_name("serving.py"))
    with subprocess.Popen([sys.executable, script, server.url, app], stdout=subprocess.PIPE) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline() == b"ready\n"
            yield serving
        finally:
            serving.send_signal(signal.SIGCONT)
            serving.kill()


@asynccontextmanager
async def node(server: Server, app: str) -> AsyncGenerator[NatsTransport]:
    transport = NatsTransport(server.url, Host.system(), Options(app=app))
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def fate(one: NatsTransport, message: Message) -> str:
    """Why a request came to nothing."""
    with pytest.raises(Unavailable) as raised:
        await one.request(message)
    return raised.value.detail


async def read(one: NatsTransport, begun: asyncio.Event) -> str:
    """Why a stream broke."""
    try:
        async with closing(one.stream(call("hang", b"1", Kind.STREAM))) as items:
            async for _ in items:
                begun.set()
    except Unavailable as fault:
        return fault.detail
    raise AssertionError("the stream ended as if all were well")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_was_asked_of_a_process_that_dies_or_stands_still_ends(
    server: Server, number: signal.Signals
) -> None:
    app = next(_apps)
    begun = asyncio.Event()
    with process(server, app) as serving:
        async with node(server, app) as one, asyncio.timeout(NOTICE_SECONDS), asyncio.TaskGroup() as group:
            asking = group.create_task(fate(one, call("hold")))
            reading = group.create_task(read(one, begun))
            await begun.wait()
            await one.request(call("echo"))
            serving.send_signal(number)
            said = {await asking, await reading}
    assert all("whoever" in one for one in said)


async def test_what_is_served_for_a_process_that_dies_ends(server: Server) -> None:
    app = next(_apps)
    things = Things("held")
    async with node(server, app) as other:
        other.listen("held", things.server)
        await other.flush()
        with process(server, app) as serving:
            # The process is asked to ask us, and dies amid that; so both sides of it are seen to end.
            forward = Message(Kind.CALL, "1", "things.forward", LONG_SECONDS, body=b"held.hold")
            async with asyncio.timeout(NOTICE_SECONDS), asyncio.TaskGroup() as group:
                _ = group.create_task(fate(other, forward))
                await things.until(lambda: things.running == 1)
                serving.kill()
            await things.until(lambda: things.cancelled == ["held.hold"])
    things.server.close()


async def test_no_call_fails_while_instances_come_and_go_in_good_order(server: Server) -> None:
    app = next(_apps)
    failed: list[BaseException] = []
    done = 0
    stopping = False

    async def load(one: NatsTransport) -> None:
        nonlocal done
        while not stopping:
            try:
                assert (await one.request(call("echo", b"well"))).body == b"well"
            except Exception as error:  # noqa: BLE001 - none may come
                failed.append(error)
            done += 1

    async with node(server, app) as one, asyncio.TaskGroup() as group:
        before = await instance(server, app)
        callers = [group.create_task(load(one)) for _ in range(16)]
        for _ in range(5):
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


async def instance(server: Server, app: str) -> NatsTransport:
    transport = NatsTransport(server.url, Host.system(), Options(app=app))
    transport.listen("things", Things().server)
    await transport.open()
    await transport.flush()
    return transport
