"""An event loop whose time is virtual and whose schedule follows a seed.

Every callback belongs to a lane, which stands for one process: its context says which. A lane runs first in, first
out, exactly as asyncio does; the seed chooses which lane's turn it is. So every schedule that is explored is one that
production, with a process per node, could show. Nothing passes between processes in no time at all, so a lane whose
turn it is runs until it has nothing left to do at this moment: no finer mixture could be told from that.

Time moves on when no lane has anything to do. Nothing real is waited for: there are no threads or signals, and no
sockets but those between simulated machines, where a world has any.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, TypeVarTuple, cast

from hanse.kernel.faults import Misconfigured
from hanse.sim.chance import Draws
from hanse.sim.connecting import Connecting
from hanse.sim.lane import Handle, Lane, SimFuture, SimTask, current_lane
from hanse.sim.quiet import unheard

_set_running_loop = asyncio._set_running_loop
_awaitable: Any = asyncio.ensure_future  # noqa: TID251 - this is what owns the tasks here

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX = 1_000_000
"""Steps without time passing; then whoever takes them is taken to be spinning."""

CANCELLED_MIN = 1_000
"""Cancelled timers kept at least before the heap is rid of them."""

THREAD_SECONDS_MAX = 0.002
"""Longest time that a function given to an executor takes."""


class Stuck(Exception):
    """The world cannot go on: everything waits for something else, or a lane spins without time passing."""


class Loop(Connecting):
    """See the module.

    Attributes:
        now: Second of the world's clock.
        steps: Callbacks run so far.
        home: The lane of whatever belongs to no process: the world and its story.
        lane: The lane whose turn it is.
        errors: Exceptions that nobody caught, with the name of the lane.
        dead: The lanes that were killed.
        steps_max: Callbacks that it runs at most, before it takes what it runs to be without end.
    """

    def __init__(self, seed: int = 0, *, shuffle: bool = False) -> None:
        """Start at second 0, with nothing to do.

        Args:
            seed: Decides whose turn it is.
            shuffle: Also mixes the steps within a lane. That is more than production does, so what it finds may be
                no mistake.
        """
        self.now: float = 0.0
        self.steps: int = 0
        self.tasks_made: int = 0
        self.futures_made: int = 0
        self.errors: list[tuple[str, BaseException | str]] = []
        self.dead: list[Lane] = []
        self.steps_max: int = sys.maxsize
        self.home: Lane = Lane(self, "client")
        self.lane: Lane = self.home
        self._shuffle = shuffle
        self._draws = Draws(seed, "schedule")
        self._seed = seed
        self._threads: dict[str, Draws] = {}
        # By their addresses, since they are out of reach of weak references by the time that they are asked for. One
        # that ends by itself leaves its entry to whichever generator has the address next.
        self._owners: dict[int, Lane] = {}
        self._ready: list[Lane] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._forgotten = 0
        self._steps_before = 0
        self._running = False
        self._stopping = False
        self._closed = False
        self._burying = False

    # What the world uses.

    def ready(self, lane: Lane) -> None:
        """Give a lane a turn, if it has something to do and may."""
        if lane.queue and not lane.queued and lane.paused_until <= self.now:
            lane.queued = True
            self._ready.append(lane)

    def at(
        self, moment: float, callback: Callable[[*Ts], object], *args: *Ts, lane: Lane | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a moment of the world's clock, on a lane; by default, on that of the world."""
        lane = lane or self.home
        return self._at(max(moment, self.now), callback, args, lane.context, lane)

    def bury(self, lanes: list[Lane]) -> None:
        """Let go of what was under way in dead lanes: whatever it does in its last moments goes nowhere."""
        burying, self._burying = self._burying, True
        try:
            with unheard():
                for lane in lanes:
                    lane.bury()
                _ = gc.collect()
        finally:
            self._burying = burying

    def play(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and let nothing outlive it; the loop cannot be used again.

        Raises:
            Stuck: Nothing is left that could complete it.
        """
        try:
            return cast("T", self.run_until_complete(self.create_task(main, name="main")))
        finally:
            self.home.kill()
            self.close()

    # What asyncio needs.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """See `asyncio.loop.call_soon`: on the lane of the context."""
        if context is None:
            context = copy_context()
        lane = context.get(current_lane, self.home)
        handle = Handle(callback, args, context, lane, self, -1.0)
        if not lane.alive:
            lane.grave.append(handle)
            return handle
        lane.queue.append(handle)
        if not lane.queued and lane.paused_until <= self.now:
            lane.queued = True
            self._ready.append(lane)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_later`."""
        if context is None:
            context = copy_context()
        when = context.get(current_lane, self.home).time() + delay
        return self.call_at(when, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at`: at a time of the lane's clock."""
        if context is None:
            context = copy_context()
        lane = context.get(current_lane, self.home)
        moment = lane.moment(when)
        if moment <= self.now:
            return cast("asyncio.TimerHandle", self.call_soon(callback, *args, context=context))
        return self._at(moment, callback, args, context, lane)

    def time(self) -> float:
        """Second of the clock of the lane whose turn it is."""
        return self.now * self.lane.rate + self.lane.offset

    def create_future(self) -> asyncio.Future[Any]:
        """See `asyncio.loop.create_future`."""
        return SimFuture(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """See `asyncio.loop.create_task`: on the lane of the context."""
        return SimTask(coro, self, name, copy_context() if context is None else context)

    def run_in_executor(self, executor: object, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run a function on the lane itself, a moment later: there are no threads."""
        del executor
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)

        _ = self.call_later(self._thread().between(0.0, THREAD_SECONDS_MAX), run)
        return future

    def _thread(self) -> Draws:
        """How long the threads of the lane take."""
        name = self.lane.name
        draws = self._threads.get(name)
        if draws is None:
            draws = self._threads[name] = Draws(self._seed, "threads", name)
        return draws

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 - as asyncio has it
        """See `asyncio.loop.run_until_complete`.

        Raises:
            Stuck: Nothing is left that could complete it.
            RuntimeError: The loop was stopped before.
        """
        made = not asyncio.isfuture(future)
        awaited: asyncio.Future[Any] = _awaitable(future, loop=self)
        awaited.add_done_callback(self._done, context=self.home.context)
        try:
            self.run_forever()
        except BaseException:
            if made and not awaited.done():
                awaited._log_destroy_pending = False  # type: ignore[attr-defined]
            raise
        finally:
            awaited.remove_done_callback(self._done)
        if not awaited.done():
            raise RuntimeError("the loop was stopped before what it was to run was done")
        return awaited.result()

    def run_forever(self) -> None:
        """Run until `stop`.

        Raises:
            Stuck: Nothing is left to do, nor to wait for.
            Misconfigured: Another loop runs already in this thread.
        """
        require_no_loop()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._own, finalizer=self._finalize)
        _set_running_loop(self)
        self._running, self._stopping = True, False
        try:
            ready = self._ready
            while not self._stopping:
                if not ready:
                    self._advance()
                elif len(ready) == 1:
                    self._turn(ready.pop())
                else:
                    self._turn(self._choose())
        finally:
            self._running, self.lane = False, self.home
            _set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def stop(self) -> None:
        """See `asyncio.loop.stop`."""
        self._stopping = True

    def close(self) -> None:
        """See `asyncio.loop.close`: what is left of dead lanes goes with it."""
        self._closed = self._burying = True
        with unheard():
            self._timers.clear()
        self._ready.clear()
        if any(lane.fallen or lane.grave for lane in self.dead):
            self.bury(self.dead)

    def is_running(self) -> bool:
        """See `asyncio.loop.is_running`."""
        return self._running

    def is_closed(self) -> bool:
        """See `asyncio.loop.is_closed`."""
        return self._closed

    get_debug: Callable[[], bool] = bool  # pyright: ignore[reportIncompatibleMethodOverride] - callers cannot tell
    """Never: what debugging costs and says has no place here. `bool()` says so without a frame of its own, as each
    future asks for it."""

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - as asyncio has it
        """See `get_debug`."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing is kept of generators."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remember what nobody caught."""
        if self.lane.alive and not self._burying:
            self.errors.append((self.lane.name, context.get("exception") or str(context.get("message"))))

    def forgotten(self) -> None:
        """A timer was cancelled."""
        self._forgotten += 1
        if self._forgotten > CANCELLED_MIN and self._forgotten > len(self._timers) // 2:
            self._timers = [timer for timer in self._timers if timer[2].callback is not None]
            heapq.heapify(self._timers)
            self._forgotten = 0

    def _done(self, future: asyncio.Future[Any]) -> None:
        del future
        self._stopping = True

    def _choose(self) -> Lane:
        """Draw one of several lanes."""
        ready = self._ready
        chosen = int(self._draws.draw() * len(ready))
        lane, ready[chosen] = ready[chosen], ready[-1]
        _ = ready.pop()
        return lane

    def _turn(self, lane: Lane) -> None:
        """Run a lane until it has nothing to do at this moment."""
        self.lane = lane
        lane.queued = False
        queue, now, most = lane.queue, self.now, self._steps_before + STEPS_MAX
        while queue and lane.paused_until <= now:
            if self._shuffle and len(queue) > 1:
                queue.rotate(-int(self._draws.draw() * len(queue)))
            handle = queue.popleft()
            callback, context = handle.callback, handle.context
            if callback is None or context is None:
                continue
            self.steps = steps = self.steps + 1
            try:
                _ = context.run(callback, *handle.args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio does: the loop goes on, the error is told
                self.call_exception_handler({"exception": error})
            if self._stopping:
                break
            if steps > most:
                raise Stuck(f"{lane.name} took {STEPS_MAX} steps at second {self.now:.6f}; does it spin on sleep(0)?")
        self.lane = self.home
        if queue:
            self.ready(lane)

    def _advance(self) -> None:
        """Let time pass until the next timer."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            _ = heapq.heappop(timers)
        if not timers or timers[0][0] == math.inf:
            raise Stuck(f"every task waits for another at second {self.now:.6f}, and no timer is set: a deadlock")
        if self.steps > self.steps_max:
            raise Stuck(f"{self.steps} steps were taken by second {self.now:.6f}; does something try again for ever?")
        self._steps_before = self.steps
        self.now = now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            handle.moment = -1.0
            lane = handle.lane
            if handle.callback is None:
                continue
            if lane.alive:
                lane.queue.append(handle)
                if not lane.queued and lane.paused_until <= now:
                    lane.queued = True
                    self._ready.append(lane)
            else:
                lane.grave.append(handle)

    def _at(
        self, moment: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context, lane: Lane
    ) -> asyncio.TimerHandle:
        handle = Handle(callback, args, context, lane, self, moment)
        self._count += 1
        heapq.heappush(self._timers, (moment, self._count, handle))
        # asyncio wants a class of its own, and asks only for its methods.
        return handle  # type: ignore[return-value]

    def _own(self, generator: AsyncGenerator[Any, Any]) -> None:
        """A generator is read for the first time."""
        self._owners[id(generator)] = self.lane

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """A generator that nobody reads any more is closed, by the process that began to read it."""
        lane = self._owners.pop(id(generator), None)
        if lane is not None and lane.alive and self._running and not self._burying:
            _ = lane.start(generator.aclose())


def require_no_loop() -> None:
    """Make sure that no loop runs in this thread, such as that of a test.

    Raises:
        Misconfigured: One does.
    """
    if asyncio._get_running_loop() is not None:
        raise Misconfigured(
            "virtual time needs a loop of its own, and another one runs here: call this from a plain function, as in a "
            "test that is no `async def`; or mark the test `virtual_time`, which makes its loop a simulated one"
        )
