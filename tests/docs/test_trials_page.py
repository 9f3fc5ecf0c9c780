"""The page of trials is what its results say, of parts that there are; `make trials` writes it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_trials_is_of_the_trials_that_there_are() -> None:
    command = [sys.executable, "tools/trials.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout
