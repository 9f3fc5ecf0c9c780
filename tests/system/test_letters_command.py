"""`hanse deadletters` asks a system that runs: see, mend, rehearse, replay, stop, drop, export, each by somebody."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hanse.cli.group import hanse

from .served import serving
from .test_letters_kill import OFFICE, post, until

pytestmark = pytest.mark.timeout(180)

Value = Any


class Office:
    """An office that runs, with six letters that nobody could read."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def hanse(self, *arguments: str, code: int = 0) -> Result:
        # In this process, as a command of its own costs half a second; the system that it asks is in another.
        with chdir(self.folder):
            done = CliRunner().invoke(hanse, ["deadletters", *arguments, "--url", self.url])
        assert done.exit_code == code, done.output
        return done

    def told(self, *arguments: str, code: int = 0) -> Value:
        return json.loads(self.hanse(*arguments, "--json", code=code).stdout)

    def letters(self) -> list[dict[str, Value]]:
        found: list[dict[str, Value]] = self.told("list", "--service", "desk")["desk"]["items"]
        return found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    _ = (tmp_path / "office.py").write_text(OFFICE)
    _ = (tmp_path / "hanse.toml").write_text('app = "office.py"\n[node]\nstore = "sqlite:///data"\n')
    with serving(tmp_path, "office.py") as url:
        made = Office(tmp_path, url)
        _ = post(f"{url}/send/6")
        until(lambda: len(made.letters()) == 6)
        yield made


def test_an_operator_mends_what_failed_while_it_runs(office: Office) -> None:
    first, *_ = letters = office.letters()
    assert {one["code"] for one in letters} == {"terminal"}
    (group,) = office.told("list", "--groups")["desk"]["items"]
    assert (group["count"], group["waiting"]) == (6, 0)
    assert '{"number":0}' in office.hanse("show", first["id"]).stdout

    assert "would fail again: terminal" in office.hanse("replay", first["id"], "--dry-run", code=1).stdout
    (office.folder / "mended").touch()
    assert "create slips/" in office.hanse("replay", first["id"], "--dry-run").stdout
    refused = office.hanse("edit", first["id"], "number=none", "--json", code=2)
    assert json.loads(refused.stderr)["error"]["code"] == "invalid"
    _ = office.hanse("edit", first["id"], "number=20")
    assert office.told("replay", first["id"])["desk"]["succeeded"] == 1

    slow = office.told("replay", "--all", "--rate", "0.2", "--detach")["desk"]["id"]
    stopped = office.told("stop", slow)
    assert stopped["state"] == "stopped"
    left = [one["id"] for one in office.letters()]
    assert len(left) == 5 - stopped["succeeded"]
    assert office.told("drop", left[-1])["desk"]["dropped"] == 1
    _ = office.hanse("export", left[0], "office.py:app", "--to", "test_kept.py")
    assert '{"number":' in (office.folder / "test_kept.py").read_text()
    _ = office.hanse("replay", "--all")
    assert office.letters() == []

    actions = office.told("actions")["desk"]["items"]
    kinds = [one["kind"] for one in reversed(actions)]
    assert kinds == ["dry_run", "dry_run", "edit", "replay", "replay", "drop", "replay"]
    assert {one["who"] for one in actions} == {getpass.getuser()}
    outcomes = office.told("actions", actions[-4]["id"])["items"]
    assert [(one["letter"], one["what"]) for one in outcomes] == [(first["id"], "succeeded")]
