"""The simulated loop: whose turn it is, what time it is, and what a killed process still does, which is nothing."""

import asyncio
import contextvars
import gc
import itertools
import logging
import math
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, strategies as st

from hanse.kernel.faults import Misconfigured
from hanse.sim import loop as module
from hanse.sim.fence import Fenced
from hanse.sim.lane import Lane, SimTask
from hanse.sim.loop import CANCELLED_MIN, Loop, Stuck, require_no_loop
from hanse.sim.quiet import unheard
from hanse.sim.steady import steady

T = TypeVar("T")


def play(main: Callable[[Loop], Coroutine[Any, Any, T]], *, seed: int = 0, shuffle: bool = False) -> T:
    """Run a coroutine, which is given its loop, in a world of its own."""
    loop = Loop(seed, shuffle=shuffle)
    return loop.play(main(loop))


class Victim:
    """Notes whatever it gets to do once it was told to wait."""

    def __init__(self) -> None:
        self.did: list[str] = []

    async def wait(self, awaited: "asyncio.Future[None] | None" = None) -> None:
        self.did.append("begin")
        try:
            await (asyncio.sleep(5) if awaited is None else awaited)
            self.did.append("went on")
        except asyncio.CancelledError:
            self.did.append("cancelled")
            raise
        finally:
            self.did.append("finally")

    async def items(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(1)
        finally:
            self.did.append("generator finally")

    async def read(self) -> None:
        async for _ in self.items():
            pass


# What goes wrong.


def test_a_deadlock_is_found() -> None:
    async def main(loop: Loop) -> None:
        await asyncio.sleep(2)
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match=r"every task waits for another at second 2\.000000.*deadlock"):
        play(main)


def test_a_timer_that_never_fires_is_nothing_to_wait_for() -> None:
    async def main(loop: Loop) -> None:
        await asyncio.sleep(math.inf)

    with pytest.raises(Stuck, match="deadlock"):
        play(main)


def test_a_process_that_spins_is_found() -> None:
    async def main(loop: Loop) -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match=r"client took 1000000 steps at second 0\..*spin"):
        play(main)


def test_processes_that_spin_together_are_found() -> None:
    async def main(loop: Loop) -> None:
        lanes = [Lane(loop, "a"), Lane(loop, "b")]

        def turn(number: int) -> None:
            loop.call_soon(turn, 1 - number, context=lanes[number].context)

        turn(0)
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="spin"):
        play(main)


def test_a_thousand_steps_again_and_again_are_no_spinning() -> None:
    async def main(loop: Loop) -> int:
        for _ in range(3):
            for _ in range(module.STEPS_MAX // 2):
                await asyncio.sleep(0)
            await asyncio.sleep(1)
        return loop.steps

    assert play(main) > module.STEPS_MAX


def test_what_goes_on_for_ever_is_found() -> None:
    async def main(loop: Loop) -> None:
        loop.steps_max = 1000
        for _ in itertools.count():
            await asyncio.sleep(1)

    with pytest.raises(Stuck, match=r"1001 steps were taken by second .* for ever"):
        play(main)


def test_what_nobody_caught_is_remembered_with_its_process() -> None:
    async def main(loop: Loop) -> None:
        def fail() -> None:
            raise Fenced("that")

        loop.call_soon(fail, context=Lane(loop, "a").context)
        loop.call_exception_handler({"message": "something"})
        await asyncio.sleep(1)

    loop = Loop()
    loop.play(main(loop))
    assert [(name, str(error)) for name, error in loop.errors] == [
        ("client", "something"),
        ("a", "that, in a simulated world"),
    ]


def test_an_interrupt_ends_the_loop() -> None:
    async def main(loop: Loop) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        loop.call_soon(interrupt)
        await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        play(main)


async def test_virtual_time_inside_another_loop_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"another one runs here.*virtual_time"):
        Loop().run_forever()
    assert asyncio.get_running_loop().is_running()


def test_a_loop_is_not_entered_twice() -> None:
    async def main(loop: Loop) -> None:
        require_no_loop()

    with pytest.raises(Misconfigured):
        play(main)


def test_a_loop_that_is_stopped_says_so() -> None:
    loop = Loop()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(loop.create_future())


