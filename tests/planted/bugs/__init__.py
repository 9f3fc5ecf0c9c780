"""Bugs, one a file. Importing one plants it in this process for good: see the README beside this folder."""

from collections.abc import Callable
from inspect import signature
from typing import TypeVar

from ..worlds import (  # noqa: TID252 - once, for all bugs
    agency,
    bank,
    bell,
    broken,
    calendar,
    counter,
    follower,
    gate,
    hooks,
    inn,
    jobs,
    ledger,
    mended,
    mirror,
    office,
    oracle,
    parked,
    routed,
    supervised,
    trips,
)

__all__ = [
    "agency",
    "bank",
    "bell",
    "broken",
    "calendar",
    "counter",
    "follower",
    "gate",
    "hooks",
    "inn",
    "instead",
    "jobs",
    "ledger",
    "mended",
    "mirror",
    "office",
    "oracle",
    "parked",
    "routed",
    "supervised",
    "trips",
]

F = TypeVar("F", bound=Callable[..., object])


def instead(owner: object) -> Callable[[F], F]:
    """Put a function in the place of the one of its name that a class or a module has, and that is called as it is.

    A bug that does not fit the code any more must not be found for that alone.
    """

    def replace(function: F) -> F:
        name = function.__name__
        was, now = signature(getattr(owner, name)), signature(function)
        assert [*was.parameters] == [*now.parameters], f"{name} is called as {was} now, not as {now}"
        setattr(owner, name, function)
        return function

    return replace
