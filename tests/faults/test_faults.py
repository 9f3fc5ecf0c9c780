"""Real processes are killed at each fault point, in one place or another; `make faults` kills at all of them in all."""

import asyncio
import itertools
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hanse.kernel.fault_point import POINTS

from . import disk
from .backlog import away
from .full import FULL, disk_full
from .letters import STORES, listed
from .places import PLACES, Place, missing
from .sweep import PARTS, doses, survive
from .troubles import TROUBLES, suffer

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(280)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.title)
def test_whatever_is_killed_each_order_has_each_of_its_effects_once(place: Place, tmp_path: Path) -> None:
    if why := missing(place):
        pytest.skip(why)
    first = PLACES.index(place)
    share = list(POINTS)[first :: len(PLACES)]
    told = asyncio.run(survive(place, tmp_path, doses(share, rounds=1, first=first)))
    assert told.effects.wrong == ()
    assert told.effects.once == told.effects.orders > 0
    assert told.kills == dict.fromkeys(share, 1)


@pytest.mark.timeout(280)
def test_a_process_that_stood_still_past_its_lease_does_nothing_twice(tmp_path: Path) -> None:
    told = asyncio.run(suffer(TROUBLES["pause"], PLACES[0], tmp_path, 1))
    assert (told.effects.wrong, told.effects.once) == ((), told.effects.orders)


@pytest.mark.timeout(280)
@pytest.mark.skipif(bool(disk.why_not()), reason=disk.why_not())
@pytest.mark.parametrize("name", FULL)
def test_a_disk_that_was_full_loses_nothing_and_needs_no_restart(name: str, tmp_path: Path) -> None:
    if why := missing(FULL[name].place):
        pytest.skip(why)
    told = asyncio.run(disk_full(name, tmp_path, 1))
    assert (told.effects.wrong, told.effects.once) == ((), told.effects.orders)


def test_what_was_told_while_a_broker_was_away_waits_and_is_handled_once(tmp_path: Path) -> None:
    told = asyncio.run(away(next(place for place in PLACES if place.transport == "redis"), tmp_path, 0.5, 1_000))
    assert told.figures["events"] == 1_000


def test_each_dead_letter_is_in_the_list_once_however_many_pages_it_has(tmp_path: Path) -> None:
    told = asyncio.run(listed(STORES[0], tmp_path, 200))
    assert told.figures["letters"] == 200


def test_each_point_has_its_doses_and_those_who_pass_it_take_turns() -> None:
    wanted = doses(POINTS, rounds=6)
    assert Counter(dose.point for dose in itertools.chain(*wanted.values())) == dict.fromkeys(POINTS, 6)
    assert [len([dose for dose in wanted[part] if dose.point == "unit.before_commit"]) for part in PARTS] == [2, 2, 2]


def test_a_trap_closes_at_its_point_and_at_its_time(tmp_path: Path) -> None:
    told = tmp_path / "told"
    passes = "passed('saga.begun'); passed('saga.ended'); print(1, flush=True); passed('saga.begun'); print(2)"
    code = f"from pathlib import Path; from trapped import trap; passed = trap('saga.begun', 2, Path({str(told)!r}));"
    done = subprocess.run(
        [sys.executable, "-c", code + passes], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, told.read_text()) == (-signal.SIGKILL, "1\n", "saga.begun\n")
