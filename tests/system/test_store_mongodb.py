"""`hanse store` and the devices on MongoDB, as their users meet them: by the URL alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tests.planted.unmeasured import unmeasured
from tests.store.mongodb.server import started, why_not

from .test_store_command import BREAKING, FIRST, SECOND

pytestmark = pytest.mark.timeout(180)

POWER = Path(__file__).parents[2] / "examples" / "power" / "power.py"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if why := why_not():
        pytest.skip(why)
    server = started()
    try:
        yield server.store()
    finally:
        server.remove()


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hanse", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_store_is_planned_made_changed_and_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "shop.py").write_text(FIRST)
    (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{url}"\n')
    planned = hanse(tmp_path, "store", "plan", "-q")
    assert "+ collection orders: sku, total" in planned.stdout, planned.stderr
    assert hanse(tmp_path, "store", "apply").returncode == 0
    (tmp_path / "shop.py").write_text(SECOND)
    assert "orders.note: string; stored rows read as" in hanse(tmp_path, "store", "plan").stdout
    (tmp_path / "shop.py").write_text(BREAKING)
    refused = hanse(tmp_path, "store", "apply")
    assert refused.returncode == 1
    assert "orders.total: stored as integer, now string" in refused.stdout


def test_a_server_that_is_away_is_told_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FIRST)
    away = "mongodb://hanse:secret@127.0.0.1:1/shop?serverSelectionTimeoutMS=100"
    (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{away}"\n')
    failed = hanse(tmp_path, "store", "plan")
    assert failed.returncode != 0
    assert "the store mongodb://127.0.0.1:1/shop prefix orders is away" in failed.stderr
    assert "secret" not in failed.stdout + failed.stderr


def test_the_devices_are_switched_on_it_and_are_there_after_a_kill(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "-m", "hanse", "run", str(POWER), "--port", "0", "--store", f"{url}?prefix=power"]
    switched = dict[str, int]()
    for life in range(2):
        with subprocess.Popen(command, cwd=tmp_path, env=unmeasured(), text=True, stdout=subprocess.PIPE) as running:
            try:
                assert running.stdout is not None
                base = running.stdout.readline().split()[-1]
                if not life:
                    switched = _switched(base)
                else:
                    with urlopen(f"{base}/devices") as answer:
                        devices = {one["id"]: one["switched"] for one in json.load(answer)["items"]}
            finally:
                running.kill()
    assert len(devices) == 8
    assert all(devices[id] >= count for id, count in switched.items())


def _switched(base: str) -> dict[str, int]:
    """A device that was switched, as the live feed tells of it."""
    request = Request(f"{base}/devices", headers={"accept": "text/event-stream"})
    with urlopen(request, timeout=60) as lines:
        for line in lines:
            if line.startswith(b"data:") and b'"switched":1' in line.replace(b" ", b""):
                told: dict[str, Any] = json.loads(line.removeprefix(b"data:"))
                device: dict[str, Any] = told.get("value") or told.get("after") or told
                assert (device["power"], device["switched"]) == ("on", 1)
                return {str(device["id"]): 1}
    raise AssertionError("the feed ended")
