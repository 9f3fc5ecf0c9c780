"""What follows from an app, made once for it: a sweep runs one app a thousand times."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from hanse.node.app import App

T = TypeVar("T")


def per_app(make: Callable[[App], T]) -> Callable[[App], T]:
    """Remember what a function makes of an app, for as long as there is the app.

    Example:
        >>> size = per_app(lambda app: len(app.parts))
        >>> size(App("empty"))
        0
    """
    known: WeakKeyDictionary[App, T] = WeakKeyDictionary()

    def made(app: App) -> T:
        found = known.get(app)
        if found is None:
            found = known[app] = make(app)
        return found

    return made
