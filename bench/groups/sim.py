"""Simulation: what steps and timers cost beside other simulators, what is the same twice, and how fast worlds are."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from plan import Case, Column, Figures, Group
from process import CASES, VENV, python_case, said

PYTHON = VENV / "sim" / "bin" / "python"
PROCESSES = 8
AT_ONCE = 2
ALIKE = {"alone": 1.0, "after": 1.0}

LOOPS = {
    "asyncio": "stock",
    "Hanse": "hanse",
    "Hanse, shuffled": "hanse_shuffled",
    "simloop": "simloop",
    "detangle": "detangle",
    "detangle, in order": "detangle_in_order",
}


def _speed(name: str, program: str, about: str) -> tuple[Case, ...]:
    """The base is asyncio itself, with its real clock."""
    return tuple(
        Case(
            f"{name}, {loop}",
            python_case("sim_speed.py", case, program, python=PYTHON),
            about if loop == "asyncio" else "the same",
            f"{name}, asyncio",
        )
        for loop, case in LOOPS.items()
    )


def _same(*command: str, apart: int = 1) -> Callable[[float], Figures]:
    """How many different things came of one seed: in processes of its own, and in those of others before."""

    def measure(_seconds: float) -> Figures:
        started = [str(PYTHON), str(CASES / command[0]), *command[1:]]
        # On two processors at once: nothing here is measured in time.
        with ThreadPoolExecutor(AT_ONCE) as pool:
            alone = pool.map(lambda _: said([*started, "0"]), range(PROCESSES))
            after = pool.map(lambda other: said([*started, str(other * apart)]), range(PROCESSES))
            return {"alone": len({*alone}), "after": len({*after})}

    return measure


def _outcomes(tasks: int) -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{tasks} tasks, {loop}",
            _same("sim_same.py", case, str(tasks), apart=3),
            "a TaskGroup that fails, asyncio.wait, as_completed" if loop == "asyncio" else "the same",
            limits=ALIKE if "Hanse" in loop else {},
        )
        for loop, case in LOOPS.items()
    )


def _world(name: str, world: str, profile: str, about: str, least: Figures | None = None) -> Case:
    return Case(name, python_case("sim_worlds.py", "speed", world, profile), about, least=least or {})


SHOP = {"simulated": 100.0}
LOAD = {"steps": 100_000.0, "messages": 10_000.0}

SPEED = Group(
    "sim",
    "Simulated loops",
    "",
    (Column("cpu_us", "CPU µs", 2), Column("per_second", "a second of CPU", 0)),
    (
        *_speed("ring", "ring", "a step of 100 tasks that hand a token round through queues"),
        *_speed("crowd", "crowd", "a step of 100 tasks that are ready all the time"),
        *_speed("timers", "timers", "a sleep of 100 tasks that sleep; asyncio's are too short to wait for"),
    ),
    python=PYTHON,
)

SAME = Group(
    "sim-same",
    f"Different outcomes of one seed, in {PROCESSES} processes",
    "",
    (Column("alone", "alone", 0), Column("after", "after other runs", 0)),
    (
        *_outcomes(8),
        *_outcomes(400),
        Case(
            "the shop, Hanse",
            _same("sim_worlds.py", "same", "shop.checkout", "hostile"),
            "everything that happens in 60 hostile seconds of examples/shop",
            limits=ALIKE,
        ),
    ),
    python=PYTHON,
)

WORLDS = Group(
    "sim-worlds",
    "Simulated worlds, by the second of CPU",
    "",
    (
        Column("simulated", "simulated seconds", 0),
        Column("steps", "loop steps", 0),
        Column("messages", "messages", 0),
        Column("seeds", "seeds in 5 minutes, computed", 0),
    ),
    (
        _world("calls", "calls", "calm", "100 callers of a service on another machine", LOAD),
        _world("events", "events", "calm", "the same, of calls that emit an event for a third machine"),
        _world("shop, calm", "shop.checkout", "calm", "examples/shop: 4 services and their customers", SHOP),
        _world("shop, flaky", "shop.checkout", "flaky", "the same"),
        _world("shop, hostile", "shop.checkout", "hostile", "the same", SHOP),
        _world("shop, deploy", "shop.checkout", "deploy", "the same"),
        _world("shop, power", "shop.checkout", "power", "the same"),
        _world("power, hostile", "power.house", "hostile", "examples/power: 3 services"),
        _world("countries, hostile", "countries.atlas", "hostile", "examples/countries: 1 service, 5,000 rows"),
    ),
)

GROUPS = (SPEED, SAME, WORLDS)
