"""A process dies by kill -9 amid all that a saga may be at; the next one ends each, and nothing took effect twice."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.planted.unmeasured import unmeasured
from tests.store.postgresql.server import started, why_not

SCRIPT = Path(__file__).with_name("killed_saga.py")
SECONDS_MAX = 120.0


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data"
        return
    if why := why_not():
        pytest.skip(why)
    server = started("fsync=off")
    try:
        yield server.store(synchronous="off")
    finally:
        server.remove()


def test_whatever_a_saga_is_killed_in_takes_effect_once(store: str) -> None:
    first = subprocess.Popen(
        [sys.executable, str(SCRIPT), store, "hang"], env=unmeasured(), stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdout is not None
        said = first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    assert said == "amid all\n"

    second = [sys.executable, str(SCRIPT), store, "end"]
    done = subprocess.run(second, capture_output=True, text=True, timeout=SECONDS_MAX, check=True)
    told = json.loads(done.stdout.splitlines()[-1])

    ends = {"method": "done", "call": "done", "sleep": "done", "event": "done", "undo": "undone"}
    begun = [f"{kind} begins" for kind in ends]
    assert told["states"] == ends
    assert told["notes"] == sorted([*begun, "method is done", "undo goes on", "undo goes back", "undo is undone"])
    assert told["papers"] == ["call is done"]
