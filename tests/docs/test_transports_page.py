"""The page of transports shows what the suite has; `make transports` writes it from real runs."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_transports_has_every_behaviour() -> None:
    command = [sys.executable, "tools/transports.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout
