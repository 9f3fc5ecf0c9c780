"""Events that a real RabbitMQ keeps: what goes wrong with its queues, its permissions and its memory."""

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
from pamqp import commands

from hanse.kernel.faults import Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.testing.transport_hooks import unheard
from hanse.testing.transport_kept import (
    GROUP,
    TOPIC,
    all_of,
    event,
    events,
    first_times,
    handled,
    ids_of,
    opened,
    published,
    taken,
)
from hanse.transport.amqp import backlog as backlogs
from hanse.transport.amqp.declare import SETTLED_SECONDS
from hanse.transport.amqp.frames import KEPT, kept_as
from hanse.transport.amqp.options import Options
from hanse.transport.amqp.progress import Word
from hanse.transport.amqp.transport import AmqpTransport
from hanse.transport.brokered.frames import encode

from .server import Server
from .test_connection import short_of_memory

_apps = map("kept-%d".__mod__, itertools.count(1))
WAIT_SECONDS = 60.0
SOME = 20


@asynccontextmanager
async def nodes(server: Server, number: int = 1) -> AsyncGenerator[list[AmqpTransport]]:
    app = next(_apps)
    made = [AmqpTransport(server.url, Host.system(), Options(app=app)) for _ in range(number)]
    for node in made:
        await node.open()
    try:
        yield made
    finally:
        for node in made:
            await node.close()


async def put(node: AmqpTransport, queue: str, properties: bytes, payload: bytes) -> None:
    assert node.native.put(queue.encode(), properties, payload)
    await node.flush()


@contextmanager
def process(server: Server, app: str) -> Generator[subprocess.Popen[bytes]]:
    """One that takes events until it is killed, and acknowledges none."""
    script = str(Path(__file__).with_name("taking.py"))
    with subprocess.Popen([sys.executable, script, server.url, app], stdout=subprocess.PIPE) as taking:
        try:
            yield taking
        finally:
            taking.send_signal(signal.SIGCONT)
            taking.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_next_is_handed_what_one_had_that_died_or_stands_still(server: Server, how: signal.Signals) -> None:
    async with nodes(server) as (one,):
        await one.publish(sent := events(SOME))
        with process(server, one.names.app) as taking:
            assert taking.stdout is not None
            assert await asyncio.to_thread(taking.stdout.readline) == b"taken\n"
            backlog = await opened(one)
            taking.send_signal(how)
            assert await handled(backlog, SOME, limit=WAIT_SECONDS) == ids_of(sent)
            await backlog.close()


