"""Runs simulations in other processes, several at a time.

Each worker has one line of work at most, so one that is ready to be read has written all of its answer, or died.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import final

import msgspec

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.sim.check import Violation
from hanse.sim.failure import DIED
from hanse.sim.origin import Origin
from hanse.sim.run import Outcome
from hanse.sim.worker import Answer, Order, Task

Heard = Callable[[int, Outcome], None]
"""Told the place of an order among all, and what came of it."""

RUN_SECONDS_MAX = 600.0
"""Real seconds that one run may take in another process; then it is taken to go on for ever."""

LOOK_SECONDS = 1.0
"""How often it is looked whether a run takes too long."""

END_SECONDS = 5.0
"""How long a process that has nothing to do may take to end."""


def run_apart(
    origin: Origin,
    orders: Sequence[Order],
    heard: Heard,
    *,
    jobs: int,
    environ: Mapping[str, str] | None = None,
    limit: float = RUN_SECONDS_MAX,
) -> None:
    """Carry out orders in other processes; one that dies or takes too long is a failure of its run, and replaced.

    Args:
        origin: Where the simulation is declared.
        orders: Which runs.
        heard: Called with each outcome, as they come.
        jobs: How many processes.
        environ: Variables to set for them.
        limit: Real seconds that one run may take.

    Raises:
        Misconfigured: They cannot find the simulation, or an order does not fit it.
        CouldNotStart: One died before it had found the simulation.
    """
    left = deque(enumerate(orders))
    with ExitStack() as stack, selectors.DefaultSelector() as selector:

        def hire() -> None:
            worker = stack.enter_context(_working(origin, {**os.environ, **(environ or {})}))
            _ = selector.register(worker.answers, selectors.EVENT_READ, worker)

        for _ in range(min(jobs, len(orders))):
            hire()
        while selector.get_map():
            for key, _ in selector.select(LOOK_SECONDS):
                worker: _Worker = key.data
                if (found := worker.hear()) is not None:
                    heard(*found)
                if left and not worker.died:
                    worker.do(*left.popleft())
                    continue
                _ = selector.unregister(key.fileobj)
                if left:
                    hire()
            for key in selector.get_map().values():
                key.data.hurry(limit)


@final
class _Worker:
    """The other end of a worker's pipes."""

    def __init__(self, origin: Origin, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.answers = process.stdout
        self.died: bool = False
        self._clock = Host.system().monotonic
        self._since = 0.0
        self._late = ""
        self._orders = process.stdin
        self._process = process
        self._name = origin.name
        self._at: tuple[int, Order] | None = None
        self._send(Task(origin, list(sys.path)))

    def do(self, place: int, order: Order) -> None:
        """Have an order carried out."""
        self._at = place, order
        self._since = self._clock()
        self._send(order)

    def hurry(self, limit: float) -> None:
        """End the process, if its order has taken too long."""
        if self._at is not None and self._clock() - self._since > limit:
            self._late = f" as it had taken longer than {limit:g} s, in which the world's time may have gone far"
            self._process.kill()

    def hear(self) -> tuple[int, Outcome] | None:
        """What came of its order; None where it only got ready."""
        line = self.answers.readline()
        if not line:
            return self._gone()
        answer = msgspec.json.decode(line, type=Answer)
        if answer.fault:
            raise Misconfigured(answer.fault)
        if self._at is None:
            return None
        assert answer.outcome is not None
        return self._at[0], answer.outcome

    def _gone(self) -> tuple[int, Outcome]:
        self.died = True
        how = _how(self._process.wait())
        if self._at is None:
            raise CouldNotStart(f"a process that was to run {self._name} {how} while it loaded")
        place, order = self._at
        return place, _died(order, f"the process that ran it {how}{self._late}; what it said last is on standard error")

    def _send(self, line: Task | Order) -> None:
        with suppress(BrokenPipeError):  # it has died, which its answers tell
            _ = self._orders.write(msgspec.json.encode(line) + b"\n")
            self._orders.flush()


@contextmanager
def _working(origin: Origin, environ: dict[str, str]) -> Generator[_Worker]:
    """A process that ends with the block, whatever it does then."""
    # -P: a file that lies about here is not to be taken for a module of Python's own.
    command = [sys.executable, "-P", "-m", "hanse.sim.worker"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)  # noqa: S603
    try:
        yield _Worker(origin, process)
    except BaseException:
        process.kill()  # nothing of what it may still do is wanted
        raise
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have a process end that has nothing more to do."""
    with suppress(BrokenPipeError):
        try:
            _ = process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _ = process.communicate()


def _died(order: Order, detail: str) -> Outcome:
    return Outcome(token=order.token, violations=(Violation(DIED, detail, 0.0),))


def _how(code: int) -> str:
    """How a process ended.

    Example:
        >>> _how(3), _how(-9)
        ('ended with exit code 3', 'was killed by SIGKILL')
    """
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
