"""What the page on simulation says in words and numbers is what the code does."""

import re
from pathlib import Path

import pytest

from hanse import World
from hanse.sim.guard import SHARE
from hanse.sim.loop import STEPS_MAX
from hanse.sim.profile import INCIDENTS_MAX, PROFILES
from hanse.sim.run import RUN_STEPS_MAX
from hanse.sim.trace import EFFECTS_MAX
from hanse.sim.world import EVENTUALLY_SECONDS, SETTLE_SECONDS, START_SECONDS

RUNS_A_WORLD = {
    *("machine_of", "start", "up", "heal", "conclude", "violate", "close", "path_of"),
    *("committed", "died"),
}
"""What a world has besides, for whoever runs it and for observers."""

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/testing/simulation.md").read_text()

SAID = {
    f"at most {INCIDENTS_MAX} incidents": "incidents of a plan",
    f"keeps {EFFECTS_MAX:,} effects": "effects of a trace",
    f"{START_SECONDS:g} s of the world's time to come up": "start",
    f"{SETTLE_SECONDS:g} s to come to rest": "rest",
    f"in the end {EVENTUALLY_SECONDS:g} s to become true": "end",
    f"({SHARE * 100:g} %, at least one)": "guard",
}


def test_every_profile_is_told_of_once_and_no_other() -> None:
    section = PAGE.partition("## What goes wrong\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(PROFILES)


@pytest.mark.parametrize("words", SAID, ids=SAID.values())
def test_limits_are_told_as_they_are(words: str) -> None:
    assert words in PAGE


def test_limits_in_words_are_as_they_are() -> None:
    assert (STEPS_MAX, RUN_STEPS_MAX) == (1_000_000, 10_000_000)
    assert "a million steps while no time passes is taken to be spinning, one that takes ten million" in PAGE


def test_whatever_a_story_can_do_is_told_of() -> None:
    public = {name for name, member in vars(World).items() if name[0] != "_" and hasattr(member, "__doc__")}
    assert {name for name in public - RUNS_A_WORLD if not re.search(rf"\b{name}\b", PAGE)} == set()
