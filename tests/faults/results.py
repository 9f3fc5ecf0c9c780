"""What runs have come to, as a file that the page is written from: each run of a part replaces that part."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .amount import Amount
from .peers import Compared
from .sweep import Survived
from .troubles import Told

FILE = Path(__file__).parent / "results.json"


class Results(msgspec.Struct, frozen=True):
    """All that is known.

    Attributes:
        kills: What came of kills at fault points, in each place.
        troubles: What came of whatever else went wrong.
        amounts: What came of large amounts of something.
        peers: What came of kills with others, and with us.
    """

    kills: tuple[Survived, ...] = ()
    troubles: tuple[Told, ...] = ()
    amounts: tuple[Amount, ...] = ()
    peers: tuple[Compared, ...] = ()


def load() -> Results:
    """What is known by now."""
    return msgspec.json.decode(FILE.read_bytes(), type=Results) if FILE.exists() else Results()


def save(results: Results) -> None:
    """Keep it."""
    _ = FILE.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
