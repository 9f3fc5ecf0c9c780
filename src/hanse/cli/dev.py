"""`hanse dev`: an app while it is written: anew on every change, on the same port, with its errors where one looks."""

from __future__ import annotations

import os
import shutil
import sys

import click
import msgspec

from hanse.cli.complete import targets
from hanse.cli.net import is_loopback
from hanse.cli.options import Chosen, common, configured, working_folder
from hanse.cli.output import Output
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Settings, Sources

STORE = ".hanse/dev"
"""Folder of the rows of services that nobody gave a store: they outlive a change of the code, and the day."""
KEPT = f"sqlite:///{STORE}"

GRACE_SECONDS = 1.0
"""How long requests may go on when the code has changed, unless `node.grace` says otherwise."""


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
    from hanse.cli.run import wanted_target
    from hanse.cli.target import folder_of, parse_target
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


def for_development(settings: Settings, sources: Sources) -> Settings:
    """The settings, with what suits development where nobody has said anything.

    Example:
        >>> found = for_development(Settings(), {})
        >>> found.node.store, found.node.grace, found.log.format
        ('sqlite:///.hanse/dev', 1.0, 'text')
    """
    node, log = settings.node, settings.log
    if "node.store" not in sources:
        node = msgspec.structs.replace(node, store=KEPT)
    if "node.grace" not in sources:
        node = msgspec.structs.replace(node, grace=GRACE_SECONDS)
    if "log.format" not in sources:
        log = msgspec.structs.replace(log, format="text")
    return msgspec.structs.replace(settings, node=node, log=log)


def check_address(settings: Settings) -> None:
    """Make sure that nobody else can look at the code's errors.

    Raises:
        Misconfigured: Other machines could.
    """
    host = settings.gateway.host
    if not is_loopback(host):
        raise Misconfigured(
            f"expected a gateway.host on this machine, such as 127.0.0.1, got {host!r}: `hanse dev` shows code to "
            f"whoever asks; use `hanse run` to be reached by others"
        )
