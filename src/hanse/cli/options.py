"""Options that commands share, handed to them as one value each: `output`, `json_wanted` and `chosen`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
import msgspec

from hanse.cli.output import JSON_WANTED, Output, output_of
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Setting, Settings, Sources
from hanse.kernel.settings_files import load
from hanse.kernel.settings_schema import choices, type_at

P = ParamSpec("P")
T = TypeVar("T")

FLAGS: Mapping[str, tuple[str, str]] = {
    "port": ("gateway.port", "Port to listen on; 0 takes a free one."),
    "host": ("gateway.host", "Address to listen on; only this machine reaches the default."),
    "store": ("node.store", "URL of the store, such as sqlite:///shop.db."),
    "services": ("node.services", "What to host: names of services, and gateway, with commas; by default all."),
    "transport": ("node.transport", "URL of what carries messages between nodes, such as unix:run."),
    "discovery": (
        "node.discovery",
        "URL of how nodes find each other, such as udp://; by default the transport's own.",
    ),
    "events": ("node.events", "Where events wait for their subscribers: log, or broker where the transport has one."),
    "log-level": ("log.level", "The least urgent level that is logged."),
    "log-format": ("log.format", "json, text, or auto: text on a terminal."),
}
"""Flags that set what is set most often: the key of each, and its help. Their values are judged with all others."""

SWITCHES: Mapping[str, tuple[str, str]] = {
    "access-log": ("log.access", "Log a line for each request; by default on a terminal only."),
}
"""The same for flags that are `on`, or with `--no-` before them `off`."""


class Chosen(msgspec.Struct, frozen=True):
    """What the command line says about the settings."""

    env: str = ""
    flags: tuple[Setting, ...] = ()

    def read(self) -> tuple[Settings, Sources]:
        """The settings of this process: its folder, its environment, and the command line.

        Raises:
            Misconfigured: Something cannot be used.
        """
        return load(working_folder(), os.environ, flags=self.flags, environment=self.env)


def common(command: Callable[..., T]) -> Callable[..., T]:
    """Add `-q`, `-v` and `--no-color`; the command takes them as `output`."""

    @click.option("-q", "--quiet", is_flag=True, help="Say results and errors only.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more.")
    @click.option("--no-color", is_flag=True, help="Print without colours.")
    @wraps(command)
    def wrapped(*args: object, quiet: bool, verbose: bool, no_color: bool, **rest: object) -> T:
        output: Output = output_of(quiet=quiet, verbose=verbose, no_color=no_color)
        return command(*args, output=output, **rest)

    return wrapped


def as_json(command: Callable[P, T]) -> Callable[P, T]:
    """Add `--json`; the command takes it as `json_wanted`."""

    def note(context: click.Context, option: click.Parameter, wanted: bool) -> bool:  # noqa: FBT001 - click calls it
        del option
        context.meta[JSON_WANTED] = wanted
        return wanted

    return click.option("--json", "json_wanted", is_flag=True, callback=note, help="Print JSON.")(command)


def configured(*names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Add `--env`, `--set` and the named `FLAGS`; the command takes them as `chosen`."""

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        @wraps(command)
        def wrapped(*args: object, env: str, pairs: tuple[str, ...], **rest: object) -> T:
            given = {name: rest.pop(name.replace("-", "_")) for name in names}
            flags = [_flag_setting(name, value) for name, value in given.items() if value is not None]
            return command(*args, chosen=Chosen(env, (*flags, *map(pair_setting, pairs))), **rest)

        added: Callable[..., T] = click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help=_SET_HELP)(
            wrapped
        )
        added = click.option("--env", default="", metavar="NAME", help="Environment of hanse.toml to use.")(added)
        for name in reversed(names):
            option: Callable[[Callable[..., T]], Callable[..., T]] = _option(name)
            added = option(added)
        return added

    return decorate


_SET_HELP = "Set anything, such as services.orders.settings.limit=3; may be repeated."


def pair_setting(pair: str) -> Setting:
    """The setting of one `--set`.

    Raises:
        click.UsageError: It is not `KEY=VALUE`.

    Example:
        >>> pair_setting("services.orders.settings.limit=3").path
        ('services', 'orders', 'settings', 'limit')
    """
    key, equals, value = pair.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise click.UsageError(f"expected --set KEY=VALUE, such as --set node.grace=5s, got {pair!r}")
    return Setting(path, value, f"--set {key.strip()}")


def working_folder() -> Path:
    """The current folder.

    Raises:
        Misconfigured: It has been removed.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise Misconfigured("expected a current folder, but it has been removed; change to one that exists") from None


def _option(name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    if name in SWITCHES:
        return click.option(f"--{name}/--no-{name}", default=None, help=SWITCHES[name][1])
    return click.option(f"--{name}", default=None, help=FLAGS[name][1], shell_complete=_values(name))


def _values(name: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What a shell is offered for a flag: the values that its setting lists."""

    def offered(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del context, parameter
        listed = choices(type_at(Settings, tuple(FLAGS[name][0].split("."))))
        return [value for value in listed if value.startswith(incomplete)]

    return offered


def _flag_setting(name: str, value: object) -> Setting:
    if name in SWITCHES:
        return Setting(
            tuple(SWITCHES[name][0].split(".")), "on" if value else "off", f"--{name if value else f'no-{name}'}"
        )
    return Setting(tuple(FLAGS[name][0].split(".")), value, f"--{name}")
