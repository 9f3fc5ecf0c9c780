"""Calls that go with the one before, in the same turn: they have all that others have."""

import asyncio
from collections.abc import Awaitable

import pytest

from hanse.kernel.faults import DeadlineExceeded, Overloaded
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer, Call
from hanse.transport.direct import NotSent
from hanse.transport.stream.frame import SMALL_BYTES
from hanse.transport.stream.limits import StreamLimits

from .nodes import WAIT_SECONDS, Node, Place, call

STORY = Headers(key="a")


def unheard() -> Tasks:
    return Tasks(lambda _: None)


async def waited(asked: Awaitable[Answer]) -> Answer:
    return await asked


async def connected(one: Node, other: Node, operation: str) -> Call:
    """How to call an operation over a connection that is made."""
    await one.ask(other, call())
    return one.direct.calling(f"things.{operation}", other.address)


async def test_all_of_one_turn_are_answered_each_with_its_own(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        echo = await connected(one, other, "echo")
        bodies = [b"%d" % number * (SMALL_BYTES if number % 50 == 0 else 1) for number in range(1, 300)]
        asked = [echo(str(number), WAIT_SECONDS, STORY, body) for number, body in enumerate(bodies)]
        assert await asyncio.gather(*asked) == bodies
        came = other.things.came[1:]
        assert [message.body for message in came] == bodies, "in the order in which they were asked"
        assert [message.id for message in came] == [str(number) for number in range(299)]
        assert all(message.headers == STORY for message in came)


async def test_what_is_asked_in_between_keeps_its_place_and_its_kind(place: Place) -> None:
    event = Message(Kind.EVENT, "e", "things.echo", WAIT_SECONDS, STORY, b"event")
    async with place.node() as one, place.node() as other, unheard() as tasks:
        echo = await connected(one, other, "echo")
        first = echo("1", WAIT_SECONDS, STORY, b"1")
        between = tasks.start(waited(one.direct.ask(event, other.address)))
        second, third = echo("2", 0.0, STORY, b"2"), echo("3", 0.0, NO_HEADERS, b"3")
        _ = await asyncio.gather(first, between, second, third)
        kinds = [(message.kind, message.body, message.headers) for message in other.things.came[1:]]
        assert kinds == [
            (Kind.CALL, b"1", STORY),
            (Kind.EVENT, b"event", STORY),
            (Kind.CALL, b"2", STORY),
            (Kind.CALL, b"3", NO_HEADERS),
        ]


@pytest.mark.parametrize("first", [0.0, WAIT_SECONDS])
async def test_each_ends_at_its_own_deadline(place: Place, first: float) -> None:
    async with place.node() as one, place.node() as other, unheard() as tasks:
        wait = await connected(one, other, "wait")
        patient = tasks.start(waited(wait("1", first, STORY, b"1")))
        hasty = [
            tasks.start(waited(wait("2", 0.02, STORY, b"2"))),
            tasks.start(waited(wait("3", 0.03, STORY, b"3"))),
        ]
        for each in hasty:
            with pytest.raises(DeadlineExceeded, match=r"things\.wait"):
                await each
        await other.things.until(lambda: other.things.cancelled == ["wait", "wait"])
        other.things.gate.set()
        assert await patient == b"1"


async def test_the_limit_of_calls_to_one_node_is_kept_within_a_turn(place: Place) -> None:
    async with (
        place.node(StreamLimits(calls_max=3, connect_seconds=WAIT_SECONDS)) as one,
        place.node() as other,
        unheard() as tasks,
    ):
        wait = await connected(one, other, "wait")
        asked = [tasks.start(waited(wait(str(number), WAIT_SECONDS, STORY, b"x"))) for number in range(5)]
        await other.things.until(lambda: len(other.things.came) == 1 + 3)
        other.things.gate.set()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert ended[:3] == [b"x"] * 3
        assert [type(fault) for fault in ended[3:]] == [Overloaded] * 2


async def test_what_was_gathered_as_the_connection_broke_is_known_not_to_be_sent(place: Place) -> None:
    async with place.node() as one, place.node() as other:
        echo = await connected(one, other, "echo")
        asked = [echo(str(number), WAIT_SECONDS, STORY, b"") for number in range(3)]
        (wire,) = one.direct._all
        wire.connection_lost(ConnectionResetError("gone"))
        for each in asked:
            with pytest.raises(NotSent):
                await each


async def test_who_is_given_up_is_cancelled_there_and_nobody_else(place: Place) -> None:
    async def asking(call: Call, id: str) -> Answer:
        try:
            return await call(id, WAIT_SECONDS, STORY, b"x")
        except asyncio.CancelledError:
            one.direct.given_up()
            raise

    async with place.node() as one, place.node() as other, unheard() as tasks:
        wait = await connected(one, other, "wait")
        asked = [tasks.start(asking(wait, str(number))) for number in range(3)]
        await other.things.until(lambda: len(other.things.came) == 1 + 3)
        _ = asked[1].cancel()
        await other.things.until(lambda: other.things.cancelled == ["wait"])
        other.things.gate.set()
        assert await asked[0] == await asked[2] == b"x"
