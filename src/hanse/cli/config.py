"""`hanse config`: what is set, and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import click
import msgspec

from hanse.cli.options import Chosen, as_json, common, configured
from hanse.cli.output import Output, print_json, print_table
from hanse.kernel.codec import encode_json
from hanse.kernel.settings import DEFAULT, Settings, Sources
from hanse.kernel.settings_hide import hidden


class Row(msgspec.Struct, frozen=True):
    """One setting as it is shown: secrets are hidden."""

    key: str
    value: object
    source: str


@click.group()
def config() -> None:
    """Show the configuration."""


@config.command()
@configured()
@as_json
@common
def show(*, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Show every value and where it came from; secrets are hidden."""
    found = rows(*chosen.read())
    if json_wanted:
        print_json(found)
        return
    cells = [[row.key, encode_json(row.value).decode(), row.source] for row in found]
    print_table(cells, output, headings=["key", "value", "source"])


def rows(settings: Settings, sources: Sources) -> list[Row]:
    """Every value with its source, fit to be printed.

    Example:
        >>> rows(Settings(), {})[2]
        Row(key='gateway.host', value='127.0.0.1', source='default')
    """
    return [
        Row(key, hidden(value, key.rpartition(".")[2]), _source(key, sources)) for key, value in _leaves("", settings)
    ]


def _leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Mapping) and value:
        for name, inner in cast("Mapping[str, object]", value).items():
            yield from _leaves(f"{key}.{name}" if key else name, inner)
    else:
        yield key, value


def _source(key: str, sources: Sources) -> str:
    """Who set it: the key itself, or a table given whole, such as JSON in a variable."""
    while key and key not in sources:
        key = key.rpartition(".")[0]
    return sources.get(key, DEFAULT)
