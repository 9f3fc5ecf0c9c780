"""`hanse sim`: what it refuses, what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hanse.cli.group import hanse

ROOT = Path(__file__).parents[3]
SMALL = "tests/unit/sim/small_worlds.py"


@pytest.fixture(autouse=True)
def _at_the_root() -> Iterator[None]:
    path = [*sys.path]
    with chdir(ROOT):
        yield
    sys.path[:] = path


def sim(*arguments: str) -> Result:
    return CliRunner().invoke(hanse, ["sim", *arguments])


def test_a_file_with_several_simulations_is_a_matter_of_usage() -> None:
    refused = sim(SMALL)
    assert refused.exit_code == 2
    assert f"say which: {SMALL}:holds, {SMALL}:loses" in refused.stderr


def test_a_simulation_that_does_not_exist_is_told_with_what_was_probably_meant() -> None:
    refused = sim(f"{SMALL}:hold")
    assert (refused.exit_code, refused.stdout) == (78, "")
    assert "did you mean holds?" in refused.stderr


def test_a_file_without_simulations_is_told_with_what_to_write() -> None:
    refused = sim("examples/greeter/greet.py")
    assert refused.exit_code == 78
    assert "write a function such as `@simulation(app)" in refused.stderr


@pytest.mark.parametrize("option", [("--profile", "mild"), ("--seeds", "0"), ("--jobs", "0"), ("--first", "-1")])
def test_options_that_make_no_sense_are_a_matter_of_usage(option: tuple[str, str]) -> None:
    assert sim(f"{SMALL}:holds", *option).exit_code == 2


def test_a_sweep_that_held_ends_well() -> None:
    held = sim(f"{SMALL}:holds", "--seeds", "3", "--first", "5")
    assert held.exit_code == 0
    assert held.stdout.startswith("holds: 3 seeds of hostile: everything held\n")
    assert held.stderr.splitlines()[-1].startswith("holds: 3 of 3 runs, all held, ")


def test_the_only_simulation_of_a_file_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "only_one.py").write_text(
        "import asyncio\nfrom hanse import *\nclass Empty(Service):\n    @rpc\n    async def ask(self) -> None: ...\n"
        "@simulation(App('empty', Empty), seeds=1, seconds=1, profile='calm')\n"
        "async def only(world: World) -> None:\n    await world.client(Empty).ask()\n"
        "also = only\n"
    )
    assert sim(str(tmp_path / "only_one.py")).stdout.startswith("only: 1 seed of calm: everything held\n")


def test_what_did_not_hold_is_told_as_it_is_found() -> None:
    failed = sim(f"{SMALL}:always_fails")
    assert failed.exit_code == 1
    assert "calm-0: story: ValueError: no luck at 0.1" in failed.stderr
    assert "always_fails: 3 seeds of calm: 3 runs failed" in failed.stdout


def test_what_never_happened_is_told() -> None:
    failed = sim(f"{SMALL}:waits_in_vain", "-q")
    assert (failed.exit_code, failed.stderr) == (1, "")
    assert "never reached: a miracle" in failed.stdout


def test_programs_get_one_object() -> None:
    found = json.loads(sim(f"{SMALL}:always_fails", "--json", "--jobs", "2").stdout)
    assert (found["simulation"], found["profile"], found["seeds"], found["ok"]) == ("always_fails", "calm", 3, False)
    assert [failure["token"] for failure in found["failures"]] == ["calm-0", "calm-1", "calm-2"]
    assert found["simulated_seconds"] > 0
    assert found["wall_seconds"] > 0
    assert found["faults"] == {}
    assert len(found["trace_hash"]) == 32


def test_the_verdict_is_coloured_where_that_is_wanted() -> None:
    told = CliRunner().invoke(hanse, ["sim", f"{SMALL}:holds", "--seeds", "1"], env={"FORCE_COLOR": "1"}, color=True)
    assert "\033[32m\033[1meverything held" in told.stdout
