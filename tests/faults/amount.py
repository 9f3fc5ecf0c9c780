"""Large amounts of something: what was done with them, and what has come of it.

Some are shown by a test of the suite in its long form, in a process of its own: it tells what it did in a file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
FILE = "FAULTS_TOLD"
"""What the environment calls the file; commands refuse what looks like a setting of theirs and is none."""


class Amount(msgspec.Struct, frozen=True):
    """One of them.

    Attributes:
        name: Of what was done.
        place: Where, for people.
        figures: What has come of it, by the names that the page's sentences have.
    """

    name: str
    place: str
    figures: dict[str, float]


def tell(amount: Amount) -> None:
    """Write it to the file, where somebody asks for it."""
    if FILE in os.environ:
        _ = Path(os.environ[FILE]).write_bytes(msgspec.json.encode(amount))


def told_by(test: str, folder: Path, **longer: int) -> Amount:
    """Run a test of the suite, and read what it tells.

    Args:
        test: As pytest takes it.
        folder: For the file.
        longer: What makes it as long as it is to be, for the environment.

    Raises:
        AssertionError: It failed.
    """
    file = folder / "told"
    environment = os.environ | {FILE: str(file)} | {name: str(value) for name, value in longer.items()}
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "3600", test]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-4_000:]
    return msgspec.json.decode(file.read_bytes(), type=Amount)
