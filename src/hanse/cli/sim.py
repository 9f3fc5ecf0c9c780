"""`hanse sim`: an app as many machines in virtual time, under many seeds, while things go wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import partial, wraps
from pathlib import Path

import click
import msgspec

from hanse.cli.complete import targets
from hanse.cli.options import as_json, common, working_folder
from hanse.cli.output import Output, print_json
from hanse.cli.progress import Progress
from hanse.cli.sim_text import plural, summary, tick
from hanse.cli.target import Target, load_module, parse_target
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings_schema import nearest
from hanse.sim.explain import Diagnosis, explain
from hanse.sim.export import exported
from hanse.sim.failure import Failure
from hanse.sim.kept import file_of, keep
from hanse.sim.origin import origin_of, seen_from, simulations_of
from hanse.sim.profile import PROFILES
from hanse.sim.report import report
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Options, Sweep, sweep
from hanse.sim.token import Token

REPORTS_MAX = 3
"""Failures that are told at length: one of each check that broke."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say; None and empty where they say nothing."""

    seeds: int | None = None
    first: int = 0
    profile: str | None = None
    jobs: int = 1
    shuffle: bool = False
    replay: str = ""
    shrink: bool | None = None
    keep: bool = False
    export: str | None = None

    def options(self, simulation: Simulation) -> Options:
        """How to sweep."""
        seeds = range(self.first, self.first + (self.seeds or simulation.seeds))
        return Options(seeds=seeds, profile=self.profile or "", jobs=self.jobs, shuffle=self.shuffle, token=self.replay)

    @property
    def shrinking(self) -> bool:
        """Whether to look for the smallest plan: unless told otherwise for seeds, and not for a run with a name."""
        return self.shrink if self.shrink is not None else not self.replay


def _token(context: click.Context, option: click.Parameter, text: str | None) -> str:
    del context, option
    try:
        return "" if text is None else Token.parse(text).encode()
    except Misconfigured as error:
        raise click.BadParameter(str(error)) from None


def _new_file(context: click.Context, option: click.Parameter, file: str | None) -> str | None:
    del context, option
    if file is not None and Path(file).exists():
        raise click.BadParameter(f"{file} is there already; name a new file")
    return file


_ADDED = (
    click.option("--seeds", type=click.IntRange(min=1), help="How many; else as many as the simulation says."),
    click.option("--first", type=click.IntRange(min=0), default=0, metavar="N", help="The first of them; else 0."),
    click.option("--profile", type=click.Choice(list(PROFILES)), help="How hard the world is; else as it says."),
    click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="N", help="How many processes to use."),
    click.option("--replay", metavar="TOKEN", callback=_token, help="Make this run only."),
    click.option("--shrink/--no-shrink", default=None, help="Look for the least that has to go wrong, or do not."),
    click.option("--keep", is_flag=True, help="Keep what failed beside the file: it runs first from then on."),
    click.option(
        "--export",
        callback=_new_file,
        metavar="FILE",
        help="Write the first failure as a test for pytest.",
    ),
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
@click.argument("target", shell_complete=targets)
@_asked
@as_json
@common
def sim(*, target: str, asked: Asked, json_wanted: bool, output: Output) -> None:
    """Run a simulation under many seeds, and tell what did not hold.

    TARGET is a file or a module, and the name of a function decorated with @simulation where there are several:
    worlds.py, shop.worlds, shop.worlds:checkout.
    """
    simulation = find(parse_target(target))
    # What the app prints is not what this command says.
    with redirect_stdout(sys.stderr), Progress(simulation.name, output) as progress:
        swept = sweep(simulation, asked.options(simulation), partial(tick, progress))
        told = worth_telling(swept.failures)
        findings = [explain(simulation, failure, shrinking=asked.shrinking) for failure in told]
    for why in swept.unfit:
        output.note(f"hanse: a kept run means nothing any more: {why}")
    origin = origin_of(simulation)
    if json_wanted:
        print_json(as_object(simulation, swept, findings))
    else:
        for diagnosis in findings:
            where = "" if origin is None else origin.target(working_folder())
            click.echo(report(diagnosis, simulation.name, where, colour=output.colour))
            click.echo()
        click.echo(summary(simulation, swept, colour=output.colour))
    _save(simulation, findings, asked, output)
    sys.exit(0 if swept.ok else 1)


def worth_telling(failures: Iterable[Failure]) -> list[Failure]:
    """The first failure of each check that broke, as far as somebody would read."""
    first: dict[str, Failure] = {}
    for failure in failures:
        _ = first.setdefault(failure.violations[0].check, failure)
    return list(first.values())[:REPORTS_MAX]


def _save(simulation: Simulation, findings: list[Diagnosis], asked: Asked, output: Output) -> None:
    """Keep failures and export the first, where that is wanted."""
    origin = origin_of(simulation)
    if not findings or not (asked.keep or asked.export):
        return
    if origin is None:
        raise Misconfigured(f"{simulation.name} has no name in its module that a test or a kept run could use")
    if asked.keep:
        new = [diagnosis for diagnosis in findings if keep(origin, simulation, diagnosis.least)]
        output.note(f"hanse: kept {plural(len(new), 'run')} in {seen_from(working_folder(), file_of(origin))}")
    if asked.export is not None:
        _ = Path(asked.export).write_text(exported(findings[0], origin), encoding="utf-8")
        output.note(f"hanse: wrote {asked.export}")


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


def as_object(simulation: Simulation, swept: Sweep, findings: list[Diagnosis]) -> dict[str, object]:
    """What came of a sweep, for programs."""
    least = {diagnosis.failure.token: diagnosis.least.token for diagnosis in findings}
    return {
        "simulation": simulation.name,
        "profile": swept.profile,
        "seeds": swept.seeds,
        "kept": swept.kept,
        "repeated": swept.repeated,
        "ok": swept.ok,
        "failures": [
            {"token": one.token, "least": least.get(one.token), "violations": one.violations} for one in swept.failures
        ],
        "missing": swept.missing,
        "unfit": swept.unfit,
        "reached": swept.reached,
        "faults": swept.incidents,
        "simulated_seconds": swept.seconds,
        "wall_seconds": swept.wall,
        "steps": swept.steps,
        "packets": swept.packets,
        "trace_hash": swept.trace_hash,
    }
