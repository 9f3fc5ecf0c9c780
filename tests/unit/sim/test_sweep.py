"""Many seeds of one simulation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hanse.kernel.faults import Misconfigured
from hanse.sim.origin import Origin, load
from hanse.sim.run import run_once
from hanse.sim.simulation import Simulation, simulation_of
from hanse.sim.sweep import Options, Progress, Sweep, sweep
from hanse.sim.token import Token

SMALL = Path(__file__).with_name("small_worlds.py")


def small(name: str) -> Simulation:
    return load(Origin(str(SMALL), "small_worlds", name), sys.path)


def without_wall(swept: Sweep) -> dict[str, object]:
    return {name: getattr(swept, name) for name in Sweep.__struct_fields__ if name != "wall"}


def test_what_a_seed_breaks_is_told_with_its_token() -> None:
    swept = sweep(small("loses"), Options())
    assert not swept.ok
    first = swept.failures[0]
    outcome = run_once(small("loses"), Token.parse(first.token))
    assert outcome.violations == first.violations
    assert first.violations[0].check == "nothing lost"


def test_what_never_happened_fails_the_sweep() -> None:
    swept = sweep(small("waits_in_vain"), Options())
    assert (swept.ok, swept.failures, swept.missing) == (False, (), ("a miracle",))


def test_a_profile_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Misconfigured, match="there is no profile 'mild'"):
        sweep(small("holds"), Options(profile="mild"))


def test_a_sweep_runs_the_seeds_and_the_profile_that_the_simulation_says() -> None:
    swept = sweep(small("holds"), Options())
    assert (swept.ok, swept.seeds, swept.profile) == (True, 4, "hostile")
    assert swept.reached == {"came to its end": 4}
    assert swept.seconds > 4 * 10
    assert swept.rate == swept.seconds / swept.wall
    assert sum(swept.incidents.values()) > 4


def test_a_sweep_runs_other_seeds_where_it_is_told() -> None:
    heard: list[Progress] = []
    swept = sweep(small("holds"), Options(seeds=range(7, 9), profile="calm"), heard.append)
    assert [progress.last.token for progress in heard] == ["calm-7", "calm-8"]
    assert [(progress.done, progress.total, progress.failed) for progress in heard] == [(1, 2, 0), (2, 2, 0)]
    assert (swept.profile, swept.incidents) == ("calm", {})


def test_a_sweep_stops_at_the_first_failure_where_it_is_told() -> None:
    swept = sweep(small("always_fails"), Options(stop=True))
    assert (swept.seeds, len(swept.failures)) == (1, 1)


def test_sweeps_of_the_same_seeds_come_to_the_same() -> None:
    once, again, other = (sweep(small("holds"), Options(seeds=seeds)) for seeds in (range(3), range(3), range(1, 4)))
    assert without_wall(once) == without_wall(again)
    assert once.trace_hash != other.trace_hash


def test_mixing_steps_within_a_process_is_another_way() -> None:
    plain, mixed = (sweep(small("crowds"), Options(shuffle=shuffle)) for shuffle in (False, True))
    assert plain.trace_hash != mixed.trace_hash


def test_processes_come_to_the_same_as_one() -> None:
    one, two = (sweep(small("loses"), Options(jobs=jobs)) for jobs in (1, 2))
    assert without_wall(one) == without_wall(two)


def test_a_seed_that_kills_its_process_is_told_and_the_others_run() -> None:
    swept = sweep(small("dies"), Options(jobs=2))
    assert swept.seeds == 4
    assert [failure.token for failure in swept.failures] == ["calm-2"]
    violation = swept.failures[0].violations[0]
    assert violation.check == "worker"
    assert "ended with exit code 3" in violation.detail


def test_processes_cannot_run_what_they_cannot_find() -> None:
    hidden = simulation_of(sys.modules[small("holds").story.__module__].makes_one())
    with pytest.raises(Misconfigured, match="other processes cannot find hidden"):
        sweep(hidden, Options(jobs=2, seeds=range(2)))
    assert sweep(hidden, Options()).ok
