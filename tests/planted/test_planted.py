"""Each safeguard that is taken away is noticed: the simulation is worth what it finds."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from hanse.sim.origin import simulations_of
from hanse.sim.sweep import Options, sweep

from .hunt import SEEDS_MAX, bugs, file_of, hunted, replayed

SEEDS_SOUND = 5
"""Seeds of each world without a bug; `hanse sim` runs as many as one likes."""

TABLE = Path(__file__).parents[2] / "docs" / "testing" / "planted-bugs.md"


SOUND = {
    name: simulation
    for path in sorted((Path(__file__).parent / "worlds").glob("[a-z]*.py"))
    for name, simulation in simulations_of(import_module(f".worlds.{path.stem}", __package__)).items()
}


@pytest.mark.parametrize("world", SOUND)
def test_a_world_without_a_bug_holds(world: str) -> None:
    assert sweep(SOUND[world], Options(seeds=range(SEEDS_SOUND), repeated=0.0)).failures == ()


@pytest.mark.timeout(600)  # the rarest take some hundred runs, which other tests run beside
@pytest.mark.parametrize("name", bugs())
def test_a_planted_bug_is_found_made_small_and_replayed(name: str) -> None:
    found = hunted(name)
    assert 1 <= found.seeds <= SEEDS_MAX
    assert found.left <= found.drawn
    again = replayed(found)
    assert found.violation is not None
    assert again == found


def test_there_are_bugs_enough() -> None:
    assert len(bugs()) >= 24


def test_each_bug_is_short_enough_to_be_read() -> None:
    assert {name: lines for name in bugs() if (lines := len(file_of(name).read_text().splitlines())) > 40} == {}


def test_each_bug_has_its_row_in_the_table() -> None:
    assert re.findall(r"^\| \[`(\w+)`\]", TABLE.read_text(), re.MULTILINE) == bugs()
