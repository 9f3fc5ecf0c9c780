"""How long work is told of, to whom it may concern."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

import pytest

from hanse.cli.output import Output
from hanse.cli.progress import LINES, Progress

CLEARED = "\r\033[K"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def told(screen: StringIO, output: Output, *, fails: bool = False) -> str:
    """What 100 steps of 20 ms look like, with something to say in between."""
    with redirect_stderr(screen):
        try:
            with Progress("world", output) as progress:
                for done in range(1, 101):
                    progress.tell(f"{done} of 100", done, 100, seconds=done * 0.02)
                    if done == 50:
                        progress.note("one failed")
                assert not fails
        except AssertionError:
            assert fails
    return screen.getvalue()


@pytest.mark.parametrize("fails", [True, False])
def test_nothing_that_is_drawn_stays_on_a_terminal(fails: bool) -> None:
    screen = told(Terminal(), Output(), fails=fails)
    kept = [line.rpartition(CLEARED)[2] for line in screen.split("\n")]
    assert kept == ["one failed", ""]


def test_a_terminal_is_drawn_anew_ten_times_a_second() -> None:
    assert told(Terminal(), Output()).count("of 100") in range(15, 21)


def test_elsewhere_a_few_lines_are_written() -> None:
    lines = told(StringIO(), Output()).splitlines()
    assert len(lines) == LINES + 1
    assert (lines[0], lines[5], lines[-1]) == ("world: 10 of 100", "one failed", "world: 100 of 100")


@pytest.mark.parametrize("screen", [StringIO, Terminal])
def test_the_quiet_are_told_nothing(screen: type[StringIO]) -> None:
    assert told(screen(), Output(quiet=True)) == ""
