"""A look at a server from where no loop runs, or another one does: `hanse store plan` and `hanse doctor` look so."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def looked(look: Coroutine[Any, Any, T]) -> T:
    """What a look comes to, in a thread of its own, which has no loop whatever the caller has.

    Example:
        >>> looked(asyncio.sleep(0, "nothing there"))
        'nothing there'
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, look).result()
