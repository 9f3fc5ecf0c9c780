"""`hanse doctor`: what on this machine, or in this project, keeps an app from running well; each with what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

import click

from hanse.cli.complete import targets
from hanse.cli.finding import FAIL, OK, WARN, Finding, State
from hanse.cli.options import Chosen, as_json, common, configured
from hanse.cli.output import Output, print_json

COLOURS: Mapping[State, str] = {OK: "green", WARN: "yellow", FAIL: "red"}

Told = Callable[[Finding], None]


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@configured("port", "host", "store")
@as_json
@common
def doctor(*, target: str | None, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Look at this machine, and at the app that TARGET (a file or module) or hanse.toml names.

    Nothing is started or changed. Exits with 1 where something fails.
    """
    found: list[Finding] = []
    for one in findings(target, chosen):
        found.append(one)
        if not json_wanted and not (output.quiet and one.state == OK):
            for line in lines_of(one, colour=output.colour, verbose=output.verbose):
                click.echo(line, color=output.colour)
    if json_wanted:
        print_json({"ok": is_well(found), "checks": found})
    else:
        output.note(f"hanse: {summary(found)}")
    sys.exit(0 if is_well(found) else 1)


def findings(target: str | None, chosen: Chosen) -> Iterable[Finding]:
    """All that is looked at, as it is found."""
    from hanse.cli.doctor_machine import machine
    from hanse.cli.doctor_project import project

    yield from machine()
    yield from project(target, chosen)


def is_well(found: Iterable[Finding]) -> bool:
    """Whether nothing fails; what is only warned of does not count.

    Example:
        >>> is_well([Finding("port", "warn", "it is taken by this app")])
        True
    """
    return all(one.state != FAIL for one in found)


def summary(found: Iterable[Finding]) -> str:
    """How many are how.

    Example:
        >>> summary([Finding("a", "ok", ""), Finding("b", "ok", ""), Finding("c", "fail", "")])
        '2 ok, 0 to look at, 1 failed'
    """
    states = [one.state for one in found]
    return f"{states.count(OK)} ok, {states.count(WARN)} to look at, {states.count(FAIL)} failed"


def lines_of(one: Finding, *, colour: bool = False, verbose: bool = False) -> Iterable[str]:
    """A finding for people; what it is good for is said where something is wrong with it, or to who asks for more."""
    state = f"{one.state:<4}"
    yield f"{click.style(state, fg=COLOURS[one.state]) if colour else state}  {one.check}: {one.says}"
    if one.why and (verbose or one.state != OK):
        yield f"        why: {one.why}"
    if one.do and (verbose or one.state != OK):
        yield f"        do:  {one.do}"
