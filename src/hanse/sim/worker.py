"""A process that runs simulations for another one: `python -m hanse.sim.worker`.

One JSON value a line. It reads a `Task`, then one `Order` after the other, and writes one `Answer` for each of these
lines. It ends when its input does.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import BinaryIO, TypeVar

import msgspec

from hanse.kernel.faults import Fault
from hanse.sim.origin import Origin, load
from hanse.sim.run import Outcome, run_once
from hanse.sim.token import Token

T = TypeVar("T")


class Task(msgspec.Struct, frozen=True):
    """What a worker is there for.

    Attributes:
        origin: Where the simulation is declared.
        path: Where to look for modules.
    """

    origin: Origin
    path: list[str]


class Order(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        token: Which.
        shuffle: Whether to mix the steps within a process too.
        keep: Whether to keep what happens, and tell it.
    """

    token: str
    shuffle: bool = False
    keep: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What came of a line: nothing to tell, an outcome, or what made it impossible."""

    outcome: Outcome | None = None
    fault: str = ""


def work(orders: BinaryIO, answers: BinaryIO) -> None:
    """Do what is asked, until nothing more is.

    Args:
        orders: Where a task and orders come from.
        answers: Where answers go.
    """
    task = _read(orders, Task)
    if task is None:
        return
    try:
        simulation = load(task.origin, task.path)
    except Fault as fault:
        _write(answers, Answer(fault=str(fault)))
        return
    _write(answers, Answer())
    while (order := _read(orders, Order)) is not None:
        try:
            outcome = run_once(simulation, Token.parse(order.token), keep=order.keep, shuffle=order.shuffle)
        except Fault as fault:
            _write(answers, Answer(fault=str(fault)))
        else:
            # Whoever has the token has the plan.
            _write(answers, Answer(msgspec.structs.replace(outcome, plan=())))


def _read(lines: BinaryIO, kind: type[T]) -> T | None:
    line = lines.readline()
    return msgspec.json.decode(line, type=kind) if line else None


def _write(answers: BinaryIO, answer: Answer) -> None:
    _ = answers.write(msgspec.json.encode(answer) + b"\n")
    answers.flush()


def main() -> None:
    """Work for whoever started this process. What the app prints goes to standard error, not among the answers."""
    # Who presses Ctrl-C means the process that started this one, which then ends it.
    _ = signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    _ = os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
