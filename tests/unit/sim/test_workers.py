"""Processes that run simulations for another one."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.sim.origin import Origin
from hanse.sim.run import Outcome
from hanse.sim.worker import Answer, Order, Task, work
from hanse.sim.workers import run_apart

SMALL = Path(__file__).with_name("small_worlds.py")


def small(name: str) -> Origin:
    return Origin(str(SMALL), "small_worlds", name)


def apart(origin: Origin, *tokens: str, keep: bool = False, jobs: int = 1) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    run_apart(origin, [Order(token, keep=keep) for token in tokens], found.__setitem__, jobs=jobs)
    return [found[place] for place in range(len(tokens))]


def told(*lines: Task | Order) -> list[Answer]:
    orders, answers = io.BytesIO(b"".join(msgspec.json.encode(line) + b"\n" for line in lines)), io.BytesIO()
    work(orders, answers)
    return [msgspec.json.decode(line, type=Answer) for line in answers.getvalue().splitlines()]


def test_a_file_that_does_not_load_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "broken_world.py").write_text("raise SystemExit(7)")
    with pytest.raises(CouldNotStart, match="to run story ended with exit code 7 while it loaded"):
        apart(Origin(str(tmp_path / "broken_world.py"), "broken_world", "story"), "calm-0")


def test_a_simulation_that_is_not_there_is_told() -> None:
    with pytest.raises(Misconfigured, match="there is no 'gone'"):
        apart(small("gone"), "calm-0", "calm-1", jobs=2)


def test_a_token_that_does_not_fit_is_told() -> None:
    with pytest.raises(Misconfigured, match="keeps incident 16, but only 0 are drawn"):
        apart(small("holds"), "calm-0", "calm-0-xffff", "calm-1", jobs=2)


def test_a_process_that_dies_over_each_run_is_replaced_each_time() -> None:
    first, other, second = apart(small("dies"), "calm-2", "calm-1", "hostile-2")
    assert [outcome.violations[0].check for outcome in (first, second)] == ["worker", "worker"]
    assert other.ok


def test_a_run_that_goes_on_and_on_is_ended_and_told() -> None:
    found: dict[int, Outcome] = {}
    orders = [Order("calm-1"), Order("calm-0")]
    run_apart(small("never_ends"), orders, found.__setitem__, jobs=1, limit=0.5)
    assert found[0].violations[0].check == "worker"
    assert "killed by SIGKILL as it had taken longer than 0.5 s" in found[0].violations[0].detail
    assert found[1].ok


def test_what_happened_comes_along_where_it_is_wanted() -> None:
    (outcome,) = apart(small("holds"), "calm-0", keep=True)
    assert {"start", "send", "commit"} <= {effect.kind for effect in outcome.effects}


def test_a_worker_answers_each_line() -> None:
    ready, held, refused, again = told(
        Task(small("holds"), sys.path), Order("calm-0"), Order("calm-0-x1"), Order("calm-0")
    )
    assert ready == Answer()
    assert "only 0 are drawn" in refused.fault
    assert held.outcome is not None
    assert again.outcome is not None
    assert held.outcome.ok
    assert held.outcome.hash == again.outcome.hash


def test_a_worker_that_finds_nothing_says_so() -> None:
    (refused,) = told(Task(small("gone"), sys.path), Order("calm-0"))
    assert "there is no 'gone'" in refused.fault


def test_a_worker_that_is_asked_for_nothing_does_nothing() -> None:
    assert told() == []
