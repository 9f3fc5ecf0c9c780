"""`hanse version`."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version as installed

import click

from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json


@click.command()
@as_json
@common
def version(*, json_wanted: bool, output: Output) -> None:
    """Show which Hanse, Python and machine this is."""
    found = {"hanse": installed("hanse"), "python": platform.python_version(), "platform": sys.platform}
    if json_wanted:
        print_json(found)
    elif output.quiet:
        click.echo(found["hanse"])
    else:
        click.echo(" ".join(f"{name} {text}" for name, text in found.items()))
