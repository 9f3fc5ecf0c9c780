"""Where a stream ends, asked of a twin of RabbitMQ: what happens to it, and to the connection, amid the question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from pamqp import commands
from pamqp.common import FieldValue
from tests.unit.sim.test_amqp_server import STREAM, Scene, play

from hanse.kernel.host import Host
from hanse.transport.amqp.channel import Channel
from hanse.transport.amqp.frames import kept_as
from hanse.transport.amqp.reached import LAST, look
from hanse.transport.amqp.stream_end import end_of, has
from hanse.transport.amqp.wire import Wire

NAME = "s"
Break = Callable[[Wire, Wire], Awaitable[None]]


async def made(channel: Channel, arguments: Mapping[str, FieldValue]) -> None:
    declare = commands.Queue.Declare(queue=NAME, durable=True, arguments=dict(arguments))
    _ = await channel.ask(declare, commands.Queue.DeclareOk)


async def deleted(wire: Wire, other: Wire) -> None:
    del wire
    _ = await (await other.channel()).ask(commands.Queue.Delete(queue=NAME), commands.Queue.DeleteOk)


async def broken(wire: Wire, other: Wire) -> None:
    del other
    wire.abort("its cable was pulled")


def _then(do: Callable[[], None]) -> Callable[[bytes, bytes], None]:
    """Puts nothing into the stream, and does something instead."""

    def put(mark: bytes, payload: bytes) -> None:
        del mark, payload
        do()

    return put


@pytest.mark.parametrize(("happens", "told"), [(deleted, "not there any more"), (broken, "cable")])
def test_what_ends_amid_the_question_is_told(happens: Break, told: str) -> None:
    async def story(scene: Scene) -> None:
        wire, other = await scene.wire("one"), await scene.wire("other")
        channel, asked = await wire.channel(), asyncio.Event()
        await made(channel, STREAM)

        async def ask() -> None:
            with pytest.raises(ConnectionError, match=told):
                _ = await has(channel, NAME, 3, Host.fixed(wall=0.0, seed=7), _then(asked.set))

        async with asyncio.TaskGroup() as group:
            _ = group.create_task(ask())
            _ = await asked.wait()
            await happens(wire, other)

    play(story)


def test_a_stream_that_takes_nothing_is_not_waited_for_without_end() -> None:
    async def story(scene: Scene) -> None:
        channel = await (await scene.wire("one")).channel()
        await made(channel, STREAM)
        with pytest.raises(ConnectionError, match="did not tell its end within 10 s"):
            _ = await has(channel, NAME, 0, Host.fixed(wall=0.0, seed=7), _then(lambda: None))

    play(story)


def test_the_end_of_a_stream_is_that_of_its_last_event() -> None:
    async def story(scene: Scene) -> None:
        wire = await scene.wire("one")
        channel = await wire.channel()
        await made(channel, STREAM)
        assert await end_of(await wire.channel(), NAME) == -1
        for _ in range(3):
            channel.publish(NAME.encode(), kept_as(b"m"), b"", b"text", mandatory=False)
        _ = await channel.ask(commands.Basic.Qos(prefetch_count=0), commands.Basic.QosOk)
        assert await end_of(await wire.channel(), NAME) == 2
        # An event that stands where the last one stood does not show that there is more.
        put: list[bytes] = []
        for number, there in ((2, True), (3, False)):
            host = Host.fixed(wall=0.0, seed=number)

            def say(mark: bytes, payload: bytes) -> None:
                put.append(mark)
                channel.publish(NAME.encode(), kept_as(mark), b"", payload, mandatory=False)

            assert await has(await wire.channel(), NAME, number, host, say) is there
        assert len(put) == 1

    play(story)


def test_a_word_that_nobody_has_said_is_waited_for_until_its_queue_goes() -> None:
    async def story(scene: Scene) -> None:
        wire, other = await scene.wire("one"), await scene.wire("other")
        channel = await wire.channel()
        await made(channel, LAST)

        async def ask() -> None:
            with pytest.raises(ConnectionError, match="not there any more"):
                _ = await look(channel, NAME)

        async with asyncio.TaskGroup() as group:
            _ = group.create_task(ask())
            await asyncio.sleep(1.0)
            await deleted(wire, other)

    play(story)
