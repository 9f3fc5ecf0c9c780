"""Every call ends: at its deadline, with its caller, and within the time of whoever asked."""

import asyncio
import random  # noqa: TID251 - the host of a test draws from a seed
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.context import Context, current
from hanse.kernel.faults import (
    DeadlineExceeded,
)
from hanse.kernel.host import Host
from hanse.mesh.client import policy
from hanse.mesh.deadline import Deadlines, overdue

from .back import Back, script


@pytest.mark.virtual_time
async def test_a_call_without_an_answer_ends_at_its_deadline(back: Back) -> None:
    cancelled = asyncio.Event()

    async def hang(self: Back) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    loop = asyncio.get_running_loop()
    for call, seconds in ((back.run, 10.0), (back.soon, 2.0), (policy(back, timeout="500ms").soon, 0.5)):
        cancelled.clear()
        start = loop.time()
        with pytest.raises(DeadlineExceeded, match="no answer from back"):
            await call(script(hang))
        assert loop.time() - start == pytest.approx(seconds)
        assert cancelled.is_set()
    assert cast("asyncio.Task[None]", asyncio.current_task()).cancelling() == 0


@pytest.mark.virtual_time
async def test_the_time_left_is_handed_on(back: Back) -> None:
    async def outer(self: Back) -> object:
        await asyncio.sleep(1.5)
        return await self.front.ask(script(inner))

    async def inner(self: Back) -> object:
        return current().time_left()

    assert await back.soon(script(outer)) == pytest.approx(0.5)


@pytest.mark.virtual_time
async def test_who_has_no_time_left_calls_nobody(back: Back) -> None:
    async def stubborn(self: Back) -> object:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(DeadlineExceeded, match=r"front\.echo"):
                await self.front.echo("too late")
            with pytest.raises(DeadlineExceeded, match=r"back\.watch"):
                await anext(back.watch("x"))
            refused.set()
            raise
        return None

    refused = asyncio.Event()
    with pytest.raises(DeadlineExceeded, match=r"back\.soon"):
        await back.soon(script(stubborn))
    assert refused.is_set()


@pytest.mark.virtual_time
async def test_an_inner_deadline_is_a_fault_to_the_outer_handler(back: Back) -> None:
    async def outer(self: Back) -> object:
        with pytest.raises(DeadlineExceeded, match=r"front\.ask"):
            await policy(self.front, timeout="1s").ask(script(hang))
        await asyncio.sleep(1)
        return "went on"

    async def hang(self: Back) -> None:
        await asyncio.Event().wait()

    assert await back.run(script(outer)) == "went on"


@pytest.mark.virtual_time
async def test_what_is_answered_after_a_swallowed_cancellation_comes_too_late(back: Back) -> None:
    async def stubborn(self: Back) -> object:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    with pytest.raises(DeadlineExceeded):
        await back.soon(script(stubborn))
    task = cast("asyncio.Task[None]", asyncio.current_task())
    assert task.cancelling() == 0, "the caller's own task is as it was"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.Event().wait()


@pytest.mark.virtual_time
async def test_cleaning_up_is_not_interrupted_by_the_deadlines_of_others(back: Back) -> None:
    async def careful(self: Back) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)
            cleaned.append("up")

    async def hang(self: Back) -> None:
        await asyncio.Event().wait()

    cleaned: list[str] = []
    first, second = script(careful), script(hang)
    calls = [policy(back, timeout=1.0).run(first), policy(back, timeout=1.2).run(second)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineExceeded, DeadlineExceeded]
    assert cleaned == ["up"]


@pytest.mark.virtual_time
async def test_a_caller_that_gives_up_cancels_the_handler(back: Back) -> None:
    async def hang(self: Back) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    ended = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await back.run(script(hang))
    assert ended.is_set()


@pytest.mark.virtual_time
async def test_a_caller_that_gives_up_at_the_deadline_is_cancelled_all_the_same(back: Back) -> None:
    async def hang(self: Back) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await back.soon(script(hang))


class Task:
    """Stands for a task: which one it is, is all that counts."""


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 10), st.booleans()), max_size=12), st.floats(0, 10))
def test_of_the_handlers_of_one_task_only_the_outermost_that_is_overdue_is_ended(
    handlers: list[tuple[int, float, bool]], now: float
) -> None:
    tasks = [cast("asyncio.Task[None]", Task()) for _ in range(3)]
    running: dict[Context, None] = {}
    for number, deadline, resting in handlers:
        context = Context(Host.fixed(wall=0.0, seed=1), deadline=deadline)
        context.task, context.again = tasks[number], now + 1 if resting else 0.0
        running[context] = None
    ended = overdue(running, now)
    assert all(context.deadline <= now and context.again <= now for context in ended)
    for task in tasks:
        late = [context for context in running if context.task is task and context.deadline <= now]
        assert [context for context in ended if context.task is task] == [
            context for context in late[:1] if context.again <= now
        ]


@pytest.mark.virtual_time
async def test_a_deadline_on_a_clock_that_lags_behind_the_loop_comes_all_the_same() -> None:
    loop, chance = cast("Any", asyncio.get_running_loop()), random.Random(7)
    loop.now = 1e6  # so late that the last of the wait is nothing to it

    def lagging() -> float:
        return float(loop.time() - 1e6) * 0.9998

    host = Host("lags", now=lagging, monotonic=lagging, chance=chance, entropy=chance.randbytes)
    deadlines = Deadlines(host)
    context = Context(host, deadline=2.1)

    async def hang() -> None:
        context.task = asyncio.current_task()
        deadlines.inside[context] = None
        deadlines.wait_for(context.deadline)
        try:
            await asyncio.Event().wait()
        finally:
            del deadlines.inside[context]

    with pytest.raises(asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            await group.create_task(hang())
    assert 2.1 <= host.monotonic() < 2.11
    deadlines.close()
