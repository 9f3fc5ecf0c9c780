"""Runs that failed once, kept beside the world's file."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.faults import Misconfigured
from hanse.sim.check import Violation
from hanse.sim.failure import Failure
from hanse.sim.kept import Kept, file_of, keep, kept_of, unfit
from hanse.sim.origin import Origin, load
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Options, sweep

SMALL = Path(__file__).with_name("small_worlds.py")
LOST = (Violation("nothing lost", 'entry-9, "a\\b" acknowledged,\n and lost', 330.9),)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    file = shutil.copy(SMALL, tmp_path / "worlds_to_keep.py")
    return Origin(str(file), "worlds_to_keep", "loses")


@pytest.fixture
def loses(origin: Origin) -> Simulation:
    _ = sys.modules.pop(origin.module, None)
    return load(origin, sys.path)


def write(origin: Origin, text: str) -> None:
    file_of(origin).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[[run]\n", "cannot be read: .*line 1"),
        ("[[run]]\nsimulation = 'loses'\ntoken = 'calm-1'\n", "missing required field `why`"),
        ("[[run]]\nsimulation = 'loses'\ntoken = 'calm-1'\nwhy = ''\nseed = 3\n", "unknown field `seed`"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(origin: Origin, loses: Simulation, text: str, wrong: str) -> None:
    write(origin, text)
    with pytest.raises(Misconfigured, match=rf"worlds_to_keep\.seeds\.toml {wrong}|{wrong}"):
        sweep(loses, Options())


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("nonsense", "'nonsense' is no replay token"),
        ("mild-1", "there is no profile 'mild'"),
        ("calm-1-x3", "only 0 are drawn"),
        ("calm-1-kill:1:1:orders", "is about orders, and there is no such machine any more"),
        ("calm-1-cut:1:1:book:client+web", "is about web, and there is no such machine any more"),
        ("calm-1-kill_at:1:1:book:unit.gone", "is about unit.gone, and there is no such fault point any more"),
    ],
)
def test_a_run_that_cannot_be_made_any_more_is_told(loses: Simulation, token: str, why: str) -> None:
    assert why in unfit(loses, Kept(simulation="loses", token=token, why="it was so"))


def test_a_run_that_means_something_else_by_now_is_told(origin: Origin, loses: Simulation) -> None:
    assert keep(origin, loses, Failure("hostile-1", LOST))
    (one,) = kept_of(origin)
    longer = msgspec.structs.replace(loses, seconds=45.0)
    assert unfit(loses, one) == ""
    assert "means other incidents or another weather" in unfit(longer, one)


def test_what_does_not_fit_is_told_and_the_rest_runs(origin: Origin, loses: Simulation) -> None:
    write(origin, "[[run]]\nsimulation='loses'\ntoken='mild-1'\nwhy='x'\n" + 2 * _entry("calm-7"))
    heard: list[str] = []
    swept = sweep(loses, Options(seeds=range(1), profile="calm"), lambda progress: heard.append(progress.last.token))
    assert (heard, swept.kept, swept.seeds) == (["calm-7", "calm-7", "calm-0"], 2, 1)
    assert [why.partition(";")[0] for why in swept.unfit] == [
        "there is no profile 'mild'",
    ]


def test_kept_runs_are_made_first_and_have_no_part_in_the_hash(origin: Origin, loses: Simulation) -> None:
    before = sweep(loses, Options(seeds=range(1)))
    failure = next(one for one in sweep(loses, Options()).failures if one.token != "hostile-0")
    assert keep(origin, loses, failure)
    after = sweep(loses, Options(seeds=range(1)))
    assert after.failures[0] == failure
    assert (after.kept, after.seeds) == (1, 1)
    assert after.trace_hash == before.trace_hash


def test_a_run_is_kept_once_in_words_that_people_can_read(origin: Origin, loses: Simulation) -> None:
    assert keep(origin, loses, Failure("hostile-1", LOST))
    assert not keep(origin, loses, Failure("hostile-1", LOST))
    assert keep(origin, loses, Failure("hostile-1", LOST, shuffle=True))
    text = file_of(origin).read_text(encoding="utf-8")
    assert text.startswith("# Runs that failed once.")
    assert text.count('token = "hostile-1"') == 2
    assert [(one.why, one.shuffle) for one in kept_of(origin)] == [
        ('nothing lost: entry-9, "a\\b" acknowledged, / and lost', shuffle) for shuffle in (False, True)
    ]


def test_what_is_there_by_hand_stays(origin: Origin, loses: Simulation) -> None:
    write(origin, f"# mind the gap\n{_entry('calm-7')}\n")
    assert keep(origin, loses, Failure("hostile-1", LOST))
    assert file_of(origin).read_text(encoding="utf-8").startswith("# mind the gap\n[[run]]\n")
    assert [one.token for one in kept_of(origin)] == ["calm-7", "hostile-1"]


def test_a_long_reason_is_cut(origin: Origin, loses: Simulation) -> None:
    assert keep(origin, loses, Failure("hostile-1", (Violation("story", "x" * 1000, 1.0),)))
    assert len(kept_of(origin)[0].why) < 200


def test_runs_of_other_simulations_are_none_of_ours(origin: Origin, loses: Simulation) -> None:
    write(origin, _entry("calm-7").replace("loses", "holds"))
    assert kept_of(origin) == []
    assert sweep(loses, Options(seeds=range(1), profile="calm")).kept == 0


def _entry(token: str) -> str:
    return f"[[run]]\nsimulation = 'loses'\ntoken = '{token}'\nwhy = 'it broke'\n"
