"""What went wrong in somebody's code: the error, and the lines of theirs that led to it; as text and for pages."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import msgspec

from hanse.kernel.faults import Fault

PLACES_MAX = 8
"""Places that are shown, the last ones: where it happened, and how it came there."""
AROUND = 3
"""Lines that are shown before the one that matters; after it one less."""
LINE_CHARACTERS_MAX = 300
TEXT_CHARACTERS_MAX = 4_000

_PACKAGE = str(Path(__file__).parents[1])
_OTHERS = tuple(
    path for name, path in sysconfig.get_paths().items() if name in {"stdlib", "platstdlib", "purelib", "platlib"}
)


class Spot(msgspec.Struct, frozen=True):
    """A line of a file, the function that it is in, and the lines around it by their numbers."""

    file: str
    line: int
    function: str = ""
    lines: tuple[tuple[int, str], ...] = ()


class Excerpt(msgspec.Struct, frozen=True):
    """An error as its author wants to see it.

    Attributes:
        text: What is wrong, with the error's class unless it is told for people.
        spots: Where, the line that it happened in last.
    """

    text: str
    spots: tuple[Spot, ...] = ()


def excerpt_of(error: BaseException) -> Excerpt:
    """The excerpt of an error; of one that only tells of another, that of the other."""
    cause = error.__cause__
    if isinstance(error, Fault) and cause is not None:
        inner = excerpt_of(cause)
        return inner if inner.spots else Excerpt(str(error)[:TEXT_CHARACTERS_MAX])
    if isinstance(error, SyntaxError) and error.filename is not None:
        return Excerpt(f"{type(error).__name__}: {error.msg}", (_spot(error.filename, error.lineno or 1),))
    said = str(error) if isinstance(error, Fault) else "".join(traceback.format_exception_only(error)).strip()
    return Excerpt(said[:TEXT_CHARACTERS_MAX], _spots(error))


def _spots(error: BaseException) -> tuple[Spot, ...]:
    # What is compiled from C, or typed in, names files that are not there.
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own(frame.filename) and Path(frame.filename).is_file()]
    return tuple(_spot(frame.filename, frame.lineno or 1, frame.name) for frame in own[-PLACES_MAX:])


def is_own(file: str) -> bool:
    """Whether a file is neither ours, nor Python's, nor of what is installed.

    Example:
        >>> is_own(__file__), is_own("shop/app.py")
        (False, True)
    """
    return not file.startswith((_PACKAGE, *_OTHERS))


def _spot(file: str, line: int, function: str = "") -> Spot:
    linecache.checkcache(file)
    numbers = range(max(1, line - AROUND), line + AROUND)
    found = ((number, linecache.getline(file, number).rstrip()[:LINE_CHARACTERS_MAX]) for number in numbers)
    lines = [(number, text) for number, text in found if text or number <= line]
    return Spot(shown_path(file), line, "" if function == "<module>" else function, tuple(lines))


def shown_path(file: str) -> str:
    """A file as seen from the current folder, where it lies below it."""
    try:
        return str(Path(file).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def as_text(found: Excerpt, *, colour: bool = False) -> str:
    """An excerpt for a terminal.

    Example:
        >>> print(as_text(Excerpt("ZeroDivisionError: division by zero", (Spot("a.py", 2, "f", ((2, "1 / 0"),)),))))
          a.py, line 2, in f
            2 > 1 / 0
        ZeroDivisionError: division by zero
    """
    lines = [line for spot in found.spots for line in _spot_lines(spot, colour=colour)]
    return "\n".join([*lines, click.style(found.text, fg="red", bold=True) if colour else found.text])


def _spot_lines(spot: Spot, *, colour: bool) -> Iterable[str]:
    place = place_of(spot)
    yield f"  {click.style(place, fg='cyan') if colour else place}"
    width = len(str(spot.lines[-1][0])) if spot.lines else 0
    for number, text in dedented(spot.lines):
        here = number == spot.line
        line = f"    {number:>{width}} {'>' if here else '|'} {text}".rstrip()
        yield click.style(line, bold=True) if colour and here else line


def place_of(spot: Spot) -> str:
    """Where it is, in words."""
    return f"{spot.file}, line {spot.line}{f', in {spot.function}' if spot.function else ''}"


def dedented(lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Lines without the indentation that they share.

    Example:
        >>> dedented([(1, "    if a:"), (2, ""), (3, "        b")])
        [(1, 'if a:'), (2, ''), (3, '    b')]
    """
    shared = min((len(text) - len(text.lstrip()) for _, text in lines if text), default=0)
    return [(number, text[shared:]) for number, text in lines]
