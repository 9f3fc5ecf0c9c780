"""In which order tests are run: those that wait for processes first, so that nobody waits for them at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, islice
from typing import TypeVar

T = TypeVar("T")

QUICK = ("tests/unit/", "tests/architecture/")
"""Where tests take milliseconds, most of them, and may come last."""


def dealt(tests: Sequence[T], workers: int, id_of: Callable[[T], str]) -> list[T]:
    """All tests, in an order for so many workers.

    A worker begins with a part of its own, each as large, and takes from the end of another's when it has done that.
    So each part begins with its share of the slow tests and ends with quick ones. Those of one module stay together,
    as they share what they start.
    """
    slow, quick = _apart(tests, id_of)
    left = iter(quick)
    order: list[T] = []
    for worker in range(workers):
        own = [test for module in slow[worker::workers] for test in module]
        end = len(tests) * (worker + 1) // workers
        order += [*own, *islice(left, max(0, end - len(order) - len(own)))]
    return [*order, *left]


def _apart(tests: Sequence[T], id_of: Callable[[T], str]) -> tuple[list[list[T]], list[T]]:
    """The slow ones by module, and the quick ones; in the order in which they came."""
    slow = [test for test in tests if not id_of(test).startswith(QUICK)]
    modules = groupby(slow, lambda test: id_of(test).partition("::")[0])
    return [list(module) for _, module in modules], [test for test in tests if id_of(test).startswith(QUICK)]