@pytest.mark.parametrize("name", ["create_connection", "subprocess_exec", "add_signal_handler", "set_task_factory"])
def test_what_reaches_out_is_refused_with_what_to_do_instead(name: str) -> None:
    with pytest.raises(Fenced, match=rf"loop\.{name}\(\), in a simulated world; \w+"):
        getattr(Loop(), name)()


def test_every_method_of_a_loop_is_there() -> None:
    inherited = [name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_")]
    missing = [name for name in inherited if getattr(Loop, name) is getattr(asyncio.AbstractEventLoop, name)]
    assert missing == []


# Whose turn it is.


async def _note(notes: list[str], text: str, times: int) -> None:
    for n in range(times):
        notes.append(f"{text}{n}")
        await asyncio.sleep(0)


def test_a_lane_runs_first_in_first_out() -> None:
    async def main(loop: Loop) -> list[str]:
        lane, notes = Lane(loop, "a"), list[str]()
        for name in "xyz":
            lane.start(_note(notes, name, 3))
        await asyncio.sleep(1)
        return notes

    for seed in range(10):
        assert play(main, seed=seed) == ["x0", "y0", "z0", "x1", "y1", "z1", "x2", "y2", "z2"]


def order_of_lanes(seed: int) -> tuple[str, ...]:
    async def main(loop: Loop) -> list[str]:
        notes = list[str]()
        for name in "abcd":
            Lane(loop, name).start(_note(notes, name, 2))
        await asyncio.sleep(1)
        return notes

    return tuple(play(main, seed=seed))


def test_the_seed_chooses_whose_turn_it_is() -> None:
    orders = {order_of_lanes(seed) for seed in range(60)}
    assert len({order[0] for order in orders}) == 4
    assert len(orders) > 12
    assert all(order_of_lanes(seed) == order_of_lanes(seed) for seed in range(5))


def test_a_lane_has_its_turn_until_it_has_nothing_to_do() -> None:
    for seed in range(20):
        order = order_of_lanes(seed)
        assert all(order[n][0] == order[n + 1][0] for n in range(0, 8, 2))


def test_steps_within_a_lane_are_mixed_where_that_is_asked_for() -> None:
    async def main(loop: Loop) -> tuple[str, ...]:
        lane, notes = Lane(loop, "a"), list[str]()
        for name in "xyz":
            lane.start(_note(notes, name, 1))
        await asyncio.sleep(1)
        return tuple(notes)

    assert len({play(main, seed=seed, shuffle=True) for seed in range(40)}) == 6


def test_a_callback_belongs_to_the_lane_of_its_context() -> None:
    async def main(loop: Loop) -> list[str]:
        names = list[str]()
        lane = Lane(loop, "a")

        def note() -> None:
            names.append(loop.lane.name)

        for context in (None, lane.context):
            loop.call_soon(note, context=context)
            loop.call_later(0.5, note, context=context)
        loop.at(0.7, note)
        await lane.start(asyncio.sleep(1))
        note()
        return names

    names = play(main)
    assert sorted(names[:2]) == sorted(names[2:4]) == ["a", "client"]
    assert names[4:] == ["client", "client"]


# What time it is.


def test_an_hour_passes_at_once_and_exactly() -> None:
    async def main(loop: Loop) -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert play(main) == 3600.0


def test_a_lane_has_a_clock_of_its_own() -> None:
    async def main(loop: Loop) -> tuple[float, float, float]:
        lane = Lane(loop, "a", rate=2.0, offset=100.0)

        async def wait() -> float:
            await asyncio.sleep(10)
            return loop.time()

        at_end = await lane.start(wait())
        return at_end, loop.time(), loop.now

    assert play(main) == (110.0, 5.0, 5.0)


def test_a_delay_counts_on_the_clock_of_the_context() -> None:
    async def main(loop: Loop) -> list[float]:
        moments = list[float]()
        lane = Lane(loop, "a", rate=2.0, offset=100.0)
        loop.call_later(10, lambda: moments.append(loop.now), context=lane.context)
        await asyncio.sleep(20)
        return moments

    assert play(main) == [5.0]


_times = st.floats(min_value=0.0, max_value=1e7)


@given(_times, st.floats(min_value=0.0, max_value=1e5), st.floats(0.5, 2.0), st.floats(-1e4, 1e4))
@example(0.0, 1e-9, 1.0001, 100.0)
@example(1e6, 1e-3, 1 / 1.0001, 0.1)
def test_a_clock_never_shows_less_than_was_waited_for(now: float, delay: float, rate: float, offset: float) -> None:
    loop = Loop()
    loop.now = now
    lane = Lane(loop, "a", rate=rate, offset=offset)
    wanted = lane.time() + delay
    moment = lane.moment(wanted)
    loop.now = moment
    assert lane.time() >= wanted
    assert lane.time() <= wanted + 1e-6
    assert moment >= now - 1e-6


def test_timers_of_one_moment_fire_in_the_order_in_which_they_were_set() -> None:
    async def main(loop: Loop) -> list[int]:
        fired = list[int]()
        for n in range(50):
            loop.call_at(1.0, fired.append, n)
        await asyncio.sleep(2)
        return fired

    assert play(main) == list(range(50))


def test_a_timer_tells_when_it_fires_and_whether_it_was_cancelled() -> None:
    loop = Loop()
    timer = loop.call_later(2.5, print)
    assert (timer.when(), timer.cancelled()) == (2.5, False)
    timer.cancel()
    timer.cancel()
    assert timer.cancelled()


def test_cancelled_timers_are_cleared() -> None:
    async def main(loop: Loop) -> int:
        kept = [loop.call_later(50, print) for _ in range(10)]
        for _ in range(100 * CANCELLED_MIN):
            loop.call_later(100, print).cancel()
        for timer in kept:
            timer.cancel()
        return len(loop._timers)

    assert play(main) <= 3 * CANCELLED_MIN


def test_what_is_cancelled_does_not_run() -> None:
    async def main(loop: Loop) -> list[str]:
        ran = list[str]()
        loop.call_soon(ran.append, "soon").cancel()
        timers = list[asyncio.TimerHandle]()

        def cancel() -> None:
            timers[1].cancel()

        timers.append(loop.call_at(1.0, cancel))
        timers.append(loop.call_at(1.0, ran.append, "at the same moment"))
        await asyncio.sleep(2)
        assert [timer.cancelled() for timer in timers] == [False, True]
        return ran

    assert play(main) == []


def test_a_process_that_is_paused_stands_still_and_then_goes_on() -> None:
    async def main(loop: Loop) -> list[float]:
        lane, beats = Lane(loop, "a"), list[float]()

        async def beat() -> None:
            while loop.now < 10:
                beats.append(loop.now)
                await asyncio.sleep(1)

        lane.start(beat())
        await asyncio.sleep(2.5)
        lane.pause(4)
        lane.pause(1)
        await asyncio.sleep(10)
        return beats

    assert play(main) == [0, 1, 2, 6.5, 7.5, 8.5, 9.5]


def test_a_process_may_pause_itself() -> None:
    async def main(loop: Loop) -> list[float]:
        lane, beats = Lane(loop, "a"), list[float]()

        async def beat() -> None:
            lane.pause(3)
            await asyncio.sleep(0)
            beats.append(loop.now)

        lane.start(beat())
        await asyncio.sleep(10)
        return beats

    assert play(main) == [3]


# What a killed process does.


def test_a_killed_process_does_nothing_any_more() -> None:
    async def main(loop: Loop) -> list[str]:
        lane, victim = Lane(loop, "a"), Victim()
        awaited = loop.create_future()
        for coroutine in (victim.wait(), victim.wait(awaited), victim.read()):
            lane.start(coroutine)
        await asyncio.sleep(2.5)
        lane.kill()
        awaited.set_result(None)
        await asyncio.sleep(100)
        return list(victim.did)

    assert play(main) == ["begin", "begin"]


def test_a_process_may_be_killed_in_its_own_turn() -> None:
    async def main(loop: Loop) -> list[str]:
        lane, victim = Lane(loop, "a"), Victim()

        async def end() -> None:
            lane.kill()
            victim.did.append("until it waits")
            await asyncio.sleep(0)
            victim.did.append("further")

        lane.start(end())
        lane.start(victim.wait())
        await asyncio.sleep(10)
        return list(victim.did)

    assert play(main) == ["until it waits"]


def test_a_process_killed_while_paused_stays_dead() -> None:
    async def main(loop: Loop) -> list[str]:
        lane, victim = Lane(loop, "a"), Victim()
        lane.start(victim.wait())
        await asyncio.sleep(1)
        lane.pause(10)
        lane.kill()
        await asyncio.sleep(100)
        return list(victim.did)

    assert play(main) == ["begin"]


def test_what_a_dead_process_starts_is_nobodys() -> None:
    async def main(loop: Loop) -> tuple[list[str], int]:
        lane, victim = Lane(loop, "a"), Victim()
        lane.kill()
        lane.start(victim.wait())
        loop.call_later(1, victim.did.append, "later", context=lane.context)
        loop.call_soon(victim.did.append, "soon", context=lane.context)
        await asyncio.sleep(10)
        return list(victim.did), len(asyncio.all_tasks())

    assert play(main) == ([], 1)


def test_the_living_do_not_wait_for_the_dead() -> None:
    """Whoever ends the loop cancels and awaits all tasks; a dead one would never end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        lane = Lane(loop, "a")
        lane.start(Victim().wait())
        await asyncio.sleep(1)
        lane.kill()

    with unheard(), asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


def test_nothing_is_said_when_graves_are_cleared(caplog: pytest.LogCaptureFixture) -> None:
    said = list[object]()
    hook, sys.unraisablehook = sys.unraisablehook, said.append
    victim = Victim()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(100)

    async def never() -> None:
        raise AssertionError("it never runs")

    held = list[object]()

    async def main(loop: Loop) -> None:
        lane = Lane(loop, "a")
        for coroutine in (victim.read(), stubborn(), stubborn()):
            # As the traceback of a test that failed does.
            held.append((lane.start(coroutine), coroutine))
        await asyncio.sleep(1)
        loop.call_later(1, print, never(), context=lane.context)
        lane.start(never())
        lane.kill()
        lane.start(never())
        await asyncio.sleep(5)
        loop.bury([lane])
        await asyncio.sleep(5)

    try:
        with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
            warnings.simplefilter("always")
            loop = Loop()
            loop.play(main(loop))
            held.clear()
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert (said, warned, caplog.records, loop.errors) == ([], [], [], [])


def test_a_generator_that_nobody_reads_any_more_is_closed() -> None:
    async def main(loop: Loop) -> list[str]:
        victim = Victim()
        async for _ in victim.items():
            break
        await asyncio.sleep(0.1)
        return list(victim.did)

    assert play(main) == ["generator finally"]


def test_a_generator_of_a_dead_process_is_not_closed() -> None:
    async def main(loop: Loop) -> list[str]:
        victim, held = Victim(), list[AsyncIterator[int]]()
        lane = Lane(loop, "a")

        async def read_one() -> None:
            held.append(victim.items())
            await anext(held[0])

        await lane.start(read_one())
        lane.kill()
        held.clear()
        await asyncio.sleep(10)
        return list(victim.did)

    assert play(main) == []


# What asyncio needs.


def test_a_function_runs_as_in_a_thread_and_a_moment_later() -> None:
    async def main(loop: Loop) -> tuple[str, float]:
        name = contextvars.ContextVar[str]("name")
        name.set("seen")
        return await asyncio.to_thread(name.get), loop.now

    result, moment = play(main)
    assert result == "seen"
    assert 0.0 < moment <= module.THREAD_SECONDS_MAX


@pytest.mark.parametrize("error", [ValueError("no"), Fenced("open('a', 'w')"), SystemExit(3)])
def test_what_a_function_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    async def main(loop: Loop) -> BaseException:
        def fail() -> None:
            raise error

        try:
            await asyncio.to_thread(fail)
        except BaseException as raised:  # noqa: BLE001 - that is the question
            return raised
        raise AssertionError("it was not raised")

    assert play(main) is error


def test_a_function_that_nobody_waits_for_any_more_does_not_run() -> None:
    async def main(loop: Loop) -> list[str]:
        ran = list[str]()
        loop.run_in_executor(None, ran.append, "ran").cancel()
        await asyncio.sleep(1)
        return ran

    assert play(main) == []


def test_tasks_of_asyncio_work_as_they_do() -> None:
    async def main(loop: Loop) -> list[object]:
        found = list[object]()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.sleep(100)
        found.append(round(loop.now))
        # After the limit: up to Python 3.11.2 a group leaves its task as if it had been cancelled.
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - a group ends where its block does
            async with asyncio.TaskGroup() as group:
                other = group.create_task(asyncio.sleep(100))
                group.create_task(asyncio.to_thread(partial(int, "x")))
        found.append(other.cancelled())
        done, pending = await asyncio.wait({asyncio.ensure_future(asyncio.sleep(n, n)) for n in (1, 9)}, timeout=5)  # noqa: TID251
        found.append((len(done), len(pending)))
        found.append(await asyncio.gather(*pending))
        return found

    assert play(main) == [3, True, (1, 1), [9]]


def test_a_loop_tells_about_itself() -> None:
    async def main(loop: Loop) -> tuple[bool, bool]:
        return loop.is_running(), loop.get_debug()

    loop = Loop()
    loop.set_debug(True)
    assert (loop.is_running(), loop.is_closed()) == (False, False)
    assert loop.play(main(loop)) == (True, False)
    assert (loop.is_running(), loop.is_closed()) == (False, True)
    loop.get_task_factory()
    loop.get_exception_handler()
    loop.default_exception_handler({"message": "closed, and so not heard"})
    assert loop.errors == []


def test_places_in_sets_do_not_depend_on_addresses() -> None:
    async def main(loop: Loop) -> list[list[int]]:
        tasks = [SimTask(asyncio.sleep(0), loop, None, contextvars.copy_context()) for _ in range(200)]
        futures = [loop.create_future() for _ in range(200)]
        found = [[tasks.index(task) for task in set(tasks)], [futures.index(future) for future in set(futures)]]
        await asyncio.gather(*tasks)
        return found

    garbage = [object() for _ in range(1000)]
    first = play(main)
    del garbage
    assert play(main) == first


ORDER = """
import asyncio, hashlib
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.steady import steady

async def child(n, notes):
    try:
        await asyncio.sleep(0.001 * (n % 7))
        notes.append(f"child {n}")
        if n == 5:
            raise ValueError(n)
    except asyncio.CancelledError:
        notes.append(f"cancelled {n}")
        raise

async def answer(n):
    await asyncio.sleep(0)
    return n

async def main(notes):
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(200):
                group.create_task(child(n, notes))
    except* ValueError:
        pass
    for coroutine in asyncio.as_completed([answer(n) for n in range(50)]):
        notes.append(f"completed {await coroutine}")
    tasks = {loop.create_task(child(n, notes)) for n in range(100) if n != 5}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    notes += [f"done {task.get_name()}" for task in done] + [f"pending {task.get_name()}" for task in pending]
    # What lies in memory between them, and so their addresses, depends on the seed of hashes.
    junk, gathered = [], set()
    for k in range(1, 60):
        junk.append([bytearray(hash(f"{k} {n}") % 600) for n in range(hash(str(k)) % 50)])
        gathered.add(asyncio.gather(*(answer(n) for n in range(k))))
    done, _ = await asyncio.wait(gathered)
    notes += [f"gathered {gathering.result()}" for gathering in done]
    for name in "abcdef":
        Lane(loop, name).start(child(ord(name), notes))
    await asyncio.sleep(1)
    notes += [str(one) for one in await asyncio.gather(*(asyncio.to_thread(loop.time) for _ in range(20)))]
    for task in [loop.create_task(asyncio.sleep(100)) for _ in range(50)]:
        task.add_done_callback(lambda task: notes.append(f"ended {task.get_name()}"))

notes = []
with steady(), asyncio.Runner(loop_factory=lambda: Loop(7)) as runner:
    runner.run(main(notes))
print(len(notes), hashlib.sha256("\\n".join(notes).encode()).hexdigest())
"""


def test_the_order_is_the_same_in_every_process() -> None:
    """Sets of tasks, groups, whatever is waited for: by no address, and by no hash of a string."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", ORDER],
            env={**os.environ, "PYTHONHASHSEED": seed, "PADDING": "x" * int(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2718", "31415")
    }
    assert len(printed) == 1
    assert int(printed.pop().split()[0]) > 500


def test_what_steadies_a_run_is_taken_back() -> None:
    gathering = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
    before, collecting, hashing = asyncio.as_completed, gc.isenabled(), gathering.__hash__
    with steady():
        assert not gc.isenabled()
        steadied = asyncio.as_completed
        with steady():
            pass
        assert asyncio.as_completed is steadied is not before
        assert gathering.__hash__ is not hashing
        assert not gc.isenabled()
    assert asyncio.as_completed is before
    assert gathering.__hash__ is hashing
    assert gc.isenabled() == collecting
