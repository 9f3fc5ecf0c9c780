"""From what a user types (`greet.py`, `shop.main`, `shop.main:app`) to the app that it means.

Reading the text and choosing among a module's names are pure; `load_app` imports.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

import click
import msgspec

from hanse.kernel.faults import CouldNotStart, Fault, Misconfigured
from hanse.kernel.settings import Settings
from hanse.kernel.settings_schema import nearest
from hanse.node.app import App
from hanse.service.service import Service, service_name


class Target(msgspec.Struct, frozen=True):
    """A target as typed: a module by name or by file, and the name in it; an empty one means the only app."""

    module: str
    name: str = ""

    @property
    def is_file(self) -> bool:
        """Whether the module is given by its file."""
        return self.module.endswith(".py") or "/" in self.module or "\\" in self.module


class Place(msgspec.Struct, frozen=True):
    """How to import a module: its name, the folder that goes on the path, and the file that it has to be."""

    module: str
    folder: Path
    file: Path | None = None


def wanted_target(target: str | None, settings: Settings, verb: str) -> str:
    """What to run: what was typed, else what the settings say.

    Raises:
        click.UsageError: Neither says anything.
    """
    wanted = target or settings.app
    if not wanted:
        raise click.UsageError(f"expected what to run, such as `hanse {verb} greet.py`, or `app = ...` in hanse.toml")
    return wanted


def parse_target(text: str) -> Target:
    """Read a target.

    Raises:
        Misconfigured: It is empty, or what follows the colon is no name.

    Example:
        >>> parse_target("shop/main.py:app")
        Target(module='shop/main.py', name='app')
    """
    module, colon, name = text.rpartition(":")
    if not colon or (len(module) == 1 and name[:1] in "/\\"):  # a drive's letter is no module
        module, name = text, ""
    if not module or (name and not name.isidentifier()) or (colon and not name and text.endswith(":")):
        raise Misconfigured(f"expected a file or a module, such as greet.py, shop.main or shop.main:app, got {text!r}")
    return Target(module, name)


def folder_of(target: Target, folder: Path) -> Path:
    """The folder that a target's file lies in; for a module, the current one."""
    return (folder / target.module).resolve().parent if target.is_file else folder


def load_app(text: str, folder: Path) -> App:
    """Import a target and find its app; services without one become an app of theirs, with no gateway.

    Args:
        text: As typed.
        folder: The current folder, where files and modules are looked for first.

    Raises:
        Misconfigured: There is no such thing, or several things are meant.
        CouldNotStart: The module fails on import.
    """
    target = parse_target(text)
    module = load_module(target, folder)
    names = cast("Mapping[str, object]", vars(module))
    chosen = choose(names, target, module.__name__)
    if isinstance(chosen, App):
        return chosen
    title = service_name(chosen[0]) if target.name else module.__name__.rpartition(".")[2]
    return App(title, *chosen)


def load_composed(text: str, folder: Path) -> tuple[App, str] | None:
    """The app that a service is composed in, and the service's name there, where a target names a service.

    Returns:
        None where it names something else, or where not one app of the module has it.

    Raises:
        Misconfigured: There is no such module.
        CouldNotStart: It fails on import.
    """
    target = parse_target(text)
    names = cast("Mapping[str, object]", vars(load_module(target, folder)))
    wanted = names.get(target.name)
    apps = dict.fromkeys(value for value in names.values() if isinstance(value, App))
    found = [(app, part.name) for app in apps for part in app.parts if wanted is part.cls]
    return found[0] if len(found) == 1 else None


def load_module(target: Target, folder: Path) -> ModuleType:
    """Import the module of a target.

    Args:
        target: As it was read.
        folder: The current folder, where files and modules are looked for first.

    Raises:
        Misconfigured: There is no such module.
        CouldNotStart: It fails on import.
    """
    return _import(_place(target, folder), target)


def module_of(text: str, folder: Path) -> ModuleType:
    """The module that a target was imported from. Raises what `load_module` does."""
    return load_module(parse_target(text), folder)


