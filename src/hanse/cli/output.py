"""What commands print, and how: results on standard output, everything else on standard error, colour where wanted."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import click
import msgspec

from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault, Flaw, Invalid

JSON_WANTED = "hanse.json"
"""Where the context of a command remembers that it is to answer in JSON, errors included."""


class Output(msgspec.Struct, frozen=True):
    """How this call wants to be answered.

    Attributes:
        quiet: Only results and errors.
        verbose: Details that help to find a cause.
        colour: Whether text may be coloured.
    """

    quiet: bool = False
    verbose: bool = False
    colour: bool = False

    def note(self, text: str) -> None:
        """Say something beside the result."""
        if not self.quiet:
            click.echo(text, err=True, color=self.colour)


def wants_colour(environ: Mapping[str, str], *, forbidden: bool, terminal: bool) -> bool:
    """Whether to colour: `--no-color`, then NO_COLOR, then FORCE_COLOR, then whether a person reads it.

    Example:
        >>> wants_colour({"FORCE_COLOR": "1"}, forbidden=False, terminal=False)
        True
    """
    if forbidden or environ.get("NO_COLOR"):
        return False
    return environ.get("FORCE_COLOR", "0") not in ("", "0") or terminal


def output_of(*, quiet: bool, verbose: bool, no_color: bool) -> Output:
    """The output that the options of a command ask for, on this process's terminal."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return Output(quiet, verbose, wants_colour(os.environ, forbidden=no_color, terminal=terminal))


def print_json(value: object) -> None:
    """Print a value as indented JSON, for programs and people alike."""
    click.echo(msgspec.json.format(encode_json(value), indent=2))


def print_table(rows: Sequence[Sequence[str]], output: Output, *, headings: Sequence[str]) -> None:
    """Print rows in columns, below their headings unless the output is to be quiet."""
    first, *rest = aligned([headings, *rows])
    if not output.quiet:
        click.echo(click.style(first, bold=True) if output.colour else first, color=output.colour)
    for line in rest:
        click.echo(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines whose columns stand below each other.

    Example:
        >>> aligned([["orders", "1"], ["tea", "22"]])
        ['orders  1', 'tea     22']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def fault_text(fault: Fault) -> str:
    """A fault as people read it: what was expected, what came, what to do; with every flaw of an input.

    Example:
        >>> from hanse.kernel.faults import Conflict
        >>> fault_text(Conflict("taken"))
        'taken'
    """
    if isinstance(fault, Invalid) and fault.errors:
        return "\n".join(["expected other input:", *(f"  {flaw.pointer}: {flaw.detail}" for flaw in fault.errors)])
    return str(fault)


def tell_error(code: str, detail: str, errors: Sequence[Flaw] = ()) -> None:
    """Print an error as one JSON object on standard error, with the names that a problem over HTTP has."""
    click.echo(encode_json({"error": {"code": code, "detail": detail, "errors": errors}}), err=True)


def tell_fault(fault: Fault, *, json_wanted: bool = False, terminal: bool | None = None) -> None:
    """Print a fault on standard error: `{"error": ...}` in a line, or text; to a person, with where more is said."""
    if json_wanted:
        tell_error(fault.code, fault.detail, fault.errors if isinstance(fault, Invalid) else ())
        return
    click.echo(f"hanse: {fault_text(fault)}", err=True)
    if sys.stderr.isatty() if terminal is None else terminal:
        click.echo(f"  more: hanse explain {fault.code}", err=True)
