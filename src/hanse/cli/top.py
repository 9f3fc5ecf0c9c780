"""`hanse top`: what each instance takes of the machine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping

import click
import msgspec

from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.project import located
from hanse.deploy.control_client import asked
from hanse.deploy.control_words import Ask, Status
from hanse.deploy.home import Home
from hanse.deploy.usage import Usage, cpu_share, usage_by_session
from hanse.kernel.host import Host

LOOK_SECONDS = 1.0
"""Between two looks: shorter, and a share of a processor says little."""

CLEAR = "\x1b[H\x1b[2J"
HEADINGS = ("instance", "state", "cpu", "memory", "processes", "restarts")


class Taken(msgspec.Struct, frozen=True):
    """What an instance takes, or a part of the platform.

    Attributes:
        instance: Its name.
        phase: What it is at.
        cpu: Share of one processor; 1.0 is all of it.
        memory_bytes: That it holds, with all that it has started.
        processes: How many these are.
        restarts: How often it ended.
    """

    instance: str
    phase: str
    cpu: float
    memory_bytes: int
    processes: int
    restarts: int


@click.command()
@located
@as_json
@common
def top(*, home: Home, json_wanted: bool, output: Output) -> None:
    """Show what each instance takes of processors and memory; on a terminal again and again, until Ctrl-C."""
    never, live = threading.Event(), sys.stdout.isatty() and not json_wanted
    while True:
        found = _looked(home, never)
        if json_wanted:
            print_json(found)
        else:
            if live:
                click.echo(CLEAR, nl=False)
            print_table([_row(one) for one in found], output, headings=HEADINGS)
        if not live:
            return


def _looked(home: Home, never: threading.Event) -> list[Taken]:
    host = Host.system()
    before, began = usage_by_session(), host.monotonic()
    _ = never.wait(LOOK_SECONDS)
    status = asked(home, Ask("status"))
    return taken_by(status, before, usage_by_session(), host.monotonic() - began)


def taken_by(status: Status, before: Mapping[int, Usage], after: Mapping[int, Usage], seconds: float) -> list[Taken]:
    """What each instance takes, by two looks that are so many seconds apart."""
    found: list[Taken] = []
    for row in status.instances:
        used = after.get(row.pid, Usage()) if row.pid else Usage()
        cpu = cpu_share(before, after, row.pid, seconds) if row.pid else 0.0
        found.append(Taken(row.instance, row.phase, cpu, used.memory_bytes, used.processes, row.restarts))
    return found


def _row(one: Taken) -> list[str]:
    memory = f"{one.memory_bytes / 1024**2:.0f} MiB"
    return [one.instance, one.phase, f"{one.cpu:.0%}", memory, str(one.processes), str(one.restarts)]
