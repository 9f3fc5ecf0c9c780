"""A time limit without a timer, until something is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import cast

import pytest

from hanse.kernel.patience import OutOfTime, within


async def forever(log: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        log.append("ended")


async def test_what_waits_too_long_is_cancelled() -> None:
    log: list[str] = []
    with pytest.raises(OutOfTime):
        await within(0.001, forever(log))
    assert log == ["ended"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    log: list[str] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(within(60.0, forever(log)))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    assert log == ["ended"]


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_an_error_of_the_work_is_its_own(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await within(60.0, work())


async def test_work_that_catches_what_it_waited_for_goes_on() -> None:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(failing.set_exception, ValueError("no"))

    async def work() -> str:
        try:
            await failing
        except ValueError as error:
            await asyncio.sleep(0)
            return str(error)
        return ""

    assert await within(60.0, work()) == "no"


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_its_result_is_given_back(waits: int) -> None:
    async def work() -> int:
        for _ in range(waits):
            await asyncio.sleep(0)
        return waits

    assert await within(60.0, work()) == waits


async def test_a_limit_inside_a_limit_ends_what_it_is_around() -> None:
    async def inner() -> str:
        try:
            await within(0.001, forever([]))
        except OutOfTime:
            return "inner"
        return ""

    assert await within(60.0, inner()) == "inner"
    with pytest.raises(OutOfTime):
        await within(0.001, within(60.0, forever([])))


async def test_a_future_is_work_too() -> None:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, 7)
    assert await within(60.0, done) == 7


class Bare:
    """An awaitable as other languages' bindings make it: its steps take neither values nor errors."""

    def __init__(self, future: asyncio.Future[int]) -> None:
        self._future = future

    def __await__(self) -> Generator[object, object, int]:
        return cast("Generator[object, object, int]", self)

    def __iter__(self) -> Bare:
        return self

    def __next__(self) -> object:
        if self._future.done():
            raise StopIteration(self._future.result())
        self._future._asyncio_future_blocking = True
        return self._future


@pytest.mark.parametrize("waits", [False, True])
async def test_an_awaitable_whose_steps_take_nothing_is_work_too(*, waits: bool) -> None:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    if waits:
        asyncio.get_running_loop().call_soon(done.set_result, 7)
    else:
        done.set_result(7)
    assert await within(60.0, Bare(done)) == 7
