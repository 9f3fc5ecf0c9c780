"""Tells what an app consists of, as JSON: for `hanse up`, which imports no code of anybody's."""

from __future__ import annotations

import sys

import click

from hanse.cli.options import working_folder
from hanse.cli.output import fault_text
from hanse.cli.target import load_app
from hanse.control.desired import Part, Parts
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault
from hanse.node.app import App


def parts_of(target: str, app: App) -> Parts:
    """What an app consists of, and who calls whom.

    Args:
        target: What was imported, as it was typed.
        app: What came of it.
    """
    services = {part.name: _needs(app, part.name) for part in app.parts}
    found = tuple(Part(name, needs) for name, needs in without_circles(services).items())
    return Parts(target, found, gateway=True, name=app.name)


def _needs(app: App, name: str) -> tuple[str, ...]:
    (part,) = (one for one in app.parts if one.name == name)
    providers = (app.providers[field.contract] for field in part.fields if field.contract is not None)
    return tuple(dict.fromkeys(one.name for one in providers if one.name != name))


def without_circles(needs: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Two who call each other start in any order: of what would be a circle, the later need is left away."""
    kept: dict[str, tuple[str, ...]] = {}
    for name, wanted in needs.items():
        kept[name] = tuple(need for need in wanted if name not in _reached(kept, need))
    return kept


def _reached(needs: dict[str, tuple[str, ...]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return found


def main(target: str) -> int:
    """Print the parts of a target; the exit code."""
    try:
        parts = parts_of(target, load_app(target, working_folder()))
    except Fault as fault:
        click.echo(fault_text(fault), err=True)
        return fault.exit_code
    click.echo(encode_json(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
