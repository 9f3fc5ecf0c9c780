"""Where a simulation was declared, so that another process can find it and people can name it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.sim.simulation import ATTRIBUTE, Simulation, simulation_of


class Origin(msgspec.Struct, frozen=True):
    """Where a simulation was declared.

    Attributes:
        file: The file, in full.
        module: Name of its module.
        name: Of the simulation in it.
    """

    file: str
    module: str
    name: str

    def target(self, folder: Path) -> str:
        """What to type to run it from a folder.

        Example:
            >>> Origin("/app/tests/worlds.py", "worlds", "story").target(Path("/app"))
            'tests/worlds.py:story'
        """
        return f"{seen_from(folder, Path(self.file)).as_posix()}:{self.name}"


def seen_from(folder: Path, file: Path) -> Path:
    """A file by the shortest path that leads there: from the folder where it lies in it, else from the root.

    Example:
        >>> file = Path("/app/tests/worlds.py")
        >>> print(seen_from(Path("/app"), file), seen_from(Path("/srv"), file))
        tests/worlds.py /app/tests/worlds.py
    """
    return file.relative_to(folder) if file.is_relative_to(folder) else file


def origin_of(simulation: Simulation) -> Origin | None:
    """Where a simulation was declared; None for one that no name in its module stands for, as it is in a function."""
    module = sys.modules.get(simulation.story.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return None
    for name, value in vars(module).items():
        if value is simulation or getattr(value, ATTRIBUTE, None) is simulation:
            return Origin(str(Path(file).resolve()), module.__name__, name)
    return None


def simulations_of(module: ModuleType) -> dict[str, Simulation]:
    """The simulations that a module declares or has imported, by name."""
    names = {name: getattr(value, ATTRIBUTE, value) for name, value in vars(module).items()}
    return {name: value for name, value in names.items() if isinstance(value, Simulation)}


def load(origin: Origin, path: Sequence[str]) -> Simulation:
    """Find a simulation that another process declared.

    Args:
        origin: Where it was.
        path: Where that process looked for modules.

    Raises:
        Misconfigured: It is not there.
    """
    sys.path[:] = path
    module = _module(origin)
    found = getattr(module, origin.name, None)
    if found is None:
        raise Misconfigured(f"there is no {origin.name!r} in {origin.file} any more; did the file change meanwhile?")
    return simulation_of(found)


def _module(origin: Origin) -> ModuleType:
    """By its name where that leads to its file; otherwise from the file, as test runners and scripts do."""
    file = Path(origin.file)
    name = file.stem if origin.module == "__main__" else origin.module
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
    else:
        if Path(getattr(found, "__file__", None) or "").resolve() == file:
            return found
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Misconfigured(f"expected a Python file, got {file}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
