"""A machine's own environment, as settings: its variables go over what all machines of a world share.

They are read by what reads those of a real process, so names, precedence and errors are the same; the shared settings
stand where `hanse.toml` does, tables of environments (`HANSE_ENV`) among them. The environment of the process that runs
the world is no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.route import Route
from hanse.kernel.settings import Section, Setting, Settings, resolve
from hanse.kernel.settings_files import ALIASES, PREFIX, file_layers, variable_layer
from hanse.kernel.settings_schema import as_table, type_at

SHARED = "Setup(settings=...)"
"""The source of what all machines share, as errors name it."""

SAID_ELSEWHERE: Mapping[str, str] = {
    "HANSE_APP": "Setup(app=...), and world.replace",
    "HANSE_CONFIG": SHARED,
    "HANSE_NODE__SERVICES": "Setup(machines=...)",
    "HANSE_NODE__TRANSPORT": "Setup(transport=...)",
}
"""Variables of a real process which say what a world is told in another way, and that."""


def settings_under(shared: Settings, variables: Mapping[str, str], machine: str) -> Settings:
    """The settings of a machine.

    Args:
        shared: What all machines of the world have.
        variables: The machine's environment, by name: settings, and nothing else.
        machine: Its name, for errors.

    Raises:
        Misconfigured: A variable cannot be used, or sets nothing; names the machine, and each such variable.

    Example:
        >>> settings_under(Settings(), {"HANSE_NODE__CALLS_MAX": "5"}, "orders").node.calls_max
        5
        >>> settings_under(Settings(), {"HANSE_NODE__GRACE": "long"}, "orders")
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Misconfigured: machine orders: node.grace (HANSE_NODE__GRACE): expected a duration ...
    """
    if not variables:
        return shared
    problems = [f"{name}: {wrong}" for name in variables if (wrong := _unheeded(name))]
    found, misspelt = variable_layer({name: value for name, value in variables.items() if not _unheeded(name)})
    table = cast("dict[str, object]", _plain(shared))
    all_machines, chosen = file_layers(table, SHARED, variables.get("HANSE_ENV", ""), problems)
    try:
        return resolve([map(_as_it_is, all_machines), chosen, found], [*problems, *misspelt])[0]
    except Misconfigured as wrong:
        raise Misconfigured(f"machine {machine}: {wrong.problem}") from None


def _unheeded(name: str) -> str:
    """Why a variable would change nothing in a world; empty where it would, or where its name is not quite right."""
    if name in SAID_ELSEWHERE:
        return f"in a world, {SAID_ELSEWHERE[name]} says that"
    target = name.removesuffix("_FILE")
    if target != name and (target in ALIASES or (target.startswith(PREFIX) and "__" in target)):
        return f"no file is read in a world; set {target}"
    if name in ALIASES or (name.startswith(PREFIX) and ("__" in name or variable_layer({name: ""})[1])):
        return ""
    return f"expected a setting, such as {PREFIX}NODE__GRACE; code that reads os.environ would not see it in a world"


def _plain(value: object) -> object:
    """Sections, and what is in them, as tables."""
    if isinstance(value, Route):
        told = cast("dict[str, object]", msgspec.to_builtins(value))
        return {name: part for name, part in told.items() if name != "source"}
    if isinstance(value, Section):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    table = as_table(value)
    return value if table is None else {name: _plain(inner) for name, inner in table.items()}


def _as_it_is(setting: Setting) -> Setting:
    """A setting that is read already: its text is not to be taken for a list or a table."""
    if isinstance(setting.value, str) and type_at(Settings, setting.path) is object:
        return Setting(setting.path, msgspec.json.encode(setting.value).decode(), setting.source)
    return setting
