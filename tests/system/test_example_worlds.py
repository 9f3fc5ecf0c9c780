"""The examples on their worst days: a few seeds of each, through the command, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.planted.unmeasured import unmeasured

ROOT = Path(__file__).parents[2]
WORLDS = [
    ("shop/worlds.py:checkout", "hostile", 6),
    ("shop/worlds.py:checkout", "power", 3),
    ("shop/worlds.py:checkout", "deploy", 3),
    ("tickets/worlds.py:premiere", "hostile", 6),
    ("tickets/worlds.py:premiere", "power", 3),
    ("power/worlds.py:house", "hostile", 20),
    ("power/worlds.py:house", "flaky", 10),
    ("countries/worlds.py:atlas", "hostile", 4),
    ("countries/worlds.py:readers", "hostile", 4),
]


def sim(world: str, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hanse", "sim", f"examples/{world}", *options]
    return subprocess.run(command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("world", "profile", "seeds"), WORLDS)
def test_an_example_keeps_its_promises(world: str, profile: str, seeds: int) -> None:
    found = sim(world, "--profile", profile, "--seeds", str(seeds), "--json", "--no-shrink")
    told = json.loads(found.stdout)
    assert (found.returncode, told["failures"]) == (0, []), found.stderr
    assert told["seeds"] == seeds
    assert sum(told["faults"].values()) > seeds


def test_a_sweep_comes_to_the_same_in_any_number_of_processes() -> None:
    traces = [
        json.loads(sim("power/worlds.py:house", "--seeds", "8", "--json", "--jobs", jobs).stdout)["trace_hash"]
        for jobs in ("1", "2")
    ]
    assert traces[0] == traces[1]
