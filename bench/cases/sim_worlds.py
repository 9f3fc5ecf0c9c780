"""How fast whole worlds are: `sim_worlds.py speed WORLD PROFILE SECONDS`, or `sim_worlds.py same WORLD PROFILE BEFORE`.

`same` prints the hash of everything that happens under one seed, in a process that has run so many others before.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import meter
from shop import ORDER, Desk, desk, post

from hanse import World, simulation
from hanse.sim.run import Outcome, run_once
from hanse.sim.simulation import Simulation, simulation_of
from hanse.sim.token import Token

EXAMPLES = Path(__file__).parents[2] / "examples"
SEEDS_MIN = 5
"""Seeds differ in how much happens; fewer would say little."""

SAME_SEED = 17
CALLERS = 100
LOAD_SECONDS = 5.0
FIVE_MINUTES = 300.0


@simulation(desk, profile="calm", seconds=LOAD_SECONDS)
async def calls(world: World) -> None:
    """Many callers, each of whom asks again as soon as there is an answer."""
    client = world.client(Desk)

    async def ask() -> None:
        while world.time < world.seconds:
            await client.check(ORDER)

    await _crowd(ask)


@simulation(post, profile="calm", seconds=LOAD_SECONDS)
async def events(world: World) -> None:
    """The same, with calls that emit an event, which a service on another machine handles."""
    client = world.client(Desk)

    async def place() -> None:
        while world.time < world.seconds:
            await client.place(1)

    await _crowd(place)


async def _crowd(work: object) -> None:
    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(work())


def world_named(name: str) -> Simulation:
    """One of those above, or `shop.checkout`: that of an example."""
    if name in globals():
        return simulation_of(globals()[name])
    folder, _, story = name.partition(".")
    # The example's own module comes before ours of the same name.
    sys.modules.pop("shop")
    sys.path.insert(0, str(EXAMPLES / folder))
    return simulation_of(getattr(__import__("worlds"), story))


def speed(simulation: Simulation, profile: str, seconds: float) -> None:
    """Seed after seed, until the time is over; the first run is for warming up."""
    run(simulation, profile, 0)
    began, runs = time.process_time(), list[Outcome]()
    while (used := time.process_time() - began) < seconds or len(runs) < SEEDS_MIN:
        runs.append(run(simulation, profile, len(runs)))
    used = time.process_time() - began
    meter.tell(
        simulated=sum(run.seconds for run in runs) / used,
        steps=sum(run.steps for run in runs) / used,
        messages=sum(run.packets for run in runs) / used,
        seeds=len(runs) / used * FIVE_MINUTES,
    )


def run(simulation: Simulation, profile: str, seed: int) -> Outcome:
    """One run, which has to go well: a world that stops early would be a fast one."""
    outcome = run_once(simulation, Token(profile=profile, seed=seed))
    if not outcome.ok:
        raise SystemExit(f"{outcome.token}: {outcome.violations[0]}")
    return outcome


def same(simulation: Simulation, profile: str, before: int) -> None:
    """The hash under one seed, after others."""
    for seed in range(before):
        run(simulation, profile, seed)
    print(run(simulation, profile, SAME_SEED).hash)


if __name__ == "__main__":
    # What services complain about while machines die is not to be written out.
    logging.disable()
    which, name, profile, amount = sys.argv[1:]
    if which == "speed":
        speed(world_named(name), profile, float(amount))
    else:
        same(world_named(name), profile, int(amount))
