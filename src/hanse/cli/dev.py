"""`hanse dev`: an app while it is written: anew on every change, on the same port, with its errors where one looks."""

from __future__ import annotations

import os
import shutil
import sys

import click

from hanse.cli.complete import targets
from hanse.cli.dev_settings import KEPT, STORE, check_address, for_development
from hanse.cli.options import Chosen, common, configured, working_folder
from hanse.cli.output import Output


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@click.option("--fresh", is_flag=True, help=f"Begin without the rows that are in {STORE}.")
@configured("port", "host", "store", "transport", "log-level", "log-format")
@common
def dev(*, target: str | None, fresh: bool, chosen: Chosen, output: Output) -> None:
    """Run an app while it is written: it starts anew on every change, and errors are shown in the browser.

    TARGET is as for `hanse run`. The port stays open while the app starts anew, so nobody is turned away. Rows are kept
    in .hanse/dev, unless a store is set. Only this machine can reach it.
    """
    from hanse.cli.dev_parent import CHILD, supervise

    if CHILD in os.environ:
        from hanse.cli.dev_child import be_child

        sys.exit(be_child(os.environ.pop(CHILD), target, chosen, output))
    from hanse.cli.target import folder_of, parse_target, wanted_target
    from hanse.gateway.listen import bound

    settings = for_development(*chosen.read())
    wanted = parse_target(wanted_target(target, settings, "dev"))
    check_address(settings)
    if fresh:
        shutil.rmtree(working_folder() / STORE, ignore_errors=True)
    if settings.node.store == KEPT:
        output.note(f"hanse: rows are kept in {STORE}; --fresh begins without them")
    folders = [working_folder(), folder_of(wanted, working_folder())]
    with bound(settings.gateway.host, settings.gateway.port) as listener:
        sys.exit(supervise(sys.argv[1:], folders, listener, output, grace=settings.node.grace))
