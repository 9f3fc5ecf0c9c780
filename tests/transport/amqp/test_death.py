"""Processes that are killed and that stand still, as those notice that call them."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.transport.amqp.intake import AHEAD_MAX
from hanse.transport.amqp.options import Options
from hanse.transport.amqp.transport import AmqpTransport

from .server import Server

_apps = map("death-%d".__mod__, itertools.count(1))
LONG_SECONDS = 60.0
NOTICE_SECONDS = 10.0
CALLS = 50


def call(operation: str, body: bytes = b"") -> Message:
    return Message(Kind.CALL, "1", f"things.{operation}", LONG_SECONDS, body=body)


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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_was_asked_of_a_process_that_dies_or_stands_still_ends(server: Server, how: signal.Signals) -> None:
    app = next(_apps)
    one = AmqpTransport(server.url, Host.system(), Options(app=app))
    with process(server, app) as serving:
        await one.open()
        assert (await one.request(call("echo", b"well"))).body == b"well"
        async with asyncio.timeout(NOTICE_SECONDS), asyncio.TaskGroup() as group:
            asking = group.create_task(fate(one, call("hold")))
            assert (await one.request(call("echo", b"well"))).body == b"well"
            serving.send_signal(how)
            assert isinstance(await asking, Unavailable)
        await one.close()


async def test_a_process_that_stands_still_holds_up_few_calls_and_no_others(server: Server) -> None:
    app = next(_apps)
    one = AmqpTransport(server.url, Host.system(), Options(app=app))
    with process(server, app), process(server, app) as still:
        await one.open()
        still.send_signal(signal.SIGSTOP)
        fates = [await fate(one, call("echo", b"well")) for _ in range(CALLS)]
        # It is given so many, and no more before it has taken them; soon the server has not heard of it for too long.
        assert len([one for one in fates if isinstance(one, Unavailable)]) <= AHEAD_MAX
        assert fates[-1] == b"well"
        await one.close()


async def fate(one: AmqpTransport, message: Message) -> bytes | Unavailable:
    try:
        return (await one.request(message)).body
    except Unavailable as fault:
        return fault
