"""What the pages on simulation say in words and numbers is what the code does."""

import re
from pathlib import Path

from hanse import World
from hanse.sim.profile import PROFILES
from hanse.sim.repeat import SHARE
from hanse.sim.verdict import EVENTUALLY_SECONDS

RUNS_A_WORLD = {
    *("machine_of", "start", "up", "heal", "conclude", "violate", "close", "path_of"),
    *("committed", "died"),
}
"""What a world has besides, for whoever runs it and for observers."""

ROOT = Path(__file__).parents[2]
PAGES = ("simulation", "stories", "checks", "incidents", "machines", "runs", "determinism")


def told(page: str) -> str:
    return (ROOT / "docs/testing" / f"{page}.md").read_text()


def test_every_profile_is_told_of_once_and_no_other() -> None:
    assert re.findall(r"^\| `(\w+)` \|", told("incidents"), re.MULTILINE) == list(PROFILES)


def test_numbers_are_told_as_they_are() -> None:
    assert f"({SHARE * 100:g} %, at least one)" in told("determinism")
    assert f"and {EVENTUALLY_SECONDS:g} s more" in told("checks")


def test_whatever_a_story_can_do_is_told_of() -> None:
    everything = "".join(map(told, PAGES))
    public = {name for name, member in vars(World).items() if name[0] != "_" and hasattr(member, "__doc__")}
    assert {name for name in public - RUNS_A_WORLD if not re.search(rf"\b{name}\b", everything)} == set()
