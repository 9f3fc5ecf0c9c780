"""How long work is told of: by a line that is drawn anew on a terminal, by a few lines elsewhere, not to the quiet."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self, final

import click

from hanse.cli.output import Output

REDRAW_SECONDS = 0.1
"""How often the line is drawn anew on a terminal."""

LINES = 10
"""Lines that are written where nobody watches."""


@final
class Progress:
    """Tells how far some work is, on standard error. What it draws is gone when it ends."""

    def __init__(self, name: str, output: Output) -> None:
        """Tell of work of this name; nothing where the output is to be quiet."""
        self._name = name
        self._output = output
        self._drawn: bool = False
        self._again: float = 0.0
        self._live: bool = sys.stderr.isatty() and not output.quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def tell(self, standing: str, done: int, total: int, *, seconds: float) -> None:
        """Say how far it is, where it is time to.

        Args:
            standing: In words.
            done: How many steps have been made.
            total: Of how many.
            seconds: How long it has taken.
        """
        if self._live:
            if seconds >= self._again:
                self._again = seconds + REDRAW_SECONDS
                self._drawn = True
                click.echo(f"\r\033[K{self._name}: {standing}", err=True, nl=False)
        elif is_told(done, total):
            self._output.note(f"{self._name}: {standing}")

    def note(self, text: str) -> None:
        """Say something that stays."""
        self.clear()
        self._output.note(text)

    def clear(self) -> None:
        """Take back what is drawn, so that something else can be written."""
        if self._drawn:
            click.echo("\r\033[K", err=True, nl=False)
            self._drawn = False


def is_told(done: int, total: int) -> bool:
    """Whether it is time for another line of progress.

    Example:
        >>> [done for done in range(1, 26) if is_told(done, 25)]
        [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    """
    return done * LINES // total > (done - 1) * LINES // total
