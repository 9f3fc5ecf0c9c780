"""Servers of stores for fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from .server import FolderServer

S = TypeVar("S", bound=FolderServer)


def serving(why_not: str, start: Callable[[], S]) -> Iterator[S]:
    """What a fixture yields from: a server, or why there are no tests."""
    if why_not:
        pytest.skip(why_not)
    one = start()
    try:
        yield one
    finally:
        one.remove()
