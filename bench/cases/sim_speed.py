"""What a step of a task and a timer cost on a loop: `sim_speed.py LOOP PROGRAM SECONDS`."""

from __future__ import annotations

import asyncio
import sys

import meter
from sim_loops import LOOPS, Program

TASKS = 100
EACH = 200
"""Steps or timers of each task in one run; a simulator starts anew for each seed, and so does this."""

TICK = 1e-9
"""So little that a real loop never waits for it."""


async def ring() -> None:
    """One token goes round a ring of tasks: one task is ready at a time, and there is nothing to choose."""
    queues = [asyncio.Queue[int]() for _ in range(TASKS)]

    async def hand_on(place: int) -> None:
        mine, following = queues[place], queues[(place + 1) % TASKS]
        for _ in range(EACH):
            following.put_nowait(await mine.get() + 1)

    async with asyncio.TaskGroup() as group:
        for place in range(TASKS):
            group.create_task(hand_on(place))
        queues[0].put_nowait(0)
    assert queues[0].get_nowait() == TASKS * EACH


async def crowd() -> None:
    """All tasks are ready all the time: there is a lot to choose from."""

    async def work() -> None:
        for _ in range(EACH):
            await asyncio.sleep(0)

    await _all(*(work() for _ in range(TASKS)))


async def timers() -> None:
    """Each task sleeps again and again, each for another time."""

    async def work(place: int) -> None:
        for _ in range(EACH):
            await asyncio.sleep(TICK * (place + 1))

    await _all(*(work(place) for place in range(TASKS)))


async def _all(*work: object) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)


PROGRAMS: dict[str, Program] = {program.__name__: program for program in (ring, crowd, timers)}

if __name__ == "__main__":
    play, program = LOOPS[sys.argv[1]](), PROGRAMS[sys.argv[2]]
    meter.runs(lambda: play(program), float(sys.argv[3]), each=TASKS * EACH)
