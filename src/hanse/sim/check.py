"""What has to hold in a world: always, in the end, and at least sometimes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import cast

import msgspec

from hanse.kernel.message import Message
from hanse.store.base import Batch

Check = Callable[[], object]
"""Looks at the world without changing it. It fails by raising AssertionError, or by returning what is wrong in words
(or False); None and True say that all is well."""

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")

VIOLATIONS_MAX = 100
"""Violations that one run tells of."""


class Violation(msgspec.Struct, frozen=True):
    """Something that had to hold, and did not.

    Attributes:
        check: Its name.
        detail: What was found.
        at: Second of the world's clock.
    """

    check: str
    detail: str
    at: float


def broken(check: Check) -> str | None:
    """Ask a check; what is wrong, or None.

    Example:
        >>> broken(lambda: 1 + 1 == 3), broken(lambda: None), broken(lambda: "two orders of one id")
        ('it does not hold', None, 'two orders of one id')
    """
    try:
        found = check()
    except AssertionError as error:
        return str(error) or "an assertion failed"
    except Exception as error:  # noqa: BLE001 - a check that cannot look has found something, too
        return f"the check itself failed: {type(error).__name__}: {error}"
    if found is None or found is True:
        return None
    return "it does not hold" if found is False else str(found)


def told_of(error: BaseException) -> str:
    """An error in words; of a group, the errors in it, each kind once.

    Example:
        >>> told_of(ExceptionGroup("tasks", [ValueError("no"), ValueError("no"), KeyError("id")]))
        "ValueError: no; KeyError: 'id'"
    """
    return "; ".join(dict.fromkeys(f"{type(one).__name__}: {one}" for one in _single(error)))


def _single(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
        yield from _single(one)


class Observer:
    """Looks at what happens from outside, and shares no code with what it looks at.

    Derive from it, and override what it has to hear of; the rest does nothing.

    Attributes:
        name: Of its check.
    """

    name: str

    def begin(self) -> None:
        """Every machine is up, and the story has not begun."""

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """A batch is in a file; nobody was told of it yet."""

    def acknowledged(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """Whoever asked for it was told."""

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """A message leaves a machine.

        Args:
            source: The machine that it leaves.
            target: The machine that it goes to.
            message: All of it.
            asked: What it answers; None where it answers nothing.
        """

    def passed(self, machine: str, point: str) -> None:
        """The process of a machine passes a fault point."""

    def died(self, machine: str, *, dark: bool) -> None:
        """A process has ended, as it should or not; its disk is as the next one will find it.

        Args:
            machine: Whose process it was.
            dark: Whether the power went with it.
        """

    def healed(self) -> None:
        """Nothing goes wrong any more, and all is up; what is in the logs by now will have been handled at the end."""

    def idle(self) -> bool:
        """Whether it has seen all that there is to see by now; the last look waits for that, for a while."""
        return True

    def finish(self) -> None:
        """The world has healed and settled: the last look."""


def addressless(text: str) -> str:
    """A text without where things lie in memory, which is another place in every process.

    Example:
        >>> addressless("<World object at 0x7ff65be75890> is late")
        '<World object at 0x...> is late'
    """
    return _ADDRESS.sub("0x...", text)
