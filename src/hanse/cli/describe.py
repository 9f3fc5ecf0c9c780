"""`hanse describe`: the contracts of an app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import click
import msgspec

from hanse.cli.complete import targets
from hanse.cli.options import Chosen, as_json, common, configured, working_folder
from hanse.cli.output import Output, print_json
from hanse.cli.schema_text import fields_text, type_text
from hanse.cli.target import load_app, wanted_target
from hanse.contract.derive import Description
from hanse.node.app import App
from hanse.service.service import descriptions_of

Json = dict[str, object]


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@configured()
@as_json
@common
def describe(*, target: str | None, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Show the contracts of TARGET: operations with their types and faults, events, resources, fingerprints.

    Without one, it is what hanse.toml says under `app`.
    """
    wanted = wanted_target(target, chosen.read()[0], "describe")
    published = published_by(load_app(wanted, working_folder()))
    if json_wanted:
        print_json(published)
        return
    for index, contract in enumerate(published):
        for line in ([""] if index else []) + list(lines_of(contract)):
            heading = output.colour and line and not line.startswith(" ")
            click.echo(click.style(line, bold=True) if heading else line, color=output.colour)


def published_by(app: App) -> list[Json]:
    """The contracts of an app as JSON data, each with the resources that its service keeps and its fingerprint."""
    owned = {part.name: tuple(kind for kind in part.resources if app.owners[kind] is part) for part in app.parts}
    return [
        {
            **msgspec.structs.replace(one, resources=one.resources or owned.get(one.name, ())).publish(),
            "fingerprint": one.fingerprint,
        }
        for one in contracts_of(app)
    ]


def contracts_of(app: App) -> list[Description]:
    """The contracts that an app serves, each once."""
    found = {one.name: one for service in app.services for one in descriptions_of(service)}
    return list(found.values())


def lines_of(contract: Json) -> Iterator[str]:
    """A published contract as people read it."""
    yield f"{contract['name']} {contract['version']}  {contract['fingerprint']}"
    yield from _prose(contract["description"], "  ")
    for name, operation in _table(contract["operations"]):
        arguments = fields_text(operation["arguments"], contract["$defs"])
        yield f"  {name}({arguments}) -> {_answer(operation)}{_promises(operation)}"
        yield from _prose(operation["description"], "    ")
    for word in ("events", "resources"):
        for name, shape in _table(contract[word]):
            yield f"  {word.removesuffix('s')} {name}: {fields_text(shape['schema'], contract['$defs'])}"


def _answer(operation: Json) -> str:
    result = type_text(operation["result"])
    return f"stream of {result}" if operation["stream"] else result


def _promises(operation: Json) -> str:
    found = [
        "idempotent" if operation["idempotent"] else "",
        f"timeout {operation['timeout']:g} s" if operation["timeout"] else "",
        str(operation["route"] or ""),
        " or ".join(code for code, _ in _table(operation["faults"])),
    ]
    told = ", ".join(filter(None, found))
    return f"  [{told}]" if told else ""


def _prose(text: object, indent: str) -> Iterator[str]:
    """The first line of a docstring; the rest is in the JSON."""
    first = str(text).partition("\n")[0].strip()
    if first:
        yield indent + first


def _table(value: object) -> list[tuple[str, Json]]:
    return list(cast("dict[str, Json]", value).items())
