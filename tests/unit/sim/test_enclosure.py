"""No way out of a world, and no state that nodes or runs share."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from hanse.kernel.faults import Misdeclared
from hanse.sim.check import Violation
from hanse.sim.enclosure import modules_of
from hanse.sim.origin import Origin, load
from hanse.sim.run import Outcome, run_once
from hanse.sim.simulation import Simulation
from hanse.sim.token import Token

CARELESS = Path(__file__).with_name("careless_worlds.py")
CALM = Token.parse("calm-0")


def careless(name: str) -> Simulation:
    return load(Origin(str(CARELESS), "careless_worlds", name), sys.path)


def first(outcome: Outcome) -> Violation:
    assert outcome.violations
    return outcome.violations[0]


@pytest.mark.parametrize("name", ["asks_the_time", "hides_it", "looks_with_it"])
def test_a_real_clock_fails_the_run_where_it_is_read(name: str) -> None:
    violation = first(run_once(careless(name), CALM))
    assert violation.check == "fence"
    assert violation.detail.startswith("time.time() reads the real clock at ")
    assert "careless_worlds.py:" in violation.detail
    assert "take current().host.now()" in violation.detail


@pytest.mark.parametrize("name", ["asks_the_time", "hides_it"])
def test_a_run_that_reached_out_ends_at_once(name: str) -> None:
    outcome = run_once(careless(name), CALM)
    assert outcome.seconds < 10
    assert first(outcome).at < 10


@pytest.mark.parametrize("name", ["tells_it_itself", "tells_it_beside"])
def test_a_story_is_fenced_as_well(name: str) -> None:
    outcome = run_once(careless(name), CALM)
    assert [violation.check for violation in outcome.violations] == ["fence"]
    assert "time.sleep" in first(outcome).detail


def test_a_service_is_fenced_while_it_starts() -> None:
    violation = first(run_once(careless("begins_with_it"), CALM))
    assert violation.check == "fence"
    assert "os.remove" in violation.detail


def test_what_a_killed_process_tries_is_nobodys_mistake() -> None:
    assert run_once(careless("writes_when_it_dies"), Token.parse("calm-0")).violations == ()


def test_libraries_are_told_the_time_of_the_machine_that_they_run_on() -> None:
    for seed in range(3):
        assert run_once(careless("asks_a_library"), Token(profile="hostile", seed=seed, kept=0)).violations == ()


def test_module_state_is_told_and_put_back() -> None:
    once, again = (run_once(careless("shares"), CALM) for _ in range(2))
    assert once.violations == again.violations
    assert first(once).check == "shared"
    assert "careless_worlds.seen (dict): 'a' was added; nodes that run apart do not share it" in first(once).detail
    assert sys.modules["careless_worlds"].seen == {}


def test_real_clocks_that_no_fence_sees_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "reads_in_c.py").write_text(
        "from datetime import datetime\nfrom hanse import *\n"
        "class Late(Service):\n    @rpc\n    async def ask(self) -> str:\n        return str(datetime.now())\n"
        "app = App('late', Late)\n@simulation(app)\nasync def story(world: World) -> None: ...\n"
    )
    story = load(Origin(str(tmp_path / "reads_in_c.py"), "reads_in_c", "story"), sys.path)
    with pytest.raises(Misdeclared, match=r"'late' cannot be simulated.*\n.*reads_in_c\.py:6: .*datetime") as raised:
        run_once(story, CALM)
    assert str(raised.value).count("reads_in_c.py") == 1


def test_many_such_places_are_told_in_part(tmp_path: Path) -> None:
    lines = "\n".join(f"    def at{number}(self): return datetime.now()" for number in range(14))
    (tmp_path / "reads_often.py").write_text(
        f"from datetime import datetime\nfrom hanse import *\nclass Late(Service):\n{lines}\n    @rpc\n"
        "    async def ask(self) -> None: ...\n"
        "app = App('late', Late)\n@simulation(app)\nasync def story(world: World) -> None: ...\n"
    )
    story = load(Origin(str(tmp_path / "reads_often.py"), "reads_often", "story"), sys.path)
    with pytest.raises(Misdeclared, match="and 4 more"):
        run_once(story, CALM)


def test_the_modules_of_both_versions_of_an_app_are_looked_at() -> None:
    setup = careless("shares").setup
    both = modules_of(type(setup)(app=setup.app, upgrade=setup.app))
    assert both == modules_of(setup) == (sys.modules["careless_worlds"],)


def test_the_clocks_are_real_again_after_a_run() -> None:
    before = time.time  # noqa: TID251 - what stood in for it is gone
    outcome = run_once(careless("asks_the_time"), CALM)
    assert time.time is before  # noqa: TID251 - what stood in for it is gone
    assert outcome.wall > 0
