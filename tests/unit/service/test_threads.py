"""Turns for what blocks: who is told, who waits, and that nothing keeps a process from ending."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from hanse import Overloaded
from hanse.service import threads as module
from hanse.service.threads import Daemons, Threads

HANGS = """
import threading
from hanse.service.threads import Daemons
begun = threading.Event()
def hang():
    begun.set()
    threading.Event().wait()
Daemons(1).submit(hang)
begun.wait()
"""


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", HANGS], timeout=30, check=False).returncode == 0


async def test_too_many_that_wait_are_told() -> None:
    threads, gate = Threads(1), threading.Event()
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(threads.run(gate.wait)) for _ in range(module.WAITING_MAX + 1)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="jobs that wait"):
            await threads.run(gate.wait)
        gate.set()

    assert all(job.result() for job in jobs)


async def test_what_a_job_raises_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    threads = Threads(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run(fail)


async def test_a_turn_on_the_loop_excludes_threads() -> None:
    threads, order = Threads(1), list[str]()
    async with asyncio.TaskGroup() as group, threads.turn():
        group.create_task(threads.run(lambda: order.append("thread")))
        await asyncio.sleep(0)
        order.append("loop")

    assert order == ["loop", "thread"]


async def test_what_is_closed_takes_no_more() -> None:
    threads = Threads(1)
    threads.close()
    for _ in range(2):  # the turn is given back
        with pytest.raises(RuntimeError, match="after shutdown"):
            await threads.run(int)


def test_no_more_threads_than_there_may_be_and_as_few_as_will_do() -> None:
    daemons = Daemons(3, "few")
    for _ in range(10):
        assert daemons.submit(sorted, [2, 1]).result() == [1, 2]
    few = alive("few")
    gate = threading.Barrier(3)
    jobs = [daemons.submit(gate.wait, 10) for _ in range(6)]

    assert sorted(job.result() for job in jobs) == [0, 0, 1, 1, 2, 2]
    assert few <= alive("few") <= 3


def test_a_job_that_was_cancelled_is_not_done() -> None:
    daemons, gate, done = Daemons(1), threading.Event(), list[int]()
    first = daemons.submit(gate.wait)
    second = daemons.submit(done.append, 1)
    assert second.cancel()
    gate.set()

    assert first.result()
    assert daemons.submit(len, done).result() == 0


@pytest.mark.parametrize("end", [lambda daemons: daemons.shutdown(), lambda _: None], ids=["closed", "dropped"])
def test_threads_end_with_their_executor(end: Callable[[Daemons], None]) -> None:
    daemons = Daemons(2, "gone")
    daemons.submit(int).result()
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("gone")]
    end(daemons)
    del daemons
    gc.collect()
    for thread in mine:
        thread.join(10)

    assert alive("gone") == 0


def alive(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())
