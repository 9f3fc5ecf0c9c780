"""Tells what the services of an app promise and count on, as JSON: for releases, which import no code of anybody's."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click
from msgspec.structs import replace

from hanse.cli.options import working_folder
from hanse.cli.output import fault_text
from hanse.cli.source import load_app_from
from hanse.cli.target import load_app
from hanse.contract.declare import is_contract
from hanse.contract.derive import Description, describe
from hanse.contract.model import Event, Resource
from hanse.contract.schema import Json
from hanse.control.desired import GATEWAY
from hanse.control.promises import SHAPES, Promised
from hanse.gateway.gateway import Gateway
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault
from hanse.node.app import App, Part
from hanse.service.reaction import On
from hanse.service.service import Service, descriptions_of, reactions_of


def promises_of(app: App) -> dict[str, Promised]:
    """What each service of an app promises and counts on, and what its gateway shows to the outside.

    Args:
        app: What was imported.
    """
    services = {part.name: Promised(_offers(app, part), _expects(app, part)) for part in app.parts}
    return {**services, GATEWAY: Promised(expects=_shown(app))}


def _offers(app: App, part: Part) -> tuple[Json, ...]:
    owned = [kind for kind, owner in app.owners.items() if owner is part]
    contracts = descriptions_of(part.cls)
    told = [kind for contract in contracts for kind in contract.events]
    return (*_published(contracts), _shapes(told, owned))


def _expects(app: App, part: Part) -> tuple[Json, ...]:
    contracts = [field.contract for field in part.fields if field.contract is not None]
    found = [one for contract in contracts for one in _described(contract)]
    reactions = [one for one in reactions_of(part.cls).values() if isinstance(one, On)]
    heard = [one.kind for one in reactions if issubclass(one.kind, Event)]
    followed = [one.kind for one in reactions if issubclass(one.kind, Resource)]
    copied = [field.replica.source for field in part.fields if field.replica is not None]
    rows = [kind for kind in (*part.resources, *followed, *copied) if app.owners.get(kind) is not part]
    return (*_published(found), _shapes(heard, rows))


def _shown(app: App) -> tuple[Json, ...]:
    if not isinstance(app.gateway, Gateway):
        # Without a gateway, all is shown.
        return tuple(one for part in app.parts for one in _offers(app, part))
    declared = app.gateway.declared()
    shapes = _shapes([one.kind for one in declared.topics], [one.kind for one in declared.resources])
    return (*_published(declared.descriptions), shapes)


def _described(contract: type) -> list[Description]:
    if is_contract(contract):
        return [describe(contract)]
    return descriptions_of(contract) if issubclass(contract, Service) else []


def _published(descriptions: Iterable[Description]) -> tuple[Json, ...]:
    """Contracts alone: events and rows are told once, whoever lists them."""
    return tuple(replace(one, events=(), resources=()).publish() for one in descriptions)


def _shapes(events: Iterable[type[Event]], resources: Iterable[type[Resource]]) -> Json:
    return Description(SHAPES, "", "", {}, tuple(dict.fromkeys(events)), tuple(dict.fromkeys(resources))).publish()


def main(target: str, *source: str) -> int:
    """Print what the services of a target promise; the exit code."""
    try:
        app = load_app_from(target, Path(source[0])) if source else load_app(target, working_folder())
        told = encode_json(promises_of(app))
    except Fault as fault:
        click.echo(fault_text(fault), err=True)
        return fault.exit_code
    click.echo(told)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
