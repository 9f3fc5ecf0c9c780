"""`hanse sagas`: what processes of several steps are doing, why one is stuck, and having it go on or turn back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar, cast

import click

from hanse.cli.complete import targets
from hanse.cli.events import pair_of
from hanse.cli.operator import operator_name
from hanse.cli.options import Chosen, as_json, common, configured, working_folder
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.target import load_app
from hanse.delivery.saga_rows import SagaRow, SagaStep, State
from hanse.kernel.host import Host
from hanse.node.saga_desk import SagaDesk, desk_of

T = TypeVar("T")

LIST_MAX = 100
"""Sagas that are listed, unless `--limit` says otherwise."""

STATES = ("running", "undoing", "stuck", "done", "undone")
COLOURS = {"stuck": "red", "undoing": "yellow", "undone": "yellow", "done": "green"}
APP = click.option("--app", "target", default="", shell_complete=targets, help="A file or module; else hanse.toml's.")


@click.group()
def sagas() -> None:
    """See sagas, have one that is stuck go on, or have one turn back.

    They are read from the stores of the services, whether these are running or not.
    """


@sagas.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; may be repeated.")
@click.option("--name", default="", metavar="SERVICE.METHOD", help="Only these.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Of this story; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), default=LIST_MAX, show_default=True, help="As many at most.")
@APP
@configured("store")
@as_json
@common
def listing(
    *,
    states: tuple[str, ...],
    name: str,
    tags: tuple[str, ...],
    limit: int,
    target: str,
    chosen: Chosen,
    **rest: object,
) -> None:
    """List sagas, the newest first."""
    wanted = dict(pair_of(text) for text in tags)
    in_states = cast("tuple[State, ...]", states)
    rows = _at_desk(target, chosen, lambda desk: desk.rows(states=in_states, name=name, tags=wanted, limit=limit))
    output = rest["output"]
    assert isinstance(output, Output)
    if rest["json_wanted"]:
        print_json(rows)
    elif rows:
        cells = [(row.id, row.name, row.state, moment(row.started_at), row.step, trouble_of(row)) for row in rows]
        print_table(cells, output, headings=("id", "name", "state", "begun", "step", "why"))
    else:
        output.note("hanse: there is none")


@sagas.command("show")
@click.argument("id")
@APP
@configured("store")
@as_json
@common
def show(*, id: str, target: str, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Show a saga, with what it did when."""

    async def both(desk: SagaDesk) -> tuple[SagaRow, list[SagaStep]]:
        return await desk.get(id), await desk.steps(id)

    row, steps = _at_desk(target, chosen, both)
    if json_wanted:
        print_json({"saga": row, "steps": steps})
        return
    state = click.style(row.state, fg=COLOURS.get(row.state)) if output.colour else row.state
    click.echo(f"{row.name} {row.id}, version {row.version}: {state}", color=output.colour)
    click.echo(f"  arguments  {row.arguments}")
    for name, value in row.tags.items():
        click.echo(f"  {name}  {value}")
    for label, text in (("at", row.step), ("why", row.why), ("tries again", row.trouble), ("result", row.result)):
        if text:
            click.echo(f"  {label}  {text}")
    for line in time_line(row, steps):
        click.echo(line)


@sagas.command("resume")
@click.argument("id")
@APP
@configured("store")
@as_json
@common
def resume(*, id: str, target: str, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Have a saga that is stuck go on where it was."""
    _tell(_at_desk(target, chosen, lambda desk: desk.resume(id, by=operator_name())), output, json_wanted=json_wanted)


@sagas.command("abort")
@click.argument("id")
@APP
@configured("store")
@as_json
@common
def abort(*, id: str, target: str, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Have a saga turn back: what it did is undone, the last step first."""
    _tell(_at_desk(target, chosen, lambda desk: desk.abort(id, by=operator_name())), output, json_wanted=json_wanted)


def moment(second: float) -> str:
    """A wall-clock second for people, in UTC.

    Example:
        >>> moment(1_700_000_000.25)
        '2023-11-14 22:13:20.250'
    """
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def trouble_of(row: SagaRow) -> str:
    """Why a saga is where it is, in a line."""
    return (row.trouble or row.why).partition("\n")[0]


def time_line(row: SagaRow, steps: list[SagaStep]) -> list[str]:
    """What a saga did, a line for each, with the seconds since its start.

    Example:
        >>> row = SagaRow(id="7", name="orders.place", version=1, arguments="{}", started_at=10.0)
        >>> time_line(row, [SagaStep(saga="7", name="pay", kind="step", at=10.5, attempts=2)])
        ['  +    0.500 s  step    pay (try 2)']
    """
    lines: list[str] = []
    for step in steps:
        tries = f" (try {step.attempts})" if step.attempts > 1 else ""
        failed = f": {step.text}" if step.text else ""
        unknown = ", and nobody knows whether it took effect" if step.unsettled else ""
        waits = "" if step.closed else f", waits until {moment(step.until)}"
        what = f"by {step.by}" if step.by else step.name
        lines.append(f"  +{step.at - row.started_at:9.3f} s  {step.kind:<7} {what}{tries}{failed}{unknown}{waits}")
    return lines


def _tell(row: SagaRow, output: Output, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(row)
    else:
        output.note(f"hanse: {row.name} {row.id} is {row.state}; whoever runs {row.name.partition('.')[0]} takes it up")


def _at_desk(target: str, chosen: Chosen, what: Callable[[SagaDesk], Awaitable[T]]) -> T:
    settings, _ = chosen.read()
    wanted = target or settings.app
    if not wanted:
        raise click.UsageError("expected an app, such as `--app shop.py`, or `app = ...` in hanse.toml")
    app = load_app(wanted, working_folder())

    async def work() -> T:
        async with desk_of(app, settings, Host.system()) as desk:
            return await what(desk)

    return asyncio.run(work())
