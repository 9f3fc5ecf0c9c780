"""`hanse deadletters` on the stores of an app that does not run."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hanse.cli.group import hanse
from hanse.cli.target import load_app
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.node import Node

SHOP = """
from hanse import App, Collection, Event, Gateway, Resource, Service, on, rpc
from hanse.delivery.retry import Terminal


class Placed(Event):
    order_id: str
    sku: str


class Shop(Service, events=(Placed,)):
    @rpc
    async def place(self, order_id: str, sku: str) -> None:
        await self.emit(Placed(order_id=order_id, sku=sku))


class Receipt(Resource):
    sku: str


class Mailer(Service):
    receipts: Collection[Receipt]

    @on(Placed, key=lambda event: event.order_id)
    async def receipt(self, event: Placed) -> None:
        if event.sku == "coffee":
            raise Terminal("no \\"coffee\\" here")
        await self.receipts.put(Receipt(id=event.order_id, sku=event.sku))


app = App("letters_shop", Shop, Mailer)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    """A folder with an app, whose mailer has two dead letters of one key and one of another."""
    (tmp_path / "letters_shop.py").write_text(SHOP)
    (tmp_path / "hanse.toml").write_text('app = "letters_shop:app"\n[node]\nstore = "sqlite:///data"\n')
    (tmp_path / "data").mkdir()
    app = load_app("letters_shop:app", tmp_path)
    shop_class = app.parts[0].cls

    async def work() -> None:
        async with Node(app, SETTINGS) as node:
            shop: Any = node.client(shop_class)
            for order_id, sku in (("1", "coffee"), ("1", "tea"), ("2", "coffee")):
                await shop.place(order_id, sku)
                await node.settle()

    with chdir(tmp_path):
        asyncio.run(work())
        yield tmp_path
    _ = sys.modules.pop("letters_shop", None)


SETTINGS = Settings(node=NodeSettings(store="sqlite:///data"))


def run(*arguments: str, code: int = 0, stopped: bool = True) -> Result:
    where = ["--stopped", "letters_shop:app"] if stopped else []
    told = CliRunner().invoke(hanse, ["deadletters", *arguments, *where])
    assert told.exit_code == code, (told.output, told.stderr, told.exception)
    return told


def letters(**where: str) -> list[dict[str, Any]]:
    options = [text for name, value in where.items() for text in (f"--{name}", value)]
    found: list[dict[str, Any]] = json.loads(run("list", "--json", *options).stdout)["mailer"]["items"]
    return found


def test_they_are_listed_for_people_and_for_programs(shop: Path) -> None:
    first, waiting, other = letters()
    lines = run("list").stdout.splitlines()
    assert lines[0].split()[:4] == ["id", "group", "topic", "key"]
    assert f"waits for {first['id']}" in lines[2]
    assert [one["key"] for one in (first, waiting, other)] == ["1", "1", "2"]
    assert [one["id"] for one in letters(key="2")] == [other["id"]]
    groups = run("list", "--groups").stdout.splitlines()
    assert groups[1].split()[2:7] == ["mailer.receipt", "placed", "terminal", "2", "1"]


def test_a_page_goes_on_where_the_last_one_ended(shop: Path) -> None:
    told = run("list", "--limit", "2", "--service", "mailer")
    cursor = told.stderr.split("--cursor ")[1].strip()
    assert len(run("list", "--cursor", cursor, "--service", "mailer").stdout.splitlines()) == 2
    assert "each service has a list of its own" in run("list", "--cursor", cursor, code=2).stderr


def test_one_is_shown_with_its_story_and_its_place(shop: Path) -> None:
    first, waiting, _ = letters()
    text = run("show", first["id"]).stdout
    assert "placed for mailer.receipt" in text
    assert 'terminal: no "coffee" here' in text
    assert "behind it  1" in text
    assert f"behind {first['id']}, of its key" in run("show", waiting["id"]).stdout
    assert "there is no dead letter 'x'" in run("show", "x", code=1).stderr


