"""`hanse sim`: an app as many machines in virtual time, under many seeds, while things go wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps

import click
import msgspec

from hanse.cli.options import as_json, common, working_folder
from hanse.cli.output import Output, print_json
from hanse.cli.sim_text import Ticker, summary
from hanse.cli.target import Target, load_module, parse_target
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings_schema import nearest
from hanse.sim.origin import simulations_of
from hanse.sim.profile import PROFILES
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Options, Sweep, sweep


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say; None and empty where they say nothing."""

    seeds: int | None = None
    first: int = 0
    profile: str | None = None
    jobs: int = 1
    shuffle: bool = False

    def options(self, simulation: Simulation) -> Options:
        """How to sweep."""
        seeds = range(self.first, self.first + (self.seeds or simulation.seeds))
        return Options(seeds=seeds, profile=self.profile or "", jobs=self.jobs, shuffle=self.shuffle)


_ADDED = (
    click.option("--seeds", type=click.IntRange(min=1), help="How many; else as many as the simulation says."),
    click.option("--first", type=click.IntRange(min=0), default=0, metavar="N", help="The first of them; else 0."),
    click.option("--profile", type=click.Choice(list(PROFILES)), help="How hard the world is; else as it says itself."),
    click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="N", help="How many processes to use."),
    click.option("--shuffle", is_flag=True, help="Mix steps within a process too: more than production does."),
)


def _asked(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command takes them as `asked`."""

    @wraps(command)
    def wrapped(**given: object) -> None:
        own = {name: given.pop(name) for name in Asked.__struct_fields__}
        command(**given, asked=msgspec.convert(own, Asked))

    for option in reversed(_ADDED):
        wrapped = option(wrapped)
    return wrapped


@click.command()
@click.argument("target")
@_asked
@as_json
@common
def sim(*, target: str, asked: Asked, json_wanted: bool, output: Output) -> None:
    """Run a simulation under many seeds, and tell what did not hold.

    TARGET is a file or a module, and the name of a function decorated with @simulation where there are several:
    worlds.py, shop.worlds, shop.worlds:checkout.
    """
    simulation = find(parse_target(target))
    with Ticker(simulation.name, output) as ticker:
        swept = sweep(simulation, asked.options(simulation), ticker.tick)
    if json_wanted:
        print_json(as_object(simulation, swept))
    else:
        click.echo(summary(simulation, swept, colour=output.colour))
    sys.exit(0 if swept.ok else 1)


def find(target: Target) -> Simulation:
    """The simulation that is meant.

    Raises:
        click.UsageError: Several may be.
        Misconfigured: There is none of that name, or none at all.
        CouldNotStart: The module fails on import.
    """
    found = simulations_of(load_module(target, working_folder()))
    listed = ", ".join(f"{target.module}:{name}" for name in found)
    if not found:
        raise Misconfigured(
            f"expected a simulation in {target.module}, but it has none; write a function such as"
            " `@simulation(app) async def story(world: World) -> None: ...`"
        )
    if target.name:
        if target.name in found:
            return found[target.name]
        near = nearest(target.name, list(found))
        hint = f"; did you mean {near}?" if near else ""
        raise Misconfigured(f"expected a simulation at {target.module}:{target.name}{hint}; there are {listed}")
    if len({id(one) for one in found.values()}) > 1:
        raise click.UsageError(f"expected one simulation in {target.module}, but it has several; say which: {listed}")
    return next(iter(found.values()))


def as_object(simulation: Simulation, swept: Sweep) -> dict[str, object]:
    """What came of a sweep, for programs."""
    return {
        "simulation": simulation.name,
        "profile": swept.profile,
        "seeds": swept.seeds,
        "ok": swept.ok,
        "failures": swept.failures,
        "missing": swept.missing,
        "reached": swept.reached,
        "faults": swept.incidents,
        "simulated_seconds": swept.seconds,
        "wall_seconds": swept.wall,
        "steps": swept.steps,
        "packets": swept.packets,
        "trace_hash": swept.trace_hash,
    }
