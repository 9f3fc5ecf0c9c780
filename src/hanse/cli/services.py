"""`hanse services`: what there is to call, in an app or in a running system."""

from __future__ import annotations

import click

from hanse.cli.complete import targets
from hanse.cli.options import as_json, common, working_folder
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.remote import Remote, remote
from hanse.cli.running import Served, served_by


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@click.option("--watch", is_flag=True, help="Show who serves what in a running system, and what changes, until Ctrl-C.")
@remote
@as_json
@common
def services(*, target: str | None, watch: bool, remote: Remote, json_wanted: bool, output: Output) -> None:
    """List the services of TARGET (a file or module), or of a running system, with their operations."""
    if target and remote.said:
        raise click.UsageError("expected a target or --url, got both")
    if watch:
        if target:
            raise click.UsageError("expected --url, or --transport and --app, with --watch: a file does not change")
        from hanse.cli import services_watch

        services_watch.watch(remote, output, json_wanted=json_wanted)
        return
    found = declared_in(target) if target else served_by(remote)
    if json_wanted:
        print_json(found)
        return
    rows = [[one.name, one.version, one.fingerprint, " ".join(one.operations)] for one in found]
    print_table(rows, output, headings=["service", "version", "fingerprint", "operations"])


def declared_in(target: str) -> list[Served]:
    """The contracts of an app, in short.

    Raises:
        Misconfigured: There is no such app.
        CouldNotStart: Its module fails on import.
    """
    from hanse.cli.describe import contracts_of
    from hanse.cli.target import load_app

    return [
        Served(one.name, one.version, one.fingerprint, list(one.operations), one.doc)
        for one in contracts_of(load_app(target, working_folder()))
    ]
