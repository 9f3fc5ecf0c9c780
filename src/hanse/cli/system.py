"""Commands about a system that `hanse up` runs: see it, start services anew, have more or fewer of them, end it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import click

from hanse.cli.fleet import up_text
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.project import located
from hanse.deploy.control_client import POLL_SECONDS, NotDone, asked
from hanse.deploy.control_words import Ask, Row, Status, given_up, is_settled
from hanse.deploy.home import Home
from hanse.kernel.faults import DeadlineExceeded, NotFound, Unavailable
from hanse.kernel.host import Host

HEADINGS = ("instance", "state", "for", "port", "pid", "restarts", "why")
COMING_SECONDS = 5.0
"""That `hanse wait` waits for a system that was just started to be there at all."""

WAIT_SECONDS = 60.0
"""That `hanse wait` waits where nothing else is said."""


@click.command()
@located
@as_json
@common
def ps(*, home: Home, json_wanted: bool, output: Output) -> None:
    """Show what runs, what it waits for, and why it does not."""
    _told(asked(home, Ask("status")), output, json_wanted=json_wanted)


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@located
@as_json
@common
def restart(*, services: tuple[str, ...], home: Home, json_wanted: bool, output: Output) -> None:
    """Start services anew, or all: new ones take the place of old ones, and no request is lost.

    What was stopped or given up is started, too. While a service is on its way to another release, those of both are.
    """
    _told(asked(home, Ask("restart", services)), output, json_wanted=json_wanted)


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="SERVICE=N...")
@located
@as_json
@common
def scale(*, counts: tuple[str, ...], home: Home, json_wanted: bool, output: Output) -> None:
    """Have N instances of SERVICE run, until the system ends.

    While it is on its way to another release, both releases have their part of them.
    """
    _told(asked(home, Ask("scale", instances=dict(map(count_of, counts)))), output, json_wanted=json_wanted)


@click.command()
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@located
@as_json
@common
def stop(*, services: tuple[str, ...], home: Home, json_wanted: bool, output: Output) -> None:
    """End services, and leave the others running; `hanse restart` starts them again.

    One that is on its way to another release is not ended before it is there, or back.
    """
    _told(asked(home, Ask("stop", services)), output, json_wanted=json_wanted)


@click.command()
@click.option("--timeout", default=WAIT_SECONDS, metavar="SECONDS", help="How long to wait for the end.")
@located
@as_json
@common
def down(*, timeout: float, home: Home, json_wanted: bool, output: Output) -> None:
    """End the whole system, in order, and wait until all has ended."""
    status = asked(home, Ask("down"))
    until(home, timeout, lambda found: found is None, "the end")
    if json_wanted:
        print_json({"ended": [row.instance for row in status.instances]})
    else:
        output.note("hanse: all has ended")


@click.command("wait")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--timeout", default=WAIT_SECONDS, metavar="SECONDS", help="How long to wait.")
@located
@as_json
@common
def wait(*, services: tuple[str, ...], timeout: float, home: Home, json_wanted: bool, output: Output) -> None:
    """Wait until all that should run is ready, or these services; fails at once where one was given up."""
    host = Host.system()
    coming = host.monotonic() + COMING_SECONDS

    def is_so(found: Status | None) -> bool | None:
        if found is None:
            return False if host.monotonic() < coming else None
        among = _among(found, services)
        if lost := given_up(among):
            raise NotDone(f"{lost[0].instance} was given up: {lost[0].why}; see `hanse logs {lost[0].service}`")
        return is_settled(among)

    found = until(home, timeout, is_so, "all to be ready")
    assert found is not None
    _told(_among(found, services), output, json_wanted=json_wanted)


def count_of(text: str) -> tuple[str, int]:
    """How many of which service.

    Raises:
        click.UsageError: It is not `SERVICE=N`.

    Example:
        >>> count_of("web=3")
        ('web', 3)
    """
    name, _, number = text.partition("=")
    if not name or not number.isdigit():
        raise click.UsageError(f"expected SERVICE=N, such as web=3, got {text!r}")
    return name, int(number)


def rows_of(status: Status) -> list[list[str]]:
    """A row for each instance, and for each service that has none."""
    now = Host.system().now()
    rows = [_row(row, now) for row in status.instances]
    there = {row.service for row in status.instances}
    return rows + [
        [wish.service, "stopped", "-", "-", "-", "-", ""] for wish in status.services if wish.service not in there
    ]


def show(rows: Sequence[Sequence[str]], status: Status, output: Output) -> None:
    """Print how a system is."""
    if status.edge:
        output.note(f"hanse: {status.edge}" + ("  (ending)" if status.ending else ""))
    if status.problem:
        output.note(f"hanse: the settings cannot be used, and those from before are in force: {status.problem}")
    print_table(rows, output, headings=HEADINGS)


def _row(row: Row, now: float) -> list[str]:
    pid, port = str(row.pid or "-"), str(row.port or "-") if row.pid else "-"
    return [row.instance, row.phase, up_text(now - row.since), port, pid, str(row.restarts), row.why]


def _told(status: Status, output: Output, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(status)
    else:
        show(rows_of(status), status, output)


def _among(status: Status, services: Sequence[str]) -> Status:
    """How a system is, as far as some services go.

    Raises:
        NotFound: There is none of such a name.
    """
    if not services:
        return status
    if unknown := [name for name in services if name not in {wish.service for wish in status.services}]:
        raise NotFound("service", unknown[0])
    import msgspec

    return msgspec.structs.replace(
        status,
        services=tuple(wish for wish in status.services if wish.service in services),
        instances=tuple(row for row in status.instances if row.service in services),
    )


def until(home: Home, seconds: float, is_so: Callable[[Status | None], bool | None], what: str) -> Status | None:
    """Ask again and again, until something is so of the system, or cannot become so any more (None).

    Returns:
        How it is; None where it has ended.

    Raises:
        DeadlineExceeded: It took too long.
        Unavailable: There is no system, and it was not waited for its end.
    """
    never, host = threading.Event(), Host.system()
    end = host.monotonic() + seconds
    while True:
        try:
            found: Status | None = asked(home, Ask("status"))
        except Unavailable:
            found = None
            if is_so(None) is None:
                raise
        if is_so(found):
            return found
        if host.monotonic() >= end:
            raise DeadlineExceeded(what)
        _ = never.wait(POLL_SECONDS)
