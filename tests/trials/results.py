"""What trials have come to, as a file that the page is written from: each part replaces what is told of that part."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tests.trials.outcomes import Outcome

FILE = Path(__file__).parent / "results.json"


class Done(msgspec.Struct, frozen=True):
    """A part that was done.

    Attributes:
        outcome: What came of it.
        load: Of the machine when it was over: processes that wanted a core, on the average of a minute.
        cores: How many it has.
    """

    outcome: Outcome
    load: float
    cores: int


Results = dict[str, Done]
"""By the name of the part."""


def load() -> Results:
    """What is known by now."""
    return msgspec.json.decode(FILE.read_bytes(), type=Results) if FILE.exists() else {}


def save(results: Results) -> None:
    """Keep it."""
    _ = FILE.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
