"""The page of faults is what its results say, of points and places that there are; `make faults` writes it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_faults_is_of_the_faults_that_there_are() -> None:
    command = [sys.executable, "tools/faults.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout
