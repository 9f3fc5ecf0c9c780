"""The loops that are compared, each running a coroutine as its users have it run."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

Program = Callable[[], Coroutine[Any, Any, object]]
Play = Callable[[Program], object]

SEED = 1
STEPS_MAX = 1 << 40


def stock() -> Play:
    return lambda program: asyncio.run(program())


def hanse() -> Play:
    from hanse.sim.run import run

    return lambda program: run(program(), seed=SEED)


def hanse_shuffled() -> Play:
    """The steps of one process mixed as well, as the others have it; `hanse sim --shuffle`."""
    from hanse.sim.loop import Loop
    from hanse.sim.steady import steady

    def play(program: Program) -> object:
        with steady():
            return Loop(SEED, shuffle=True).play(program())

    return play


def simloop() -> Play:
    try:
        from simloop import SimLoop
    except ImportError:
        skip("needs Python 3.12 at the time of `make bench`")

    def play(program: Program) -> object:
        loop = SimLoop(SEED)
        try:
            return loop.run_until_complete(program())
        finally:
            loop.close()

    return play


def detangle() -> Play:
    """A schedule drawn from a seed."""
    return _detangle(seed=SEED)


def detangle_in_order() -> Play:
    """First in, first out."""
    return _detangle()


def _detangle(**options: int) -> Play:
    try:
        from detangle import SimConfig, run
    except ImportError:
        skip("was not installed by `make bench`")

    config = SimConfig(max_steps=STEPS_MAX)
    return lambda program: run(program, config=config, **options)


LOOPS: dict[str, Callable[[], Play]] = {
    loop.__name__: loop for loop in (stock, hanse, hanse_shuffled, simloop, detangle, detangle_in_order)
}


def skip(why: str) -> None:
    print(json.dumps({"skipped": why}))
    sys.exit()