def choose(names: Mapping[str, object], target: Target, module: str) -> App | list[type[Service]]:
    """What a module offers to be run: the app that is named, else its only app, else the services that it defines.

    Args:
        names: The module's names and what they stand for.
        target: What was asked for.
        module: Name of the module; services that it only imported are not its own.

    Raises:
        Misconfigured: There is nothing, or several apps.
    """
    if target.name:
        return _named(names, target)
    apps: dict[App, str] = {}
    for name, value in names.items():
        if isinstance(value, App):
            apps.setdefault(value, name)
    if len(apps) > 1:
        listed = ", ".join(f"{target.module}:{name}" for name in sorted(apps.values()))
        raise Misconfigured(f"expected one app in {target.module}, but it has several; say which one: {listed}")
    for app in apps:
        return app
    services = _services(names.values(), module)
    if not services:
        raise Misconfigured(
            f"expected an App or a Service in {target.module}, but it defines neither; write "
            f"`class Greeter(Service)` with an @rpc method, or `app = App(...)`"
        )
    return services


def _named(names: Mapping[str, object], target: Target) -> App | list[type[Service]]:
    runnable = [name for name, value in names.items() if isinstance(value, App) or _is_service(value)]
    value = names.get(target.name)
    if isinstance(value, App):
        return value
    if _is_service(value):
        return [cast("type[Service]", value)]
    if target.name in names:
        problem = f"{target.name} is a {type(value).__name__}"
    else:
        near = nearest(target.name, runnable)
        problem = f"there is no {target.name!r}" + (f"; did you mean {near}?" if near else "")
    offers = f"; it offers {', '.join(sorted(runnable))}" if runnable else ""
    raise Misconfigured(f"expected an App or a Service at {target.module}:{target.name}, but {problem}{offers}")


def _is_service(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Service) and value is not Service


def _services(values: Iterable[object], module: str) -> list[type[Service]]:
    found = [cast("type[Service]", value) for value in dict.fromkeys(filter(_is_service, values))]
    own = [cls for cls in found if cls.__module__ == module and not cls.__name__.startswith("_")]
    return [cls for cls in own if not any(cls in other.__mro__[1:] for other in own)]


def _place(target: Target, folder: Path) -> Place:
    if not target.is_file:
        return Place(target.module, folder)
    path = (folder / target.module).resolve()
    if path.is_dir():
        raise Misconfigured(f"expected a Python file, but {target.module} is a folder; name the file in it")
    if not path.is_file():
        near = nearest(path.name, [file.name for file in path.parent.glob("*.py")])
        hint = f"; did you mean {Path(target.module).parent / near}?" if near else ""
        raise Misconfigured(f"there is no file {target.module}{hint}")
    if not path.stem.isidentifier():
        raise Misconfigured(f"expected a file that can be imported, but {path.stem!r} is no name in Python; rename it")
    # A file of a package is a module of it, or its relative imports would fail.
    module, root = path.stem, path.parent
    while (root / "__init__.py").is_file():
        module, root = f"{root.name}.{module}", root.parent
    return Place(module.removesuffix(".__init__"), root, path)


def _import(place: Place, target: Target) -> ModuleType:
    first = str(place.folder)
    if sys.path[:1] != [first]:
        sys.path.insert(0, first)  # @cpu's processes inherit the path and import the module by its name
    try:
        module = importlib.import_module(place.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place.module}.".startswith(f"{error.name}."):
            raise _failed(target, error) from error
        raise Misconfigured(
            f"there is no module {error.name!r} in {place.folder} or among what is installed; "
            f"name a file such as greet.py, or a module such as shop.main"
        ) from None
    except (Exception, SystemExit) as error:  # a module may fail in any way
        raise _failed(target, error) from error
    found = getattr(module, "__file__", None)
    if place.file is not None and (found is None or Path(found).resolve() != place.file):
        raise Misconfigured(
            f"{target.module} would be imported as {place.module!r}, which is another module already; rename the file"
        )
    return module


def _failed(target: Target, error: BaseException) -> Fault:
    """Why the module could not be imported, with the line of the user's that it happened at."""
    what = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
    where = _where(error)
    problem = f"{target.module} cannot be imported: {what}{where}"
    return Misconfigured(problem) if isinstance(error, Fault) else CouldNotStart(problem)


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text has the line
    package = str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", package))]
    return f" ({own[-1].filename}, line {own[-1].lineno}: {own[-1].line})" if own else ""
