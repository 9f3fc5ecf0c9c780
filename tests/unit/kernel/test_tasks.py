import asyncio

import pytest

from hanse.kernel.faults import Overloaded
from hanse.kernel.tasks import Tasks


async def test_a_failure_is_reported_and_ends_no_other() -> None:
    failures: list[BaseException] = []
    gate = asyncio.Event()

    async def fail() -> None:
        raise ValueError("broken")

    async with Tasks(failures.append) as tasks:
        other = tasks.start(gate.wait())
        tasks.start(fail())
        await asyncio.wait([tasks.start(asyncio.sleep(0))])
        gate.set()
        assert await other
    assert [str(failure) for failure in failures] == ["broken"]


async def test_the_end_of_the_scope_cancels_and_awaits_what_is_left() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async with Tasks(print) as tasks:
        tasks.start(work())
        await asyncio.sleep(0)
        assert len(tasks) == 1
    assert ended == ["cleaned up"]
    assert len(tasks) == 0


@pytest.mark.virtual_time
async def test_who_swallows_the_cancellation_is_cancelled_again() -> None:
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while cancelled < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1

    async with Tasks(print) as tasks:
        tasks.start(stubborn())
        await asyncio.sleep(0)
    assert cancelled == 3


@pytest.mark.virtual_time
async def test_who_lets_go_of_something_is_not_broken_off() -> None:
    given_back: list[str] = []

    async def holding() -> None:
        try:
            _ = await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.9)  # a commit, on a machine that has much to do
            given_back.append("the lease")

    async with Tasks(print) as tasks:
        tasks.start(holding())
        await asyncio.sleep(0)
    assert given_back == ["the lease"]


@pytest.mark.virtual_time
async def test_who_never_ends_is_given_up() -> None:
    stop = asyncio.Event()

    async def hopeless() -> None:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    tasks = Tasks(print)
    task = tasks.start(hopeless())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert not task.done()
    stop.set()
    assert await tasks.wait()


async def test_a_scope_that_is_full_refuses_and_leaves_no_coroutine_behind() -> None:
    async with Tasks(print, limit=1) as tasks:
        tasks.start(asyncio.Event().wait())
        with pytest.raises(Overloaded, match="1 tasks at once"):
            tasks.start(asyncio.sleep(0))


@pytest.mark.virtual_time
async def test_waiting_tells_whether_all_have_ended() -> None:
    async with Tasks(print) as tasks:
        assert await tasks.wait()
        tasks.start(asyncio.sleep(5))
        assert not await tasks.wait(1.0)
        assert await tasks.wait(10.0)


async def test_a_task_may_end_the_scope_that_it_is_in() -> None:
    tasks = Tasks(print)

    async def last() -> str:
        await tasks.cancel()
        return "done"

    assert await tasks.start(last()) == "done"


async def test_tasks_are_cancelled_in_the_order_in_which_they_began() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async with Tasks(print) as tasks:
        # Some end before, so that neither places in memory nor numbers tell the order.
        gaps = [tasks.start(asyncio.sleep(0)) for _ in range(50)]
        for number in range(200):
            tasks.start(work(number))
        await asyncio.wait(gaps)
    assert ended == list(range(200))
