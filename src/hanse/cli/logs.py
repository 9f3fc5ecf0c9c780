"""`hanse logs`: what services have printed, and print."""

from __future__ import annotations

import threading

import click

from hanse.cli.options import as_json, common
from hanse.cli.output import Output
from hanse.cli.project import located
from hanse.deploy.home import Home
from hanse.deploy.logs import Follower, LogLine, lines_of, services_in
from hanse.deploy.output import stamp
from hanse.kernel.codec import encode_json
from hanse.kernel.duration import seconds
from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.kernel.settings_schema import nearest

FOLLOW_SECONDS = 0.1
"""Between two looks."""


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--follow", is_flag=True, help="Go on with what is printed, until Ctrl-C.")
@click.option("--since", default="", metavar="AGE", help="Leave out what is older, such as 10m.")
@located
@as_json
@common
def logs(*, services: tuple[str, ...], follow: bool, since: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Show what services have printed, in order; of all where none is named. Works when nothing runs, too."""
    del output
    names = named(home, services)
    follower = Follower(home.logs, services) if follow else None
    found = lines_of((home.log_of(name) for name in names), _moment(since))
    for line in found:
        _print(line, json_wanted=json_wanted)
    if follower is not None:
        never = threading.Event()
        while not never.wait(FOLLOW_SECONDS):
            for line in follower.look():
                _print(line, json_wanted=json_wanted)


def named(home: Home, services: tuple[str, ...]) -> list[str]:
    """The services whose lines are wanted.

    Raises:
        click.UsageError: One of them has never printed anything.
    """
    there = services_in(home.logs)
    for name in services:
        if name not in there:
            near = nearest(name, there)
            hint = f"did you mean {near}?" if near else f"there are logs of {', '.join(there) or 'nobody'}"
            raise click.UsageError(f"{name!r} has printed nothing; {hint}")
    return list(services) or there


def _moment(since: str) -> str:
    if not since:
        return ""
    try:
        return stamp(Host.system().now() - seconds(since))
    except Misdeclared as fault:
        raise click.UsageError(f"--since: {fault}") from None


def _print(line: LogLine, *, json_wanted: bool) -> None:
    click.echo(encode_json(line) if json_wanted else f"{line.at} {line.instance} | {line.text}")
