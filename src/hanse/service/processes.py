"""The processes of a pool: how a job names its function, and how the process that runs it finds it again."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import cast, final

from hanse.kernel.faults import Fault, Misdeclared

FOUND_MAX = 1_024
"""Functions that one process remembers."""

Outcome = tuple[bool, object]
"""Whether the function returned, and what; otherwise what it raised."""


@final
class Executor(ProcessPoolExecutor):
    """Starts processes anew, never by forking: what other threads hold at that moment would stay held for ever."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), _begin)

    @property
    def workers(self) -> list[BaseProcess]:
        """The processes that were started."""
        return list((self._processes or {}).values())

    def work(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Future[Outcome]:
        """Have a function run that `@cpu` decorates.

        Raises:
            BrokenExecutor: A process died; this executor is of no use any more.
        """
        module = function.__module__
        file = getattr(sys.modules.get(module), "__file__", None) or inspect.getfile(function)
        return self.submit(work, (module, os.path.realpath(file), function.__qualname__), args, dict(kwargs))


def _begin() -> None:
    """In a new process: whoever started it decides when it ends, also after a Ctrl-C at the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def work(where: tuple[str, str, str], args: tuple[object, ...], kwargs: dict[str, object]) -> Outcome:
    """In a process of the pool: find the function, run it, and bring whatever comes of it into a form to send."""
    try:
        return True, _found(*where)(*args, **kwargs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller gets whatever it is
        return False, _sendable(error)


def _sendable(error: BaseException) -> Exception:
    """The error, where it can be made again from its arguments as the other side will; else what it said."""
    if not isinstance(error, Fault):
        error.add_note("in a process of the pool:\n" + "".join(traceback.format_exception(error)))
    try:
        copy.deepcopy(error)
    except Exception:  # noqa: BLE001 - a constructor may do anything
        return RuntimeError(f"{type(error).__qualname__}: {error}")
    return error if isinstance(error, Exception) else RuntimeError(f"{type(error).__qualname__}: {error}")


@lru_cache(maxsize=FOUND_MAX)
def _found(module: str, file: str, name: str) -> Callable[..., object]:
    target: object = _module(module, file)
    try:
        for part in name.split("."):
            target = getattr(target, part)
        return cast("Callable[..., object]", vars(target)["__wrapped__"])
    except (AttributeError, KeyError, TypeError):
        raise Misdeclared(
            f"{name} is not found in {file} by another process; define it there, under its name"
        ) from None


def _module(name: str, file: str) -> ModuleType:
    """The module of this very file: by its name, as the path says, or from the file where the path says another.

    A spawned process begins with the path of the one that started it, so that a folder put there is seen here too.
    """
    if name not in sys.modules and _file_of(name) == file:
        importlib.import_module(name)
    known = sys.modules.get(name)
    if known is not None and os.path.realpath(getattr(known, "__file__", None) or "") == file:
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise Misdeclared(f"the module {name} cannot be imported from {file!r} by another process")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _file_of(name: str) -> str:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return ""
    return os.path.realpath(spec.origin) if spec is not None and spec.origin else ""
