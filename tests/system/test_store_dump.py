"""`hanse store dump` and `load` as their users meet them: real files, and a load that is killed with -9."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hanse import App, Collection, Node, Resource, Service, Settings
from hanse.kernel.settings import NodeSettings

from .test_store_command import FIRST, store, told

COUNT = 900


class Order(Resource):
    sku: str
    total: int


class Orders(Service):
    orders: Collection[Order]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(FIRST)
    (tmp_path / "hanse.toml").write_text('app = "shop.py"\n[node]\nstore = "sqlite:///shop.db"\n')
    asyncio.run(fill(tmp_path / "shop.db"))
    return tmp_path


async def fill(file: Path) -> None:
    async with Node(App("shop", Orders), Settings(node=NodeSettings(store=f"sqlite:///{file}"))) as node:
        rows = node.collection(Order)
        _ = await asyncio.gather(
            *(rows.create(Order(id=f"{number:05}", sku="tea", total=number)) for number in range(COUNT))
        )


def load(folder: Path, source: str = "backup", *arguments: str) -> subprocess.CompletedProcess[str]:
    return store(folder, "load", "--from", source, "--store", "sqlite:///other.db", *arguments)


def test_a_store_is_dumped_and_loaded_into_another(folder: Path) -> None:
    done = store(folder, "dump", "--to", "backup", "--gzip")
    assert "900 rows, 900 entries, 0 marks" in done.stdout, done.stderr
    assert "hanse: 1 dumped" in done.stderr
    assert [path.name for path in (folder / "backup").iterdir()] == ["orders.jsonl.gz"]
    found = told(load(folder, "backup", "--json"))["stores"][0]
    assert (found["service"], found["store"], found["counts"]["rows"]) == ("orders", "sqlite:///other-orders.db", COUNT)
    again = store(folder, "dump", "--to", "again", "--store", "sqlite:///other.db", "-q")
    assert again.returncode == 0, again.stderr
    with gzip.open(folder / "backup" / "orders.jsonl.gz") as packed:
        before = [line for line in packed if b'"kind":"row"' in line or b'"kind":"entry"' in line]
    after = (folder / "again" / "orders.jsonl").read_bytes().splitlines(keepends=True)
    assert [line for line in after if b'"kind":"row"' in line or b'"kind":"entry"' in line] == before
    assert "expected a store of orders with nothing in it" in load(folder).stderr


def test_what_cannot_be_done_is_said_and_leaves_no_file(folder: Path) -> None:
    assert store(folder, "dump", "--to", "backup", "--gzip").returncode == 0
    file = folder / "backup" / "orders.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-100])
    cut = load(folder)
    assert cut.returncode == 2
    assert "cannot be unpacked" in cut.stderr
    assert "the file was cut off or damaged" in cut.stderr
    there = store(folder, "dump", "--to", "backup")
    assert (there.returncode, "found backup/orders.jsonl.gz; choose another folder" in there.stderr) == (78, True)
    missing = load(folder, "nowhere")
    assert (missing.returncode, "expected dumps such as nowhere/orders.jsonl, found none" in missing.stderr) == (
        78,
        True,
    )
    (folder / "file").write_text("in the way")
    blocked = store(folder, "dump", "--to", "file")
    assert blocked.returncode == 1
    assert "file/orders.jsonl the system says" in blocked.stderr
    assert "hanse: nothing is stored yet" in store(folder, "dump", "--to", "new", "--store", "sqlite:///new.db").stderr
    assert not (folder / "new").exists()


def test_a_load_that_was_killed_says_so_and_is_done_anew(folder: Path) -> None:
    assert store(folder, "dump", "--to", "backup", "-q").returncode == 0
    lines = (folder / "backup" / "orders.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "slow").mkdir()
    os.mkfifo(folder / "slow" / "orders.jsonl")
    command = [sys.executable, "-m", "hanse", "store", "load", "--from", "slow", "--store", "sqlite:///other.db"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)
    try:
        with (folder / "slow" / "orders.jsonl").open("wb", buffering=0) as pipe:
            # All but a few lines, which is far more than a pipe holds: so most of it has been taken by then.
            _ = pipe.write(b"".join(lines[:-5]))
            process.kill()
            _ = process.wait(60)
    finally:
        process.kill()
        _ = process.communicate()
    started = subprocess.run(
        [sys.executable, "-m", "hanse", "run", "--port", "0", "--store", "sqlite:///other.db"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert started.returncode == 3
    assert "was being loaded from a dump, which did not finish: run `hanse store load` again" in started.stderr
    assert load(folder).returncode == 0
    last = store(folder, "dump", "--to", "last", "--store", "sqlite:///other.db", "-q")
    assert last.returncode == 0, last.stderr
    found = (folder / "last" / "orders.jsonl").read_bytes().splitlines(keepends=True)
    assert found[1 : 2 * COUNT + 1] == lines[1 : 2 * COUNT + 1]
