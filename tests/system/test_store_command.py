"""`hanse store` as its users meet it: real files, real commands, also beside a process that has the file open."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Value = Any

FIRST = """
from hanse import Collection, Resource, Service

class Order(Resource):
    sku: str
    total: int

class Orders(Service):
    orders: Collection[Order]
"""
SECOND = FIRST.replace("total: int", 'total: float\n    note: str = "none"')
BREAKING = FIRST.replace("total: int", "total: str\n    note: str")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(FIRST)
    (tmp_path / "hanse.toml").write_text('app = "shop.py"\n[node]\nstore = "sqlite:///shop.db"\n')
    return tmp_path


def store(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hanse", "store", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def told(done: subprocess.CompletedProcess[str]) -> Value:
    return json.loads(done.stdout)


def file_of(folder: Path) -> Path:
    return folder / "shop-orders.db"


def test_what_stored_rows_do_not_fit_is_refused_and_nothing_is_done(folder: Path) -> None:
    assert store(folder, "apply").returncode == 0
    (folder / "shop.py").write_text(BREAKING)
    before = file_of(folder).read_bytes()
    for verb in ("plan", "apply"):
        refused = store(folder, verb)
        assert refused.returncode == 1
        assert "! field orders.total: stored as integer, now string" in refused.stdout
        assert "! field orders.note: stored rows do not have this new field; give it a default" in refused.stdout
        assert "nothing was done" in refused.stderr
    found = told(store(folder, "apply", "--json"))
    assert (found["done"], found["refused"]) == (False, True)
    assert file_of(folder).read_bytes() == before


def test_no_app_is_wrong_use(folder: Path) -> None:
    (folder / "hanse.toml").unlink()
    assert store(folder, "plan").returncode == 2


def test_a_file_of_something_else_is_left_alone(folder: Path) -> None:
    with closing(sqlite3.connect(file_of(folder))) as other:
        other.execute("CREATE TABLE theirs (x)")
    refused = store(folder, "plan")
    assert refused.returncode == 3
    assert "a database of something else" in refused.stderr


def test_a_file_that_another_process_keeps_locked_is_told(folder: Path) -> None:
    assert store(folder, "apply").returncode == 0
    (folder / "shop.py").write_text(SECOND)
    with closing(sqlite3.connect(file_of(folder), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = store(folder, "apply")
    assert refused.returncode == 1
    assert "locked by another process" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_plan_touches_nothing(folder: Path) -> None:
    planned = store(folder, "plan")
    assert (planned.returncode, planned.stdout.splitlines()[:2]) == (
        0,
        ["orders  sqlite:///shop-orders.db", "  + collection orders: sku, total"],
    )
    assert "hanse store apply" in planned.stderr
    assert not file_of(folder).exists()


def test_a_plan_leaves_nothing_beside_a_file_that_it_read(folder: Path) -> None:
    assert store(folder, "apply").returncode == 0
    before = sorted(folder.glob("shop-orders.db*"))
    planned = store(folder, "plan")

    assert (planned.returncode, planned.stderr) == (0, "hanse: nothing to do\n")
    assert sorted(folder.glob("shop-orders.db*")) == before == [file_of(folder)]


def test_a_plan_sees_what_a_running_process_has_not_put_into_the_file_yet(folder: Path) -> None:
    (folder / "shop.py").write_text(FIRST)
    assert store(folder, "apply").returncode == 0
    with closing(sqlite3.connect(file_of(folder), isolation_level=None)) as running:
        running.execute("PRAGMA wal_autocheckpoint = 0")
        running.execute("PRAGMA user_version = 9999")
        seen = store(folder, "plan")

    assert seen.returncode == 3
    assert "9999" in seen.stderr


def test_what_is_safe_is_done_once(folder: Path) -> None:
    assert store(folder, "apply").returncode == 0
    (folder / "shop.py").write_text(SECOND)
    steps = [
        {"change": "widen", "collection": "orders", "field": "total", "index": False, "detail": "integer to number"},
        {
            "change": "add",
            "collection": "orders",
            "field": "note",
            "index": False,
            "detail": 'string; stored rows read as "none"',
        },
    ]
    applied = told(store(folder, "apply", "--json"))
    assert applied["done"]
    assert applied["stores"] == [
        {"service": "orders", "store": "sqlite:///shop-orders.db", "steps": steps, "unseen": False}
    ]
    again = store(folder, "plan")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "hanse: nothing to do\n")


def test_a_store_in_memory_begins_anew_each_time(folder: Path) -> None:
    planned = store(folder, "plan", "--store", "memory:")
    assert planned.stdout.startswith("orders  memory:\n  + collection orders")
