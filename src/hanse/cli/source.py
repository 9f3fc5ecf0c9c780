"""Code from another folder than the current one: that of another release, whose settings and sockets are here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from hanse.cli.options import working_folder
from hanse.cli.target import load_app, module_of
from hanse.kernel.faults import Misconfigured
from hanse.node.app import App

T = TypeVar("T")


def from_source(command: Callable[..., T]) -> Callable[..., T]:
    """Add `--source`; the command takes it as `source`."""
    folder = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
    return click.option(
        "--source", type=folder, default=None, metavar="FOLDER", help="Where its code is, if not here."
    )(command)


def load_app_from(text: str, source: Path) -> App:
    """Import a target from a folder, and nothing of the current one, which may have another release of the same names.

    Args:
        text: As typed.
        source: Where its files and modules are.

    Raises:
        Misconfigured: There is no such thing there, or several are meant.
        CouldNotStart: It fails on import.
    """
    here = working_folder()
    if here.resolve() != source.resolve():
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here.resolve()]
    found = getattr(module_of(text, source), "__file__", None)
    if found is None or not Path(found).resolve().is_relative_to(source.resolve()):
        raise Misconfigured(
            f"expected {text} in {source}, but it came from {found}: name it in hanse.toml by a file or a module that "
            f'the folder itself has, such as app = "shop.py" or app = "src/shop/main.py", and not by what is installed'
        )
    return load_app(text, source)
