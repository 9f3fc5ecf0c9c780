"""`hanse sim` as its users meet it: from a race that a seed finds, to a test that holds once it is mended."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

HASTY = """
from contextlib import suppress
from hanse import App, Collection, Fault, Resource, Service, World, every, rpc, simulation

class Entry(Resource):
    text: str = ""

class Book(Service):
    entries: Collection[Entry]

    async def started(self) -> None:
        self.waiting: list[str] = []

    @rpc
    async def write(self, id: str) -> None:
        self.waiting.append(id)

    @every("1s")
    async def flush(self) -> None:
        for id in self.waiting:
            await self.entries.put(Entry(id=id))
        self.waiting.clear()

@simulation(App("book", Book), seeds=10, seconds=20)
async def test_diary(world: World) -> None:
    written: set[str] = set()
    world.eventually("nothing lost", lambda: written <= {entry.id for entry in world.rows(Entry)})
    async for number in world.arrivals(2.0):
        with suppress(Fault):
            await world.client(Book).write(f"entry-{number}")
            written.add(f"entry-{number}")
"""
MENDED = HASTY.replace("self.waiting.append(id)", "await self.entries.put(Entry(id=id))")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_diary.py").write_text(HASTY)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return tmp_path


def run(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environ}
    )


def sim(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "hanse", "sim", "test_diary.py", *arguments, **environ)


def test_a_file_that_fails_on_import_does_not_start(folder: Path) -> None:
    (folder / "test_diary.py").write_text("import no_such_thing")
    refused = sim(folder)
    assert refused.returncode == 3
    assert "No module named 'no_such_thing'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_race_is_found_kept_exported_mended_and_stays_mended(folder: Path) -> None:
    found = sim(folder, "--keep", "--export", "test_found.py", "--jobs", "2")
    assert found.returncode == 1
    assert "The least that has to go wrong" in found.stdout
    assert "book is killed" in found.stdout

    failed = run(folder, *PYTEST)
    assert failed.returncode == 1
    assert "test_diary does not hold under" in failed.stdout
    assert "2 failed" in failed.stdout

    (folder / "test_diary.py").write_text(MENDED)
    held = sim(folder)
    assert held.returncode == 0
    assert "10 seeds of hostile, 1 kept run, 1 run twice: everything held" in held.stdout
    passed = run(folder, *PYTEST)
    assert passed.returncode == 0
    assert "2 passed" in passed.stdout


def test_a_run_is_the_same_in_every_process(folder: Path) -> None:
    command = ("--replay", "hostile-2", "--json", "-q", "--no-shrink")
    runs = [json.loads(sim(folder, *command, PYTHONHASHSEED=seed).stdout) for seed in ("0", "17")]
    assert runs[0]["trace_hash"] == runs[1]["trace_hash"]
    assert runs[0]["failures"] == runs[1]["failures"]
    assert [failure["token"] for failure in runs[0]["failures"]] == ["hostile-2"]


def test_progress_is_one_line_on_a_terminal_and_colour_is_left_out_where_it_is_not_wanted(folder: Path) -> None:
    (folder / "test_diary.py").write_text(MENDED)
    shown = {wanted: on_a_terminal(folder, NO_COLOR="" if wanted else "1") for wanted in (True, False)}
    for text in shown.values():
        assert "\r\033[Ktest_diary: " in text
        assert " of 3 runs, all held, " in text
        assert "everything held" in text.splitlines()[-3]
    assert "\033[32m" in shown[True]
    assert "\033[32m" not in shown[False]


def on_a_terminal(folder: Path, **environ: str) -> str:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "hanse", "sim", "test_diary.py", "--seeds", "3"],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", **environ},
        )
        os.close(theirs)
        said = b""
        try:
            while piece := terminal.read(4096):
                said += piece
        except OSError:
            pass  # the other end of the terminal is closed
        assert process.wait() == 0
    return said.decode()


MARKED = """
import asyncio
import pytest
from hanse import simulate
from hanse.sim.loop import Loop
from test_diary import Book, Entry, test_diary as diary
from hanse.sim.simulation import simulation_of

app = simulation_of(diary).setup.app

@pytest.mark.virtual_time
async def test_an_hour_passes() -> None:
    async with simulate(app, seed=7) as world:
        await world.client(Book).write("a")
        await world.advance("1h")
        assert [entry.id for entry in world.rows(Entry)] == ["a"]

@pytest.fixture
async def late() -> float:
    await asyncio.sleep(3600)
    return asyncio.get_running_loop().time()

@pytest.mark.virtual_time
async def test_fixtures_wait_as_well(late: float) -> None:
    assert late >= 3600

async def test_others_have_the_loop_that_they_always_had() -> None:
    assert not isinstance(asyncio.get_running_loop(), Loop)
"""


def test_marked_tests_have_virtual_time(folder: Path) -> None:
    (folder / "test_marked.py").write_text(MARKED)
    done = run(folder, *PYTEST, "-W", "error", "--strict-markers", "-o", "asyncio_mode=auto", "test_marked.py")
    assert "3 passed" in done.stdout, done.stdout


def test_simulations_are_tests_without_any_other_plugin(folder: Path) -> None:
    (folder / "test_diary.py").write_text(MENDED)
    done = run(folder, *PYTEST, "-p", "no:asyncio", "test_diary.py", HANSE_SIM_SEEDS="2")
    assert "1 passed" in done.stdout, done.stdout
    (folder / "test_marked.py").write_text(MARKED)
    alone = run(folder, *PYTEST, "-p", "no:asyncio", "test_marked.py", "-k", "an_hour")
    assert "async def functions are not natively supported" in alone.stdout


def test_a_failure_shows_its_report_and_nothing_of_how_it_was_called(folder: Path) -> None:
    done = run(folder, *PYTEST, "test_diary.py", HANSE_SIM_REPLAY="hostile-2")
    assert "FAILED test_diary.py::test_diary - test_diary does not hold under hostile-2" in done.stdout
    assert "What goes wrong:" in done.stdout
    assert "run_as_test" not in done.stdout
    assert "as_test.py" not in done.stdout
