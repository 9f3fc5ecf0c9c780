"""`hanse sim`: what it refuses, what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hanse.cli.group import hanse
from hanse.cli.sim_text import FAILURES_SHOWN_MAX

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


def test_a_token_that_is_none_is_a_matter_of_usage() -> None:
    refused = sim(f"{SMALL}:holds", "--replay", "yesterday")
    assert refused.exit_code == 2
    assert "is no replay token; one looks like hostile-17" in refused.stderr


def test_a_token_that_does_not_fit_is_told() -> None:
    refused = sim(f"{SMALL}:holds", "--replay", "calm-1-xff")
    assert refused.exit_code == 78
    assert "but only 0 are drawn" in refused.stderr


def test_an_export_writes_over_nothing() -> None:
    refused = sim(f"{SMALL}:loses", "--export", "README.md")
    assert refused.exit_code == 2
    assert "README.md is there already" in refused.stderr


def test_what_has_no_name_can_be_neither_kept_nor_exported(tmp_path: Path) -> None:
    (tmp_path / "named_elsewhere.py").write_text(f"""
import sys
sys.path.insert(0, {str(ROOT / "tests/unit/sim")!r})
from small_worlds import always_fails
from hanse.sim.simulation import simulation_of
import msgspec
again = msgspec.structs.replace(simulation_of(always_fails), name="again")
""")
    refused = sim(f"{tmp_path / 'named_elsewhere.py'}:again", "--keep")
    assert refused.exit_code == 78
    assert "again has no name in its module" in refused.stderr


def test_a_sweep_that_held_ends_well() -> None:
    held = sim(f"{SMALL}:holds", "--seeds", "3", "--first", "5")
    assert held.exit_code == 0
    assert held.stdout.startswith("holds: 3 seeds of hostile, 1 run twice: everything held\n")
    assert held.stderr.splitlines()[-1].startswith("holds: 3 of 3 runs, all held, ")


def test_the_only_simulation_of_a_file_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "only_one.py").write_text(
        "import asyncio\nfrom hanse import *\nclass Empty(Service):\n    @rpc\n    async def ask(self) -> None: ...\n"
        "@simulation(App('empty', Empty), seeds=1, seconds=1, profile='calm')\n"
        "async def only(world: World) -> None:\n    await world.client(Empty).ask()\n"
        "also = only\n"
    )
    assert sim(str(tmp_path / "only_one.py")).stdout.startswith("only: 1 seed of calm, 1 run twice: everything held\n")


def test_what_did_not_hold_is_told_as_it_is_found() -> None:
    failed = sim(f"{SMALL}:always_fails")
    assert failed.exit_code == 1
    assert "calm-0: story: ValueError: no luck at 0.1" in failed.stderr
    assert "always_fails: 3 seeds of calm: 3 runs failed" in failed.stdout


def test_not_all_of_many_failures_are_told_as_they_are_found() -> None:
    failed = sim(f"{SMALL}:always_fails", "--seeds", f"{FAILURES_SHOWN_MAX + 5}", "--no-shrink")
    assert failed.stderr.count("no luck at") == FAILURES_SHOWN_MAX
    assert f"{FAILURES_SHOWN_MAX + 5} runs failed" in failed.stdout


def test_a_failure_is_told_at_length() -> None:
    told = sim(f"{SMALL}:loses", "-q").stdout
    assert told.startswith("loses does not hold under hostile-")
    assert f"  hanse sim {SMALL}:loses --replay calm-0-kill:" in told
    assert "The least that has to go wrong" in told


def test_only_one_failure_of_a_kind_is_told_at_length() -> None:
    told = sim(f"{SMALL}:always_fails", "-q").stdout
    assert told.count("does not hold under") == 1


def test_a_plan_is_left_as_it_is_where_that_is_wanted() -> None:
    assert "\nWhat goes wrong:\n" in sim(f"{SMALL}:loses", "-q", "--no-shrink").stdout


def test_a_run_is_made_again_by_its_token() -> None:
    failed = sim(f"{SMALL}:is_unlucky", "--replay", "calm-2")
    assert failed.exit_code == 1
    assert "two is no lucky number" in failed.stdout
    assert "is_unlucky: 1 seed of calm: 1 run failed" in failed.stdout
    assert "What goes wrong, in calm weather:" in failed.stdout
    assert "The least that has to go wrong" in sim(f"{SMALL}:is_unlucky", "--replay", "calm-2", "--shrink").stdout
    assert sim(f"{SMALL}:is_unlucky", "--replay", "calm-1").exit_code == 0


def test_what_failed_is_kept_and_runs_first_from_then_on(tmp_path: Path) -> None:
    file = shutil.copy(SMALL, tmp_path / "worlds_that_keep.py")
    kept = sim(f"{file}:loses", "--keep")
    assert f"kept 1 run in {tmp_path / 'worlds_that_keep.seeds.toml'}" in kept.stderr
    with chdir(tmp_path):
        assert "kept 0 runs in worlds_that_keep.seeds.toml" in sim("worlds_that_keep.py:loses", "--keep").stderr
    again = sim(f"{file}:loses", "--seeds", "1", "--profile", "calm", "--json", "-q")
    found = json.loads(again.stdout)
    assert (again.exit_code, found["kept"], found["seeds"]) == (1, 1, 1)
    assert found["failures"][0]["token"] in (tmp_path / "worlds_that_keep.seeds.toml").read_text()


def test_a_kept_run_that_means_nothing_any_more_is_told(tmp_path: Path) -> None:
    file = shutil.copy(SMALL, tmp_path / "worlds_with_old_ones.py")
    old = '[[run]]\nsimulation = "holds"\ntoken = "mild-1"\nwhy = "x"\n'
    (tmp_path / "worlds_with_old_ones.seeds.toml").write_text(old)
    held = sim(f"{file}:holds", "--seeds", "1")
    assert held.exit_code == 0
    assert "a kept run means nothing any more: there is no profile 'mild'" in held.stderr


def test_a_failure_becomes_a_test(tmp_path: Path) -> None:
    told = sim(f"{SMALL}:is_unlucky", "--export", str(tmp_path / "test_unlucky.py"))
    assert f"wrote {tmp_path / 'test_unlucky.py'}" in told.stderr
    assert 'replay(small_worlds.is_unlucky, "calm-2")' in (tmp_path / "test_unlucky.py").read_text()


def test_nothing_is_kept_of_what_holds(tmp_path: Path) -> None:
    assert sim(f"{SMALL}:holds", "--seeds", "1", "--keep", "--export", str(tmp_path / "test_it.py")).exit_code == 0
    assert not (tmp_path / "test_it.py").exists()


def test_what_never_happened_is_told() -> None:
    failed = sim(f"{SMALL}:waits_in_vain", "-q")
    assert (failed.exit_code, failed.stderr) == (1, "")
    assert "never reached: a miracle" in failed.stdout


def test_what_an_app_prints_is_not_what_the_command_says(tmp_path: Path) -> None:
    world = tmp_path / "loud.py"
    world.write_text(
        "from hanse import App, Service, World, rpc, simulation\n"
        "class Loud(Service):\n"
        "    @rpc\n"
        "    async def shout(self) -> None:\n"
        "        print('hear, hear')\n"
        "@simulation(App('loud', Loud), seeds=2, profile='calm', seconds=1)\n"
        "async def day(world: World) -> None:\n"
        "    await world.client(Loud).shout()\n"
    )
    found = sim(str(world), "--json")
    assert json.loads(found.stdout)["seeds"] == 2
    assert "hear, hear" in found.stderr


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
