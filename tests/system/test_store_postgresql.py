"""`hanse store`, the shop and its doctor on PostgreSQL, as their users meet them: by the URL alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tests.planted.unmeasured import unmeasured
from tests.store.postgresql.server import started, why_not

from .test_store_command import BREAKING, FIRST, SECOND
from .test_store_dump import fill

pytestmark = pytest.mark.timeout(180)

POWER = Path(__file__).parents[2] / "examples" / "power" / "power.py"
SHOP = Path(__file__).parents[2] / "examples" / "shop" / "shop.py"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if why := why_not():
        pytest.skip(why)
    server = started()
    try:
        # Nobody has to know the password here, but it is in the URL, and may not be shown.
        yield server.store().replace("hanse@", "hanse:secret@")
    finally:
        server.remove()


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hanse", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def send(url: str, method: str, **body: object) -> None:
    headers = {"content-type": "application/json"}
    urlopen(Request(url, json.dumps(body).encode(), headers, method=method)).close()


def test_a_store_is_planned_made_changed_and_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "shop.py").write_text(FIRST)
    (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{url}"\n')
    planned = hanse(tmp_path, "store", "plan", "-q")
    assert "+ collection orders: sku, total" in planned.stdout, planned.stderr
    assert "secret" not in planned.stdout + planned.stderr
    assert hanse(tmp_path, "store", "apply").returncode == 0
    assert "nothing to do" in hanse(tmp_path, "store", "plan").stderr
    (tmp_path / "shop.py").write_text(SECOND)
    assert "orders.note: string; stored rows read as" in hanse(tmp_path, "store", "plan").stdout
    assert hanse(tmp_path, "store", "apply").returncode == 0
    (tmp_path / "shop.py").write_text(BREAKING)
    refused = hanse(tmp_path, "store", "apply")
    assert refused.returncode == 1
    assert "orders.total: stored as number, now string" in refused.stdout


def test_a_server_that_is_away_is_told_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FIRST)
    away = "postgresql://hanse:secret@127.0.0.1:1/shop"
    for verb in (("store", "plan"), ("run", "shop.py", "--port", "0", "--store", away)):
        (tmp_path / "hanse.toml").write_text(f'app = "shop.py"\n[node]\nstore = "{away}"\n')
        failed = hanse(tmp_path, *verb)
        assert failed.returncode != 0
        assert "the store postgresql://127.0.0.1:1/shop schema orders is away" in failed.stderr
        assert "secret" not in failed.stdout + failed.stderr


def test_the_shop_runs_on_it_and_finds_what_it_left(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "-m", "hanse", "run", str(SHOP), "--port", "0", "--store", f"{url}?schema=example"]
    found: list[object] = []
    for life in range(2):
        with subprocess.Popen(command, cwd=tmp_path, env=unmeasured(), text=True, stdout=subprocess.PIPE) as running:
            try:
                assert running.stdout is not None
                base = running.stdout.readline().split()[-1]
                if not life:
                    send(f"{base}/items/tea", "PUT", left=3, price=500)
                    send(f"{base}/rpc/orders/place", "POST", sku="tea", quantity=2)
                with urlopen(f"{base}/orders?quantity[gte]=2") as answer:
                    found.append([row["sku"] for row in json.load(answer)["items"]])
            finally:
                running.kill()
    assert found == [["tea"], ["tea"]]


def test_power_goes_on_after_a_kill_where_it_was(tmp_path: Path, url: str) -> None:
    """Eight devices are asked for; the process is killed when the first has been switched; the next finishes."""
    command = [sys.executable, "-m", "hanse", "run", str(POWER), "--port", "0", "--store", f"{url}?schema=power"]
    seen: dict[str, Any] = {}
    for life in range(2):
        with subprocess.Popen(
            [*command, "--services", "devices,worker,gateway"],
            cwd=tmp_path,
            env=unmeasured(),
            text=True,
            stdout=subprocess.PIPE,
        ) as running:
            try:
                assert running.stdout is not None
                base = running.stdout.readline().split()[-1]
                with urlopen(f"{base}/devices") as answer:
                    devices = [row["id"] for row in json.load(answer)["items"]]
                assert len(devices) == 8
                for device in devices if not life else ():
                    send(f"{base}/rpc/devices/ask", "POST", id=device, wanted="on")
                seen = switched(base, 1 if not life else len(devices))
            finally:
                running.kill()
    assert {(row["power"], row["pending"], row["switched"]) for row in seen.values()} == {("on", False, 1)}


def switched(base: str, wanted: int) -> dict[str, Any]:
    """The devices as a feed tells of them, once so many are on."""
    seen: dict[str, Any] = {}
    with urlopen(Request(f"{base}/devices", headers={"accept": "text/event-stream"}), timeout=60) as feed:
        for line in feed:
            if line.startswith(b"data:") and "value" in (told := json.loads(line[5:])):
                row = seen[told["key"]] = told["value"]
                assert row["pending"] == (row["power"] != row["wanted"])
                assert (row["power"] == "on") == (row["switched"] % 2 == 1)
                if sum(one["power"] == "on" for one in seen.values()) >= wanted:
                    return seen
    raise AssertionError("the feed ended")


def test_an_app_moves_from_sqlite_to_postgresql_and_back(tmp_path: Path, url: str) -> None:
    (tmp_path / "shop.py").write_text(FIRST)
    (tmp_path / "hanse.toml").write_text('app = "shop.py"\n[node]\nstore = "sqlite:///shop.db"\n')
    asyncio.run(fill(tmp_path / "shop.db"))
    assert hanse(tmp_path, "store", "dump", "--to", "there", "-q").returncode == 0
    moved = f"{url.partition('?')[0]}?schema=moved&synchronous=off"
    loaded = hanse(tmp_path, "store", "load", "--from", "there", "--store", moved)
    assert "900 rows, 900 entries" in loaded.stdout, loaded.stderr
    assert "secret" not in loaded.stdout + loaded.stderr
    back = hanse(tmp_path, "store", "dump", "--to", "back", "--store", moved, "-q")
    assert back.returncode == 0, back.stderr
    assert things(tmp_path / "back" / "orders.jsonl") == things(tmp_path / "there" / "orders.jsonl")
    again = hanse(tmp_path, "store", "load", "--from", "there", "--store", moved)
    assert (again.returncode, "expected a store of orders with nothing in it" in again.stderr) == (1, True)


def things(dump: Path) -> list[bytes]:
    return [line for line in dump.read_bytes().splitlines() if b'"kind":"row"' in line or b'"kind":"entry"' in line]
