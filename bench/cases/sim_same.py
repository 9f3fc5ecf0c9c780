"""What a program does under one seed, as a few digits: `sim_same.py LOOP TASKS BEFORE`.

Run in several processes it is to say the same in all of them. BEFORE is the number of tasks of another run that the
process has had by then, as it has had other tests in a suite.
"""

from __future__ import annotations

import asyncio
import sys
from hashlib import blake2b
from typing import cast

from sim_loops import LOOPS, Program

PAUSE = 0.001


def cancelled(tasks: int) -> Program:
    """A task of a group fails, and the others hear of it one after the other."""

    async def program() -> list[int]:
        heard: list[int] = []

        async def wait(place: int) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                heard.append(place)
                raise

        async def fail() -> None:
            await asyncio.sleep(PAUSE)
            raise LookupError

        try:
            async with asyncio.TaskGroup() as group:
                for place in range(tasks):
                    group.create_task(wait(place))
                group.create_task(fail())
        except* LookupError:
            pass
        return heard

    return program


def waited(tasks: int) -> Program:
    """Whoever waited for many handles them in the order of the set that it got."""

    async def program() -> list[int]:
        async def work(place: int) -> int:
            await asyncio.sleep(PAUSE)
            return place

        started = [asyncio.create_task(work(place)) for place in range(tasks)]
        done, _ = await asyncio.wait(started) if started else ([], [])
        return [task.result() for task in done]

    return program


def completed(tasks: int) -> Program:
    """Coroutines are taken as they complete, all after the same time."""

    async def program() -> list[int]:
        async def work(place: int) -> int:
            await asyncio.sleep(PAUSE)
            return place

        return [await one for one in asyncio.as_completed([work(place) for place in range(tasks)])]

    return program


def everything(tasks: int) -> Program:
    """All of them, one after the other."""

    async def program() -> list[list[int]]:
        return [await part(tasks)() for part in (cancelled, waited, completed)]

    return program


if __name__ == "__main__":
    loop, tasks, before = sys.argv[1:]
    play = LOOPS[loop]()
    play(everything(int(before)))
    orders = cast("list[list[int]]", play(everything(int(tasks))))
    assert all(sorted(order) == list(range(int(tasks))) for order in orders)
    print(blake2b(repr(orders).encode(), digest_size=8).hexdigest())
