"""`hanse store`: what stores need before this version of an app can run, and making it so; dumps of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import click

from hanse.cli.complete import targets
from hanse.cli.options import Chosen, as_json, common, configured, working_folder
from hanse.cli.output import Output, print_json
from hanse.cli.store_dump import dump, load
from hanse.cli.target import load_app
from hanse.kernel.settings import Settings
from hanse.node.app import App
from hanse.node.schemas import StorePlan, apply_stores, plan_stores
from hanse.store.schema import Step

SIGNS: Mapping[str, tuple[str, str]] = {
    "add": ("+", "green"),
    "widen": ("~", "yellow"),
    "keep": ("=", "yellow"),
    "drop": ("-", "yellow"),
    "refuse": ("!", "red"),
}
"""How a step is marked, and its colour."""


@click.group()
def store() -> None:
    """Show or make the changes that stores need; dump and load them.

    `hanse run` makes changes by itself as long as nothing is refused.
    """


@store.command("plan")
@click.argument("target", required=False, shell_complete=targets)
@configured("store")
@as_json
@common
def plan(*, target: str | None, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Show what the stores of TARGET (a file or module) need, and do nothing.

    Exits with 1 where something is refused: rows that are stored could not be read by this version.
    """
    _, _, plans = _planned(target, chosen)
    _tell(plans, output, json_wanted=json_wanted, done=False)
    _leave(plans)


@store.command("apply")
@click.argument("target", required=False, shell_complete=targets)
@configured("store")
@as_json
@common
def apply(*, target: str | None, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Make the stores of TARGET (a file or module) as this version needs them; all of them, or none.

    Exits with 1 where something is refused; nothing is done then.
    """
    app, settings, plans = _planned(target, chosen)
    refused = any(one.refused for one in plans)
    if not refused:
        asyncio.run(apply_stores(app, settings, plans))
    _tell(plans, output, json_wanted=json_wanted, done=not refused)
    _leave(plans)


store.add_command(dump)
store.add_command(load)


def _planned(target: str | None, chosen: Chosen) -> tuple[App, Settings, list[StorePlan]]:
    settings, _ = chosen.read()
    wanted = target or settings.app
    if not wanted:
        raise click.UsageError("expected an app, such as `hanse store plan greet.py`, or `app = ...` in hanse.toml")
    app = load_app(wanted, working_folder())
    return app, settings, plan_stores(app, settings)


def _leave(plans: list[StorePlan]) -> None:
    if any(one.refused for one in plans):
        raise click.exceptions.Exit(1)


def _tell(plans: list[StorePlan], output: Output, *, json_wanted: bool, done: bool) -> None:
    if json_wanted:
        print_json({"done": done, "refused": any(one.refused for one in plans), "stores": plans})
        return
    for one in plans:
        for line, colour in lines_of(one):
            click.echo(click.style(line, fg=colour) if output.colour and colour else line, color=output.colour)
    refused = sum(len(one.refused) for one in plans)
    steps = sum(len(one.steps) for one in plans)
    if refused:
        output.note(f"hanse: {refused} refused; nothing was done")
    elif steps:
        output.note(f"hanse: {steps} done" if done else f"hanse: {steps} to do; `hanse store apply` does it")
    else:
        output.note("hanse: nothing to do")


def lines_of(plan: StorePlan) -> Iterator[tuple[str, str]]:
    """A plan as lines, each with its colour.

    Example:
        >>> [line for line, _ in lines_of(StorePlan("orders", "memory:", [Step("add", "orders", detail="sku")]))]
        ['orders  memory:', '  + collection orders: sku']
    """
    if plan.unseen:
        yield f"{plan.service}  {plan.store}  (cannot be seen before it is opened)", ""
    elif plan.steps:
        yield f"{plan.service}  {plan.store}", ""
    for step in plan.steps:
        sign, colour = SIGNS[step.change]
        yield f"  {sign} {subject(step)}: {step.detail}", colour


def subject(step: Step) -> str:
    """What a step is about.

    Example:
        >>> subject(Step("add", "orders", "note"))
        'field orders.note'
    """
    if not step.field:
        return f"collection {step.collection}"
    return f"{'index' if step.index else 'field'} {step.collection}.{step.field}"
