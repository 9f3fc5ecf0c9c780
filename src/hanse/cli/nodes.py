"""`hanse nodes`: which processes a running system consists of, and what each serves."""

from __future__ import annotations

import click

from hanse.cli.fleet import NODE_HEADINGS, node_rows, nodes_at
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.remote import Remote, remote
from hanse.kernel.host import Host


@click.command()
@remote
@as_json
@common
def nodes(*, remote: Remote, json_wanted: bool, output: Output) -> None:
    """List the nodes of a running system, as the one at --url knows them, or as they are found over --transport."""
    found = nodes_at(remote)
    if json_wanted:
        print_json(found)
        return
    print_table(node_rows(found, Host.system().now()), output, headings=NODE_HEADINGS)