def test_an_edit_shows_what_it_has_changed_and_is_checked(shop: Path) -> None:
    first, _, _ = letters()
    told = run("edit", first["id"], "sku=milk").stdout
    assert '-   "sku": "coffee"' in told
    assert '+   "sku": "milk"' in told
    whole = run("edit", first["id"], '{"order_id": "1", "sku": "water"}', "--json").stdout
    assert json.loads(json.loads(whole)["value"])["sku"] == "water"
    wrong = run("edit", first["id"], "sku=1", code=2)
    assert "/sku" in wrong.stderr
    *_, earliest = json.loads(run("actions", "--service", "mailer", "--json").stdout)["mailer"]["items"]
    done = run("actions", earliest["id"]).stdout
    assert ('-   "sku": "coffee"' in done, '+   "sku": "milk"' in done) == (True, True)


def test_a_rehearsal_shows_the_effects_as_a_diff(shop: Path) -> None:
    first, waiting, _ = letters()
    failing = run("replay", first["id"], "--dry-run", code=1).stdout
    assert "would fail again: terminal" in failing
    well = run("replay", waiting["id"], "--dry-run").stdout
    assert "create receipts/1" in well
    assert '+   "sku": "tea"' in well
    assert json.loads(run("replay", waiting["id"], "--dry-run", "--json").stdout)[waiting["id"]]["code"] == ""
    assert "expected ids with --dry-run" in run("replay", "--dry-run", code=2).stderr


def test_what_is_asked_of_a_stopped_app_is_done_when_it_runs(shop: Path) -> None:
    first, waiting, other = letters()
    run("edit", first["id"], "sku=milk")
    assert f"waits behind '{first['id']}'" in run("replay", waiting["id"], code=1).stderr
    assert "running (asked 1, sent 0" in run("replay", first["id"]).stderr
    assert "expected ids, or --all" in run("drop", code=2).stderr
    told = run("drop", "--all", "--key", "2", "--yes")
    assert "asked 1, dropped 0" in told.stderr
    app = load_app("letters_shop:app", shop)

    async def work() -> None:
        async with Node(app, SETTINGS) as node:
            receipts = node.app.parts[1].resources[0]
            for _ in range(5_000):
                left = sum(store.dead_letters for store in (await node.figures()).stores)
                found = await node.collection(receipts).find()
                if not left and [getattr(row, "sku", "") for row in found.items] == ["tea"]:
                    return
                await asyncio.sleep(0.001)
            raise AssertionError("the replay was not carried out")

    asyncio.run(work())
    rows = run("actions").stdout.splitlines()
    assert [row.split()[2] for row in rows[1:]] == ["drop", "replay", "edit"]
    assert all(row.split()[0] == "mailer" for row in rows[1:])
    action = next(
        one for one in json.loads(run("actions", "--json").stdout)["mailer"]["items"] if one["kind"] == "replay"
    )
    outcomes = run("actions", action["id"]).stdout.splitlines()[1:]
    assert [row.split()[:2] for row in outcomes] == [[first["id"], "succeeded"], [waiting["id"], "succeeded"]]
    assert action["succeeded"] == 2
    assert other["id"] not in [one["id"] for one in letters()]
    assert "no dead letter matches" in run("replay", "--all").stderr
    assert f"replay {action['id']} done" in run("stop", action["id"]).stderr


@pytest.mark.timeout(180)  # two processes, which others run beside
def test_an_exported_test_fails_as_the_message_did_and_passes_once_mended(shop: Path) -> None:
    first, _, _ = letters()
    told = run("export", first["id"])
    [path] = (shop / "tests").glob("test_*.py")
    assert f"pytest tests/{path.name}" in told.stderr
    assert "choose another with --to" in run("export", first["id"], code=2).stderr
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    before = subprocess.run(command, cwd=shop, capture_output=True, text=True, check=False)
    assert before.returncode == 1
    assert 'mailer.receipt failed with terminal: no "coffee" here' in before.stdout
    (shop / "letters_shop.py").write_text(SHOP.replace('event.sku == "coffee"', "not event.sku"))
    after = subprocess.run(command, cwd=shop, capture_output=True, text=True, check=False)
    assert after.returncode == 0, after.stdout
