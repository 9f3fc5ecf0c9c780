"""A process, as the simulated loop sees it: a lane with its queue, its clock, its tasks and its end.

Which lane a callback, a task or a future belongs to, its context says. A lane that is killed does nothing any more, not
even a `finally`: its coroutines are kept as they are, in a grave, until the world is over.
"""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, TypeVar, TypeVarTuple, cast, final

import msgspec

from hanse.sim.walls import Walls

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class Lane:
    """One process, as the loop sees it.

    Attributes:
        name: Of the machine.
        alive: Whether it still runs.
        context: What the tasks that it starts begin with.
        grave: What was to run when it was killed, and since.
        fallen: Its tasks that were under way when it was killed, and since.
        rate, offset: How its clock relates to the world's: `rate * world + offset`.
    """

    __slots__ = (
        "_loop",
        "alive",
        "context",
        "fallen",
        "grave",
        "name",
        "offset",
        "paused_until",
        "queue",
        "queued",
        "rate",
    )

    def __init__(self, loop: Turns, name: str, *, rate: float = 1.0, offset: float = 0.0) -> None:
        self._loop = loop
        self.name: str = name
        self.rate: float = rate
        self.offset: float = offset
        self.alive: bool = True
        self.paused_until: float = 0.0
        self.queue: deque[Handle] = deque()
        self.queued: bool = False
        self.grave: list[object] = []
        self.fallen: list[SimTask[Any]] = []
        self.context: Context = Context()
        self.context.run(current_lane.set, self)

    def time(self) -> float:
        """Second of its own monotonic clock."""
        return self._loop.now * self.rate + self.offset

    def moment(self, time: float) -> float:
        """The first moment of the world's clock at which its own shows `time` or more."""
        if self.rate == 1.0 and self.offset == 0.0:
            return time
        moment = (time - self.offset) / self.rate
        while moment * self.rate + self.offset < time:
            moment = math.nextafter(moment, math.inf)
        return moment

    def start(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a task of this process; one that is dead buries it."""
        return SimTask(coroutine, self._loop, name, self.context.copy())

    def pause(self, seconds: float) -> None:
        """Stand still for some seconds of the world's clock."""
        self.paused_until = max(self.paused_until, self._loop.now + seconds)
        _ = self._loop.at(self.paused_until, self._loop.ready, self)

    def kill(self) -> None:
        """End it as by `kill -9`: nothing of it runs any more."""
        if self.alive:
            self._loop.dead.append(self)
        self.alive = False
        mine = [task for task in asyncio.all_tasks(self._loop) if isinstance(task, SimTask) and task.lane is self]
        for task in mine:
            forget(task)
        self.fallen += mine
        self.grave += self.queue
        self.queue.clear()

    def bury(self) -> None:
        """End what was under way, as far as it can be: whoever still holds a coroutine must not see it complain."""
        while self.fallen:
            coroutine = cast("Coroutine[Any, Any, Any]", self.fallen.pop().get_coro())
            # In its own context: what its last moments begin is begun by a dead process.
            with suppress(BaseException):
                self.context.run(coroutine.close)
        self.grave.clear()


class SimTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, coro: Coroutine[Any, Any, T], loop: Turns, name: str | None, context: Context) -> None:
        loop.tasks_made += 1
        self.number: int = loop.tasks_made
        self.lane: Lane = context.get(current_lane, loop.home)
        super().__init__(coro, loop=loop, name=name or f"task-{self.number}", context=context)
        if not self.lane.alive:
            self.lane.fallen.append(self)
            forget(self)

    def __hash__(self) -> int:
        """Counts within the loop."""
        return self.number


class SimFuture(asyncio.Future[T]):
    """A future whose place in a set does not depend on its address."""

    number: int = 0

    def __hash__(self) -> int:
        """Counts within the loop those that were ever put into a set, as few are."""
        if not self.number:
            loop = cast("Turns", self.get_loop())
            loop.futures_made += 1
            self.number = loop.futures_made
        return self.number


class Handle(msgspec.Struct, eq=False):
    """A callback that will run, unless it is cancelled or its lane dies."""

    # A struct, since one is made for each step.
    callback: Callable[..., object] | None
    args: tuple[Any, ...]
    context: Context | None
    lane: Lane
    loop: Turns
    moment: float

    def cancel(self) -> None:
        """See `asyncio.Handle.cancel`."""
        if self.callback is not None:
            self.callback = self.context = None
            self.args = ()
            if self.moment >= 0.0:
                self.loop.forgotten()

    def cancelled(self) -> bool:
        """See `asyncio.Handle.cancelled`."""
        return self.callback is None

    def when(self) -> float:
        """See `asyncio.TimerHandle.when`."""
        return self.moment * self.lane.rate + self.lane.offset


class Turns(Walls):
    """The loop, as the lanes know it whose turns it gives.

    Attributes:
        now: Second of the world's clock.
        home: The lane of whatever belongs to no process: the world and its story.
        dead: The lanes that were killed.
        tasks_made, futures_made: How many were numbered so far.
    """

    now: float
    home: Lane
    dead: list[Lane]
    tasks_made: int
    futures_made: int

    @abstractmethod
    def at(
        self, moment: float, callback: Callable[[*Ts], object], *args: *Ts, lane: Lane | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a moment of the world's clock, on a lane; by default, on that of the world."""

    @abstractmethod
    def ready(self, lane: Lane) -> None:
        """Give a lane a turn, if it has something to do and may."""

    @abstractmethod
    def forgotten(self) -> None:
        """A timer was cancelled."""


def forget(task: asyncio.Task[Any]) -> None:
    """Have asyncio know nothing of a task that will never run again."""
    # Otherwise its end, long after, would be told as somebody's mistake.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    # Nor is it to be waited for or cancelled by whoever ends the loop.
    asyncio.tasks._unregister_task(task)


current_lane: ContextVar[Lane] = ContextVar("hanse_lane")
"""The lane of a context; whatever has none belongs to the world."""
