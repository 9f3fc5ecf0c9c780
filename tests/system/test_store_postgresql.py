"""`hanse store`, the shop and its doctor on PostgreSQL, as their users meet them: by the URL alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import Request, urlopen

import pytest
from tests.store.postgresql.server import started, why_not

from .store_suite import POWER, SHOP, ShopByUrl, hanse, running, send
from .test_store_command import FIRST
from .test_store_dump import fill

pytestmark = pytest.mark.timeout(180)


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


class TestPostgresql(ShopByUrl):
    away: ClassVar[str] = "postgresql://hanse:secret@127.0.0.1:1/shop"
    place: ClassVar[str] = "postgresql://127.0.0.1:1/shop schema orders"
    part: ClassVar[str] = "schema"

    def look(self, folder: Path) -> None:
        assert "nothing to do" in hanse(folder, "store", "plan").stderr

    def test_a_server_that_is_away_keeps_an_app_from_starting(self, tmp_path: Path) -> None:
        failed = hanse(tmp_path, "run", str(SHOP), "--port", "0", "--store", self.away)
        assert failed.returncode != 0
        assert "the store postgresql://127.0.0.1:1/shop schema " in failed.stderr
        assert "secret" not in failed.stdout + failed.stderr


def test_power_goes_on_after_a_kill_where_it_was(tmp_path: Path, url: str) -> None:
    """Eight devices are asked for; the process is killed when the first has been switched; the next finishes."""
    seen: dict[str, Any] = {}
    for life in range(2):
        with running(tmp_path, POWER, f"{url}?schema=power", "--services", "devices,worker,gateway") as base:
            with urlopen(f"{base}/devices") as answer:
                devices = [row["id"] for row in json.load(answer)["items"]]
            assert len(devices) == 8
            for device in devices if not life else ():
                send(f"{base}/rpc/devices/ask", "POST", id=device, wanted="on")
            seen = switched(base, 1 if not life else len(devices))
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
