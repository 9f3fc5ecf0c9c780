"""A simulation as a test."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import pytest

from hanse.kernel.faults import Misconfigured, Misdeclared
from hanse.sim.as_test import KeptRunIsOutdated, replay, run_as_test
from hanse.sim.failure import DoesNotHold
from hanse.sim.kept import file_of
from hanse.sim.origin import Origin, load
from hanse.sim.simulation import Simulation

SMALL = Path(__file__).with_name("small_worlds.py")


def small(name: str) -> Simulation:
    return load(Origin(str(SMALL), "small_worlds", name), sys.path)


def test_the_first_failure_ends_the_test_with_its_report() -> None:
    with pytest.raises(DoesNotHold) as raised:
        run_as_test(small("loses"), {})
    text = str(raised.value)
    assert text.startswith("loses does not hold under hostile-")
    assert "small_worlds.py:loses --replay calm-0-kill:" in text
    assert "The least that has to go wrong" in text


def test_what_never_happened_fails_the_test() -> None:
    with pytest.raises(DoesNotHold, match="in none of 3 seeds of calm did it come to 'a miracle'"):
        run_as_test(small("waits_in_vain"), {})


def test_what_another_process_does_otherwise_fails_the_test() -> None:
    with pytest.raises(DoesNotHold, match="it did something else in a process with PYTHONHASHSEED"):
        run_as_test(small("wavers"), {})


@pytest.mark.parametrize("seeds", ["0", "-3", "many", "1.5"])
def test_a_number_of_seeds_that_is_none_is_refused(seeds: str) -> None:
    with pytest.raises(Misconfigured, match="expected a number of seeds in HANSE_SIM_SEEDS, such as 200"):
        run_as_test(small("holds"), {"HANSE_SIM_SEEDS": seeds})


def test_a_token_that_is_none_is_refused() -> None:
    with pytest.raises(Misconfigured, match="is no replay token"):
        run_as_test(small("holds"), {"HANSE_SIM_REPLAY": "the one from yesterday"})


def test_what_is_no_simulation_cannot_be_replayed() -> None:
    with pytest.raises(Misdeclared, match="expected a function decorated with @simulation"):
        replay(small, "calm-0")


def test_a_simulation_that_holds_is_a_test_that_passes() -> None:
    run_as_test(small("holds"), {})


def test_more_seeds_can_be_asked_for() -> None:
    run_as_test(small("is_unlucky"), {"HANSE_SIM_SEEDS": "2"})
    with pytest.raises(DoesNotHold, match="two is no lucky number"):
        run_as_test(small("is_unlucky"), {"HANSE_SIM_SEEDS": "3"})


def test_one_run_can_be_asked_for() -> None:
    run_as_test(small("is_unlucky"), {"HANSE_SIM_REPLAY": "calm-1"})
    with pytest.raises(DoesNotHold) as raised:
        run_as_test(small("is_unlucky"), {"HANSE_SIM_REPLAY": "calm-2"})
    assert "is_unlucky does not hold under calm-2: story" in str(raised.value)
    assert "What goes wrong, in calm weather:\n  nothing goes wrong" in str(raised.value)


def test_a_kept_run_that_means_nothing_any_more_is_a_warning(tmp_path: Path) -> None:
    origin = Origin(str(shutil.copy(SMALL, tmp_path / "worlds_with_old_runs.py")), "worlds_with_old_runs", "holds")
    simulation = load(origin, sys.path)
    file_of(origin).write_text('[[run]]\nsimulation = "holds"\ntoken = "mild-1"\nwhy = "x"\n')
    with pytest.warns(KeptRunIsOutdated, match=r"there is no profile 'mild'.*take it out of .*\.seeds\.toml"):
        run_as_test(simulation, {})


def test_a_simulation_without_a_name_runs_here_alone() -> None:
    hidden = sys.modules[small("holds").story.__module__].makes_one()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hidden()
