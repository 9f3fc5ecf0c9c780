"""A socket that the loop drives: nothing that came is left behind."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import zmq

from hanse.transport.zmq.driven import NOW, TURN_MAX, Driven

from .nodes import WAIT_SECONDS, outside

MANY = 3 * TURN_MAX + 1


@pytest.mark.parametrize("fails_at", [0, TURN_MAX, MANY], ids=["at the first", "at the next turn", "never"])
async def test_all_that_came_is_taken_also_behind_a_message_that_fails(fails_at: int) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    done = asyncio.Event()
    with outside() as context:
        one, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        for number in range(MANY):
            other.send(b"%d" % number)
        came: list[bytes] = []
        counted = itertools.count()

        def take() -> None:
            message = one.recv(NOW)
            if next(counted) == fails_at:
                raise RuntimeError("a message that fails")
            came.append(message)

        driven = Driven(one, take, done.set)
        async with asyncio.timeout(WAIT_SECONDS):
            await done.wait()
        driven.close(0)
        driven.wake()
        driven.look()
        other.close(0)
    assert came == [b"%d" % number for number in range(MANY) if number != fails_at]
    assert len(told) == (fails_at != MANY)
