"""`@cpu`: work that would keep the event loop from anything else, in processes of its own.

The function stays as it is written; what its callers see is awaited. A job names the function (module, file, name in
it), and the process that runs it imports the module and looks behind the wrapper. Only our own processes are talked to
that way: nothing from the wire is ever imported or unpickled.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

from hanse.kernel.faults import Misdeclared
from hanse.service.pool import Pool, ProcessPool

P = ParamSpec("P")
T = TypeVar("T")


def cpu(function: Callable[P, T], /) -> Callable[P, Coroutine[object, object, T]]:
    """Run a function in a pool of processes: callers await it, and the event loop goes on.

    Arguments, result and errors travel between processes, so they are plain data, models or the like. The function
    itself, for tests, is under `__wrapped__`. Giving up the wait does not stop a job that has begun.

    Raises:
        Misdeclared: It is not a plain function at the top of a module (or a static method of a class there).

    Example:
        >>> from hanse.service.pool import InlinePool
        >>> @cpu
        ... def add(left: int, right: int) -> int:
        ...     return left + right
        >>> with using_pool(InlinePool()):
        ...     asyncio.run(add(1, 2))
        3
    """
    _check(function)

    @wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", await _pool().run(function, args, kwargs))

    return run


def _check(function: object) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function):
        raise Misdeclared(f"@cpu goes over a function, got {name}; under @staticmethod, not over it")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise Misdeclared(f"{name} is `async def`, which needs no process: drop @cpu, or make it `def`")
    if inspect.isgeneratorfunction(function):
        raise Misdeclared(f"{name} yields, which cannot cross to another process; return a list")
    if "<" in name:
        raise Misdeclared(f"{name} cannot be found by another process; define it with `def` at the top of a module")
    if next(iter(inspect.signature(function).parameters), "") in ("self", "cls"):
        raise Misdeclared(f"{name} takes an object that lives in this process; make it a function of its data")


_processes = ProcessPool()
_in_use: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Pool]] = WeakKeyDictionary()
_anywhere: list[Pool] = [_processes]


@contextmanager
def using_pool(pool: Pool, *, fallback: bool = False) -> Generator[None]:
    """Have `@cpu` functions called on this event loop (outside any: on all that say nothing else) run in a pool.

    Without it they run in one for the whole process, with a worker for each processor, which ends with the process.

    Args:
        pool: Opened and closed by whoever owns it, such as a node.
        fallback: Whether any other pool is to be used rather than this one, as that of a node is.
    """
    try:
        pools = _in_use.setdefault(asyncio.get_running_loop(), [])
    except RuntimeError:
        pools = _anywhere
    pools.insert(0 if fallback else len(pools), pool)
    try:
        yield
    finally:
        pools.remove(pool)


def _pool() -> Pool:
    return (_in_use.get(asyncio.get_running_loop()) or _anywhere)[-1]
