"""Who wants to hear of commits: woken once per turn of the event loop, however many commits it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import final

import msgspec

from hanse.kernel.faults import Overloaded
from hanse.store.base import Batch, Emit

LISTENERS_MAX = 10_000
"""Listeners of one store at most."""

LATE_SECONDS = 5.0
"""How long a listener may sleep through commits that it did not ask for. Then it is woken once for all of them, so that
the position that it has come to grows old with nobody, and nothing is kept from being trimmed for its sake."""


class _Listener(msgspec.Struct, eq=False):
    """Somebody who listens.

    Attributes:
        wake: Wakes it.
        names: What it asked for; None for all.
        behind: Whether it has slept through a commit.
    """

    wake: Callable[[], None]
    names: frozenset[str] | None
    behind: bool = False


def names_in(batches: Iterable[Batch]) -> set[str]:
    """The names that the entries of some batches have in the log."""
    return {write.topic if isinstance(write, Emit) else write.collection for batch in batches for write in batch.writes}


@final
class Listeners:
    """Callbacks to run soon after a commit.

    They run from the loop and not within the commit, so a callback that raises is the loop's to report and spoils
    nothing that was written.
    """

    def __init__(self) -> None:
        self._listeners: dict[object, _Listener] = {}
        self._names: set[str] = set()
        self._others = False
        self._due = False
        self._late: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, wake: Callable[[], None], names: Sequence[str] | None = None) -> Callable[[], None]:
        """Call `wake` from now on; the answer, called, stops it.

        Args:
            wake: Called after commits.
            names: After those with entries of these names, and within `LATE_SECONDS` of others; after all, where none
                are given.

        Raises:
            Overloaded: `LISTENERS_MAX` are listening already.
        """
        if len(self._listeners) >= LISTENERS_MAX:
            raise Overloaded(f"{LISTENERS_MAX} listeners of one store")
        token = object()
        self._listeners[token] = _Listener(wake, None if names is None else frozenset(names))

        def stop() -> None:
            self._listeners.pop(token, None)

        return stop

    def wake(self, loop: asyncio.AbstractEventLoop, batches: Iterable[Batch] | None = None) -> None:
        """Wake those who asked for it in the next turn of the loop.

        Args:
            loop: Where they wait.
            batches: What was committed; None where others did that, so that nobody here knows.
        """
        if not self._listeners:
            return
        if batches is None:
            self._others = True
        else:
            self._names |= names_in(batches)
        if not self._due:
            self._due = True
            loop.call_soon(self._run, loop)

    def rest(self) -> None:
        """Wake nobody late: the store is closed."""
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        names, others = self._names, self._others
        self._names, self._others, self._due = set(), False, False
        for token in tuple(self._listeners):
            # Another one's wake may have stopped it by now.
            one = self._listeners.get(token)
            if one is None:
                continue
            if others or one.names is None or not one.names.isdisjoint(names):
                _call(loop, one)
            else:
                one.behind = True
                if self._late is None:
                    self._late = loop.call_later(LATE_SECONDS, self._catch_up, loop)

    def _catch_up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._late = None
        for one in tuple(self._listeners.values()):
            if one.behind:
                _call(loop, one)


def _call(loop: asyncio.AbstractEventLoop, one: _Listener) -> None:
    one.behind = False
    try:
        one.wake()
    except Exception as error:  # noqa: BLE001 - it is told, and the others are woken
        loop.call_exception_handler({"message": "a listener of a store failed", "exception": error})
