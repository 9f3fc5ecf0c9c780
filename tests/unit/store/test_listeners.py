"""Waking those who wait for commits."""

import asyncio
from collections.abc import Callable

import pytest

from hanse.kernel.faults import Overloaded
from hanse.store.base import Batch, Delete, Emit, Put, Write
from hanse.store.listeners import LATE_SECONDS, LISTENERS_MAX, Listeners

WRITES: dict[str, Write] = {
    "put": Put("orders", "1", b"{}", "m1"),
    "delete": Delete("orders", "1", "m1"),
    "emit": Emit("orders", "1", b"{}", "m1"),
}
OTHER = Batch(0.0, writes=(Put("items", "1", b"{}", "m2"),))


async def turn() -> None:
    """Let callbacks that are due run, and those that they made due."""
    for _ in range(3):
        await asyncio.sleep(0)


def fail() -> None:
    raise IndexError


async def test_commits_of_one_turn_wake_once() -> None:
    listeners, woken = Listeners(), list[int]()
    listeners.add(lambda: woken.append(1))
    for _ in range(5):
        listeners.wake(asyncio.get_running_loop())
    await turn()
    assert woken == [1]


async def test_a_listener_that_stops_another_spares_it() -> None:
    listeners, woken = Listeners(), list[str]()
    stops: list[Callable[[], None]] = []

    def stop_the_other() -> None:
        stops[0]()

    listeners.add(stop_the_other)
    stops.append(listeners.add(lambda: woken.append("second")))
    listeners.wake(asyncio.get_running_loop())
    await turn()
    assert woken == []


async def test_a_listener_that_raises_does_not_keep_others_asleep() -> None:
    listeners, woken = Listeners(), list[str]()
    problems: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, problem: problems.append(problem["exception"]))
    listeners.add(fail)
    listeners.add(lambda: woken.append("second"))
    listeners.wake(loop)
    await turn()
    assert woken == ["second"]
    assert [type(problem) for problem in problems] == [IndexError]


@pytest.mark.parametrize("write", WRITES)
async def test_a_commit_wakes_those_who_asked_for_one_of_its_names(write: str) -> None:
    listeners, woken, loop = Listeners(), list[str](), asyncio.get_running_loop()
    listeners.add(lambda: woken.append("orders"), ["letters", "orders"])
    listeners.add(lambda: woken.append("items"), ["items"])
    listeners.add(lambda: woken.append("all"))
    listeners.wake(loop, (Batch(0.0, writes=(WRITES[write],)),))
    await turn()
    assert woken == ["orders", "all"]
    listeners.rest()


async def test_what_is_committed_in_one_turn_wakes_all_who_asked_for_any_of_it() -> None:
    listeners, woken, loop = Listeners(), list[str](), asyncio.get_running_loop()
    listeners.add(lambda: woken.append("orders"), ["orders"])
    listeners.add(lambda: woken.append("items"), ["items"])
    listeners.wake(loop, (OTHER,))
    listeners.wake(loop, (Batch(0.0, writes=(WRITES["put"],)),))
    await turn()
    assert woken == ["orders", "items"]


async def test_commits_of_others_wake_everybody() -> None:
    listeners, woken, loop = Listeners(), list[str](), asyncio.get_running_loop()
    listeners.add(lambda: woken.append("orders"), ["orders"])
    listeners.wake(loop, (OTHER,))
    listeners.wake(loop)
    await turn()
    assert woken == ["orders"]


@pytest.mark.virtual_time
class TestWhoSleepsThroughCommits:
    async def test_is_woken_late_and_once(self) -> None:
        listeners, woken, loop = Listeners(), list[float](), asyncio.get_running_loop()
        listeners.add(lambda: woken.append(loop.time()), ["orders"])
        for _ in range(5):
            listeners.wake(loop, (OTHER,))
            await asyncio.sleep(LATE_SECONDS / 10)
        await asyncio.sleep(10 * LATE_SECONDS)
        assert woken == [LATE_SECONDS]

    async def test_is_not_woken_late_for_what_it_has_seen(self) -> None:
        listeners, woken, loop = Listeners(), list[float](), asyncio.get_running_loop()
        listeners.add(lambda: woken.append(loop.time()), ["orders"])
        listeners.wake(loop, (OTHER,))
        await asyncio.sleep(1)
        listeners.wake(loop, (Batch(0.0, writes=(WRITES["put"],)),))
        await asyncio.sleep(10 * LATE_SECONDS)
        assert woken == [1.0]

    async def test_sleeps_on_where_it_stopped_or_the_store_is_closed(self) -> None:
        listeners, woken, loop = Listeners(), list[int](), asyncio.get_running_loop()
        stop = listeners.add(lambda: woken.append(1), ["orders"])
        listeners.wake(loop, (OTHER,))
        await turn()
        stop()
        await asyncio.sleep(10 * LATE_SECONDS)
        listeners.add(lambda: woken.append(2), ["orders"])
        listeners.wake(loop, (OTHER,))
        await turn()
        listeners.rest()
        listeners.rest()
        await asyncio.sleep(10 * LATE_SECONDS)
        assert woken == []


def test_there_is_a_limit_of_listeners() -> None:
    listeners = Listeners()
    for _ in range(LISTENERS_MAX):
        listeners.add(lambda: None)
    with pytest.raises(Overloaded, match="10000 listeners"):
        listeners.add(lambda: None)
    assert len(listeners) == LISTENERS_MAX
