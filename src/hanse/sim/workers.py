"""Runs simulations in other processes, several at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.sim.check import Violation
from hanse.sim.origin import Origin
from hanse.sim.run import Outcome
from hanse.sim.worker import Answer, Order, Task

Heard = Callable[[int, Outcome], None]
"""Told the place of an order among all, and what came of it."""

ANSWER_BYTES_MAX = 1 << 30
"""Longest answer of a worker: one that tells of everything that happened."""

END_SECONDS = 5.0
"""How long a worker that has nothing to do may take to end."""

DIED = "worker"
"""The check that a run breaks whose process did not survive it."""


def run_apart(
    origin: Origin, orders: Sequence[Order], heard: Heard, *, jobs: int, environ: Mapping[str, str] | None = None
) -> None:
    """Carry out orders in other processes; a process that dies is told as a failure of its run, and replaced.

    Args:
        origin: Where the simulation is declared.
        orders: Which runs.
        heard: Called with each outcome, as they come.
        jobs: How many processes.
        environ: Variables to set for them.

    Raises:
        Misconfigured: They cannot find the simulation, or an order does not fit it.
        CouldNotStart: One died before it had found the simulation.
    """
    asyncio.run(_run_all(origin, orders, heard, min(jobs, len(orders)), {**os.environ, **(environ or {})}))


async def _run_all(origin: Origin, orders: Sequence[Order], heard: Heard, jobs: int, environ: dict[str, str]) -> None:
    left = iter(enumerate(orders))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(jobs):
                _ = group.create_task(_work(origin, left, heard, environ))
    except* (Misconfigured, CouldNotStart) as errors:
        raise _first(errors) from None


async def _work(origin: Origin, left: Iterator[tuple[int, Order]], heard: Heard, environ: dict[str, str]) -> None:
    """Have orders carried out until none is left, each by the process that did the one before, if it lives."""
    worker: _Worker | None = None
    try:
        for place, order in left:
            if worker is None:
                worker = await _Worker.start(origin, environ)
            answer = await worker.ask(order)
            if answer is None:
                heard(place, _died(order, await worker.end()))
                worker = None
            else:
                heard(place, _outcome(answer))
    except BaseException:
        if worker is not None:
            worker.kill()
        raise
    finally:
        if worker is not None:
            _ = await worker.end()


class _Worker:
    """The other end of a worker's pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, origin: Origin, environ: dict[str, str]) -> _Worker:
        """A worker that has found the simulation."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a file that lies about here is not to be taken for a module of Python's own
            "-m",
            "hanse.sim.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environ,
            limit=ANSWER_BYTES_MAX,
        )
        worker = cls(process)
        try:
            await worker._find(origin)
        except BaseException:
            worker.kill()
            _ = await worker.end()
            raise
        return worker

    async def _find(self, origin: Origin) -> None:
        answer = await self.ask(Task(origin, list(sys.path)))
        if answer is None:
            raise CouldNotStart(f"a process that was to run {origin.name} {_how(await self.end())} while it loaded")
        if answer.fault:
            raise Misconfigured(answer.fault)

    async def ask(self, line: Task | Order) -> Answer | None:
        """Send a line; None where the process died over it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(line) + b"\n")
        try:
            await self._process.stdin.drain()
        except ConnectionError:
            return None
        answer = await self._process.stdout.readline()
        return msgspec.json.decode(answer, type=Answer) if answer else None

    async def end(self) -> int:
        """End the process; its exit code."""
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(END_SECONDS):
                    _ = await self._process.wait()
            except TimeoutError:
                self.kill()
        return await self._process.wait()

    def kill(self) -> None:
        """End it now, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()


def _outcome(answer: Answer) -> Outcome:
    if answer.outcome is None:
        raise Misconfigured(answer.fault)
    return answer.outcome


def _died(order: Order, code: int) -> Outcome:
    detail = f"the process that ran it {_how(code)}; what it said last is on standard error"
    return Outcome(
        token=order.token,
        violations=(Violation(DIED, detail, 0.0),),
        hash="",
        seconds=0.0,
        wall=0.0,
        steps=0,
        packets=0,
        incidents=0,
        kinds={},
        reached=(),
        points={},
        plan=(),
    )


def _how(code: int) -> str:
    """How a process ended.

    Example:
        >>> _how(3), _how(-9)
        ('ended with exit code 3', 'was killed by SIGKILL')
    """
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    # One task raised it, and the group that ran the task put it into one group.
    return errors.exceptions[0]
