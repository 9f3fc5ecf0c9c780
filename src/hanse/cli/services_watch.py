"""`hanse services --watch`: who serves what, live; a table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import final

import click

from hanse.cli.fleet import HEADINGS, Serving, changes, nodes_at, service_rows, serving_in
from hanse.cli.output import Output, aligned
from hanse.cli.remote import Remote
from hanse.cli.running import served_by
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host

LOOK_SECONDS = 1.0
"""Between two looks."""


def watch(remote: Remote, output: Output, *, json_wanted: bool) -> None:
    """Show who serves what until Ctrl-C; who cannot be asked for a while is asked again.

    Raises:
        Unavailable: Nobody answers at the first look.
        Forbidden: It does not say so to whoever asks.
        Malformed: Who answers is no node of Hanse's.
    """
    shown = _shown(remote, output, json_wanted=json_wanted)
    never = threading.Event()
    shown(serving_in(nodes_at(remote)))
    lost = False
    while not never.wait(LOOK_SECONDS):
        try:
            found = serving_in(nodes_at(remote, again=True))
        except Unavailable as fault:
            if not lost:
                output.note(f"hanse: {fault}; it is asked again")
            lost = True
        else:
            lost = False
            shown(found)


def _shown(remote: Remote, output: Output, *, json_wanted: bool) -> Callable[[Mapping[tuple[str, str], Serving]], None]:
    if sys.stdout.isatty() and not json_wanted:
        return Table(_operations(remote), output).show
    return Lines(json_wanted=json_wanted).show


def _operations(remote: Remote) -> dict[str, int]:
    """How many operations each service has, as far as the system exposes them."""
    try:
        return {one.name: len(one.operations) for one in served_by(remote)}
    except Fault:
        return {}  # a node without a gateway knows who serves what, and has no document


@final
class Table:
    """Draws the same table anew."""

    def __init__(self, operations: Mapping[str, int], output: Output) -> None:
        self._operations = operations
        self._output = output
        self._host = Host.system()
        self._height = 0

    def show(self, found: Mapping[tuple[str, str], Serving]) -> None:
        """Draw what is there now in place of what was."""
        head, *lines = aligned([HEADINGS, *service_rows(found.values(), self._operations, self._host.now())])
        drawn = [click.style(head, bold=True) if self._output.colour else head, *lines]
        back = f"\033[{self._height}F\033[J" if self._height else ""
        click.echo(back + "\n".join(drawn), color=True)
        self._height = len(drawn)


@final
class Lines:
    """Tells what has changed since the last look; at the first, all that is there."""

    def __init__(self, *, json_wanted: bool) -> None:
        self._json = json_wanted
        self._before: Mapping[tuple[str, str], Serving] = {}

    def show(self, found: Mapping[tuple[str, str], Serving]) -> None:
        """Print a line for each change."""
        for sign, one in changes(self._before, found):
            if self._json:
                click.echo(encode_json({"change": sign, "service": one.service, "node": one.node}).decode())
            else:
                click.echo(one.line(sign))
        self._before = found