async def test_what_is_none_of_ours_in_the_stream_is_left_out(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with nodes(server) as (one,):
        await one.publish([first := event()])
        await put(one, one.names.events, KEPT, b"not ours")
        await one.publish([second := event()])
        backlog = await opened(one)
        assert await handled(backlog, 2) == ids_of([first, second])
        await backlog.close()
        assert "is left out" in caplog.text


async def test_two_words_say_more_together(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with nodes(server) as (one,):
        await one.publish(sent := events(SOME))
        backlog = await opened(one)
        [first] = await taken(backlog, 1)
        backlog.done(first)
        # As it is left behind by one that was killed as it said another; and by somebody who is none of us.
        for said in (encode(Word(4, [1])), b"\xc1"):
            await put(one, one.names.group(GROUP), kept_as(b"else"), said)
        await backlog.close()
        assert "no word of Hanse's" in caplog.text
        backlog = await opened(one)
        assert await handled(backlog, SOME - 4) == ids_of([sent[1], *sent[5:]])
        await backlog.close()


async def test_events_that_come_where_others_were_lost_are_handed_out(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with nodes(server) as (one,):
        await one.publish(kept := events(SOME))
        await asyncio.sleep(SETTLED_SECONDS)  # until then the server may forget a stream that is new
        older = await asyncio.to_thread(server.copy_streams)
        await published(one, lost := events(SOME))
        for group in ("soon", "late"):
            assert len(await all_of(one, set(ids_of([*kept, *lost])), group=group)) >= 2 * SOME
        # As after a power cut: the server had said that it has these, and does not have them.
        await asyncio.to_thread(server.lose_streams, older)
        await published(one, new := [event()])
        there = ids_of([*kept, *new])
        assert first_times(await all_of(one, set(there), group="soon")) == there
        await published(one, more := events(2 * SOME))
        there += ids_of(more)
        assert first_times(await all_of(one, set(there), group="late")) == there
        assert first_times(await all_of(one, set(ids_of(more)), group="soon")) == ids_of(more)
        assert caplog.text.count("RabbitMQ has lost events") == 2


async def test_what_is_not_wanted_is_passed_for_good(server: Server) -> None:
    async with nodes(server) as (one,), unheard() as tasks:
        await one.publish(events(backlogs.SKIPPED_MAX + SOME, topic="else"))
        backlog = await opened(one)
        taking = tasks.start(backlog.take(1))
        await one.publish([message := event()])
        assert ids_of(await taking) == [message.id]
        await backlog.close()
        backlog = await opened(one)
        assert await handled(backlog, 1) == [message.id]
        await backlog.close()


async def test_a_group_whose_queue_somebody_deletes_is_told(server: Server) -> None:
    async with nodes(server) as (one,), unheard() as tasks:
        await one.publish([event()])
        backlog = await opened(one)
        _ = await handled(backlog, 1)
        taking = tasks.start(backlog.take(1))
        assert one.native.native is not None
        channel = await one.native.native.into.channel()
        channel.tell(commands.Queue.Delete(queue=one.names.group(GROUP)))
        with pytest.raises(Unavailable, match="cannot be taken"):
            _ = await taking
        await backlog.close()


async def test_a_stream_that_somebody_deletes_is_told_and_made_again(server: Server) -> None:
    async with nodes(server) as (one,):
        await one.publish([event()])
        assert one.native.native is not None
        channel = await one.native.native.into.channel()
        deleting = commands.Queue.Delete(queue=one.names.events)
        _ = await channel.ask(deleting, commands.Queue.DeleteOk)
        with pytest.raises(Unavailable, match="not there any more"):
            await one.publish([event()])
        await one.publish([message := event()])
        assert await all_of(one, {message.id}) == [message.id]


async def test_a_server_that_is_short_of_memory_keeps_none_and_says_so(server: Server) -> None:
    async with nodes(server) as (one,):
        await one.publish([event()])
        with short_of_memory(server):
            with pytest.raises(Unavailable):
                async with asyncio.timeout(WAIT_SECONDS):
                    await one.publish([event()])
            assert one.trouble()
            # On a machine with much to do the server may take the connection that it does not read from for a dead one,
            # or say what it lacks late.
            async with asyncio.timeout(WAIT_SECONDS):
                while "takes no messages" not in (told := await _refused(one)):
                    assert "no connection" in told or "has confirmed no events" in told
                    await one.native.up()
        async with asyncio.timeout(WAIT_SECONDS):
            while not await _published(one):
                await one.native.up()
        assert one.trouble() == ""


async def _refused(one: AmqpTransport) -> str:
    with pytest.raises(Unavailable) as refused:
        await one.publish([event()])
    return refused.value.detail


async def _published(one: AmqpTransport) -> bool:
    try:
        await one.publish([event()])
    except Unavailable:
        return False
    return True


async def test_who_may_not_keep_events_is_told(server: Server) -> None:
    _ = server.control("add_user", "eve", "eve")
    _ = server.control("set_permissions", "eve", r"hanse\..*\.node\..*", ".*", r"hanse\..*\.node\..*")
    one = AmqpTransport(server.url, Host.system(), Options(app=next(_apps), user="eve", password="eve"))
    await one.open()
    with pytest.raises(Misconfigured, match="ACCESS_REFUSED"):
        await one.publish([event()])
    await one.close()
    with pytest.raises(Unavailable):
        _ = await one.subscribe(GROUP, [TOPIC])
