"""The supervisor, rollouts, the judge and the edge together, while processes, edge and supervisor break."""

import json
import os
import subprocess
import sys

import pytest
from tests.planted.unmeasured import unmeasured
from tests.planted.worlds import supervised

SEEDS = os.environ.get("HANSE_SIM_SEEDS", "20")


@pytest.mark.timeout(600)  # one hour of a system's life, beside whatever else is tested
def test_whatever_breaks_what_was_wished_for_is_there_in_the_end() -> None:
    """What fails is told with a token that replays it."""
    command = [sys.executable, "-m", "hanse", "sim", f"{supervised.__file__}:supervised", "--seeds", SEEDS]
    done = subprocess.run(
        [*command, "--no-shrink", "--json", "-q"], env=unmeasured(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["failures"]) == (0, []), done.stderr
