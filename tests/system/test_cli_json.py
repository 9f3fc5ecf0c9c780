"""`--json` of every verb: one convention, which docs/recipes/commands-in-scripts.md tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import click
import pytest

from hanse.cli.group import VERBS, hanse

Shop = Any
"""See conftest.py."""
Value = Any

WITHOUT = {
    "completion": "it prints a script for a shell",
    "dev": "it runs until it is stopped",
    "new": "it writes files",
    "run": "it runs until it is stopped",
    "shell": "it prints what the code says",
    "up": "it runs until it is stopped",
}
"""Verbs that have no JSON, and why."""

WORLDS = """
from hanse import World, simulation
from shop import app

@simulation(app, seeds=1)
async def quiet(world: World) -> None:
    pass
"""

READERS: dict[str, list[str]] = {
    "call": ["orders.place", "sku=tea"],
    "config show": [],
    "describe": ["shop.py"],
    "doctor": ["shop.py"],
    "emit": ["order_placed", "order_id=a"],
    "events": ["orders", "--snapshot", "--limit", "1"],
    "explain": [],
    "nodes": [],
    "services": [],
    "sim": ["worlds.py"],
    "store apply": ["shop.py"],
    "store plan": ["shop.py"],
    "version": [],
}
"""How each that has it is called so that it has something to tell."""

OF_LETTERS = ("actions", "drop", "edit", "export", "list", "replay", "show", "stop")
OF_SAGAS = ("abort", "list", "resume", "show")
ELSEWHERE = {
    **dict.fromkeys(
        ("webhooks deliveries", "webhooks list", "webhooks ping", "webhooks replay"),
        "it needs somebody outside who is sent something: see test_webhooks.py",
    ),
    **dict.fromkeys(
        ("down", "logs", "ps", "restart", "scale", "stop", "top", "wait"),
        "they need a system that runs: see tests/deploy/test_up.py",
    ),
    **dict.fromkeys(
        (
            "release",
            "route set",
            "route show",
            *(f"rollout {verb}" for verb in ("abort", "lift", "pause", "promote", "resume", "status", "verdict")),
        ),
        "they need a system that runs, and releases: see tests/deploy/test_release.py",
    ),
    **dict.fromkeys(("store dump", "store load"), "they need rows, and a folder: see test_store_dump.py"),
    **{f"deadletters {verb}": "it needs a message that failed: see tests/unit/cli" for verb in OF_LETTERS},
    **{f"sagas {verb}": "it needs a saga under way: see test_sagas_command.py" for verb in OF_SAGAS},
}
"""Verbs that are called by other tests, and why."""

LINES = {"events"}
"""What goes on: one object a line."""

NAME = re.compile(r"[a-z][a-z0-9_]*|\$defs|x-.*")
DATA = {"value", "reached", "faults", "properties", "operations", "events", "resources", "$defs", "before"}
"""Names below which the names are those of users."""


def commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield above + name, command


def items_of(value: Value) -> list[Value]:
    return [*value] if isinstance(value, list) else [value]


def names_in(value: Value) -> Iterator[str]:
    """All names of objects, but for those that users chose."""
    for item in items_of(value):
        table = cast("dict[str, Value]", item) if isinstance(item, dict) else {}
        yield from table
        for name, inner in table.items():
            if name not in DATA:
                yield from names_in(inner)


def test_every_verb_has_it_or_a_reason_why_not() -> None:
    having = {name for name, one in commands(hanse) if any("--json" in option.opts for option in one.params)}
    assert having == READERS.keys() | ELSEWHERE.keys()
    assert {name for name, _ in commands(hanse)} == having | WITHOUT.keys()
    assert WITHOUT.keys() <= VERBS.keys()


@pytest.mark.timeout(600)
def test_every_reader_tells_objects_of_plain_names(shop: Shop) -> None:
    (shop.folder / "worlds.py").write_text(WORLDS)
    for verb, arguments in READERS.items():
        done = shop.hanse(*verb.split(), *arguments, "--json")
        assert done.returncode == 0 or verb == "doctor", (verb, done.stderr)
        lines = done.stdout.splitlines()
        found: Value = [json.loads(line) for line in lines] if verb in LINES else json.loads(done.stdout)
        items = items_of(found)
        assert items, verb
        assert {type(item) for item in items} == {dict}, verb
        assert [name for name in names_in(found) if not NAME.fullmatch(name)] == [], verb
        quiet = shop.hanse(*verb.split(), *arguments, "--json", "-q", "--no-color")
        assert quiet.stdout.startswith(done.stdout[:1]), verb


def test_every_reader_that_fails_tells_one_object_on_standard_error(shop: Shop) -> None:
    nobody = ["--url", "http://127.0.0.1:9"]
    wrong: dict[str, list[str]] = {
        "call": [*nobody],
        "config show": ["--set", "gateway.prt=1"],
        "describe": ["nothing.py"],
        "emit": [*nobody],
        "events": [*nobody],
        "explain": ["no_such_code"],
        "services": [*nobody],
        "sim": ["nothing.py"],
        "store apply": ["nothing.py"],
        "store plan": ["nothing.py"],
    }
    for verb, arguments in wrong.items():
        given = READERS[verb] if nobody[0] in arguments else []
        failed = shop.hanse(*verb.split(), *given, *arguments, "--json")
        assert failed.returncode != 0, verb
        assert failed.stdout == "", verb
        error = json.loads(failed.stderr)["error"]
        assert {"code", "detail", "errors"} <= error.keys(), verb
