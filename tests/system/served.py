"""An app that is served by a process of its own, for as long as a test needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.planted.unmeasured import unmeasured


@contextmanager
def serving(
    folder: Path, target: str | Path, *options: str, port: str = "0", within: Sequence[str] = ()
) -> Generator[str]:
    """The address of an app that runs in a folder; killed at the end as a power cut would.

    `within` is what its command goes behind, such as that of a network namespace.
    """
    command = [*within, sys.executable, "-m", "hanse", "run", str(target), "--port", port, *options]
    with subprocess.Popen(command, cwd=folder, env=unmeasured(), text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()
