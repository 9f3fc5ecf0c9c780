"""Waking those who wait for commits."""

import asyncio
from collections.abc import Callable

import pytest

from hanse.kernel.faults import Overloaded
from hanse.store.listeners import LISTENERS_MAX, Listeners


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


def test_there_is_a_limit_of_listeners() -> None:
    listeners = Listeners()
    for _ in range(LISTENERS_MAX):
        listeners.add(lambda: None)
    with pytest.raises(Overloaded, match="10000 listeners"):
        listeners.add(lambda: None)
    assert len(listeners) == LISTENERS_MAX
