"""Streams end where their reader ends: whoever iterates over one closes it, so that its `finally` runs at once.

An async generator that is merely dropped is closed by the garbage collector, some time later and in another context.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class closing(Generic[T]):  # noqa: N801 - a context manager, named like contextlib's
    """Iterate over items, and close what makes them; an iterator that cannot be closed is left alone.

    Example:
        >>> async def first(items: AsyncIterator[int]) -> int:
        ...     async with closing(items) as opened:
        ...         return await anext(opened)
    """

    __slots__ = ("_items",)

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._items

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()
