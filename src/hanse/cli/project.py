"""Which project a command is about: that of a file of settings, by default the one in the current folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import click
from msgspec.structs import replace

from hanse.cli.options import working_folder
from hanse.deploy.project import Project
from hanse.kernel.settings_files import FILE

T = TypeVar("T")


def located(command: Callable[..., T]) -> Callable[..., T]:
    """Add `-f`; the command takes the folder of the system as `home`."""

    @click.option("-f", "--file", default=None, metavar="FILE", help="The settings that it was started with.")
    @wraps(command)
    def wrapped(*args: object, file: str | None, **rest: object) -> T:
        return command(*args, home=project_of(file, "").home, **rest)

    return wrapped


def asked_for(command: Callable[..., T]) -> Callable[..., T]:
    """Add what says which project is meant, and how much of it; the command takes it as `project`."""

    @click.argument("services", nargs=-1, metavar="[SERVICE]...")
    @click.option("-f", "--file", default=None, metavar="FILE", help="Settings or a Procfile; by default hanse.toml.")
    @click.option("--env", default="", metavar="NAME", help="Environment of the settings to use.")
    @click.option("--formation", default="", metavar="NAME=N,...", help="How many run of each; `all` is the others.")
    @wraps(command)
    def wrapped(
        *args: object, services: tuple[str, ...], file: str | None, env: str, formation: str, **rest: object
    ) -> T:
        project = replace(project_of(file, env, services), formation=formation)
        return command(*args, project=project, **rest)

    return wrapped


def project_of(file: str | None, env: str, only: tuple[str, ...] = ()) -> Project:
    """What a command is about: the project of a file, or of the current folder.

    Args:
        file: As typed; None for the one that is here.
        env: Name of the environment.
        only: Services that were named.
    """
    path = working_folder() / (file or os.environ.get("HANSE_CONFIG", FILE))
    return Project(path.parent, path.name, env, only)
