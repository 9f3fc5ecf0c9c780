"""Each safeguard that is taken away is noticed: the simulation is worth what it finds."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hanse.sim.origin import simulations_of

from .hunt import SEEDS_MAX, bugs, file_of, hunted, replayed
from .unmeasured import unmeasured

SEEDS_SOUND = 5
"""Seeds of each world without a bug; `hanse sim` runs as many as one likes."""

TABLE = Path(__file__).parents[2] / "docs" / "testing" / "planted-bugs.md"
ROW = re.compile(r"^\| \[`(?P<bug>\w+)`\].*\| (?P<world>\w+) \| \w+ \| (?P<seeds>\d+) \| \d+ \| \d+ \|", re.MULTILINE)
ROWS = {row["bug"]: (row["world"], int(row["seeds"])) for row in ROW.finditer(TABLE.read_text())}

EASIEST = sorted({world: bug for bug, (world, _) in sorted(ROWS.items(), key=lambda row: -row[1][1])}.values())
"""The bug of each world that takes the fewest seeds; `make planted` does to all what is done to these."""

WORLDS = {
    name: path
    for path in sorted((Path(__file__).parent / "worlds").glob("[a-z]*.py"))
    for name in simulations_of(import_module(f".worlds.{path.stem}", __package__))
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_without_a_bug_holds(world: str) -> None:
    command = [sys.executable, "-m", "hanse", "sim", f"{WORLDS[world]}:{world}", "--seeds", str(SEEDS_SOUND)]
    done = subprocess.run(
        [*command, "--no-shrink", "--json", "-q"], env=unmeasured(), capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["failures"], told["seeds"]) == (0, [], SEEDS_SOUND), done.stderr


@pytest.mark.timeout(600)  # the rarest take some hundred runs, which other tests run beside
@pytest.mark.parametrize("name", bugs())
def test_a_planted_bug_is_found(name: str) -> None:
    _, seeds = ROWS[name]
    assert hunted(name, first=seeds - 1).violation is not None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", EASIEST)
def test_a_planted_bug_is_made_small_and_replayed(name: str) -> None:
    found = hunted(name)
    assert 1 <= found.seeds <= SEEDS_MAX
    assert found.left <= found.drawn
    assert found.violation is not None
    assert replayed(found) == found


def test_there_are_bugs_enough() -> None:
    assert len(bugs()) >= 24


def test_each_bug_is_short_enough_to_be_read() -> None:
    assert {name: lines for name in bugs() if (lines := len(file_of(name).read_text().splitlines())) > 40} == {}


def test_each_bug_has_its_row_in_the_table() -> None:
    assert list(ROWS) == bugs()
