"""`hanse doctor`: what it finds, and with which exit code it ends."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import chdir, closing
from importlib.metadata import version
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result

from hanse.cli.doctor_machine import (
    Requirement,
    clock_check,
    files_check,
    package_checks,
    python_check,
    server_check,
    sqlite_check,
    sqlite_versions,
)
from hanse.cli.doctor_project import (
    folder_check,
    journal_check,
    lock_check,
    lock_checks,
    nearest_folder,
    pinned_in,
    port_check,
    safety_checks,
)
from hanse.cli.group import hanse
from hanse.kernel.settings import GatewaySettings, NodeSettings, Settings
from hanse.store.sqlite.probe import journal_in

APP = """
from hanse import App, Collection, Gateway, Resource, Service, rpc

class Note(Resource):
    text: str

class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def count(self) -> int:
        return await self.notes.count()

app = App("notes", Notes, gateway=Gateway().rpc(Notes).resources(Note, path="/notes"))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    path = [*sys.path]
    with chdir(tmp_path):
        yield tmp_path
    sys.path[:] = path
    for name in [name for name in sys.modules if name.endswith("_notes")]:
        del sys.modules[name]


def doctor(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(hanse, ["doctor", *arguments, "--port", "0"], env=environ)


def found(result: Result) -> dict[str, dict[str, object]]:
    listed = cast("list[dict[str, object]]", json.loads(result.stdout)["checks"])
    return {str(one["check"]): one for one in listed}


def test_settings_that_cannot_be_used_fail_and_nothing_else_of_the_project_is_looked_at(folder: Path) -> None:
    (folder / "hanse.toml").write_text("[gateway]\nprot = 1")
    told = doctor("--json")
    assert told.exit_code == 1
    assert found(told)["settings"]["state"] == "fail"
    assert "did you mean gateway.port?" in str(found(told)["settings"]["says"])
    assert "app" not in found(told)


def test_an_app_that_cannot_be_imported_fails(folder: Path) -> None:
    (folder / "broken_notes.py").write_text("import no_such_thing")
    told = doctor("broken_notes.py")
    assert told.exit_code == 1
    assert "fail  app: broken_notes.py cannot be imported" in told.stdout
    assert "do:  `hanse dev` shows the lines." in told.stdout
    assert "1 failed" in told.stderr


def test_contracts_without_provider_fail(folder: Path) -> None:
    (folder / "lone_notes.py").write_text(
        f"{APP}\nclass Reader(Service):\n    notes: Notes\n\napp = App('reader', Reader, gateway=Gateway())"
    )
    assert found(doctor("lone_notes.py", "--json"))["contracts"]["state"] == "fail"


def test_a_store_whose_rows_cannot_be_read_any_more_fails(folder: Path) -> None:
    (folder / "new_notes.py").write_text(APP)
    (folder / "data").mkdir()
    (folder / "data/notes.db").write_text("no database")
    told = doctor("new_notes.py", "--store", "sqlite:///data", "--json")
    assert (told.exit_code, found(told)["stores"]["state"]) == (1, "fail")


def test_rows_that_this_version_cannot_read_fail_and_are_left_alone(folder: Path) -> None:
    (folder / "old_notes.py").write_text(APP)
    (folder / "later_notes.py").write_text(APP.replace("text: str", "text: int"))
    made = CliRunner().invoke(hanse, ["store", "apply", "old_notes.py", "--store", "sqlite:///data"])
    assert made.exit_code == 0, made.stderr
    told = doctor("later_notes.py", "--store", "sqlite:///data", "--json")
    check = found(told)["store of notes"]
    assert (told.exit_code, check["state"]) == (1, "fail")
    assert "notes.text: " in str(check["says"])


def test_a_file_that_cannot_be_written_fails(folder: Path) -> None:
    file = folder / "notes.db"
    file.mkdir()
    assert journal_check("store", file, "delete").state == "fail"
    assert journal_check("store", file, "wal").state == "ok"
    assert folder_check("store", f"sqlite:///{file}/x/y.db").state == "ok"
    (folder / "file").write_text("")
    assert folder_check("store", "somewhere:else").says == "not looked at"


def test_rows_in_memory_are_warned_of() -> None:
    assert folder_check("store", "memory:").state == "warn"


def test_what_is_as_pinned_is_told_so() -> None:
    assert (
        lock_check("requirements.txt", {"click": version("click"), "not-there": "1"}).says == "1 packages are as pinned"
    )


def test_a_proxy_that_is_no_address_is_none_of_this_machine() -> None:
    settings = Settings(gateway=GatewaySettings(trusted_proxies=("proxy.example", "10.0.0.1")))
    assert list(safety_checks(settings, {})) == []


def test_an_app_without_a_gateway_is_told_what_that_means(folder: Path) -> None:
    (folder / "own_notes.py").write_text(APP.replace('gateway=Gateway().rpc(Notes).resources(Note, path="/notes")', ""))
    assert found(doctor("own_notes.py", "--json"))["exposed"]["state"] == "warn"


def test_a_folder_that_cannot_be_one_fails(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        journal_in(folder / "file")


def test_a_port_that_somebody_else_has_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.listen(0)
        settings = Settings(gateway=GatewaySettings(port=port))
        assert port_check(settings).state == "fail"


def test_a_sound_project_is_told_so_with_what_it_exposes(folder: Path) -> None:
    (folder / "sound_notes.py").write_text(APP)
    told = doctor("sound_notes.py", "--store", "sqlite:///data", "--json")
    assert told.exit_code == 0, told.stdout
    checks = found(told)
    assert {str(one["state"]) for name, one in checks.items() if not name.startswith(("open", "python"))} == {"ok"}
    assert checks["store of notes"]["says"] == "data/notes.db, in WAL"
    assert "POST /rpc/notes/count" in cast("list[str]", checks["exposed"]["more"])
    assert not (folder / "data").exists(), "nothing is made"
    quiet = doctor("sound_notes.py", "--store", "sqlite:///data", "-q").stdout
    assert "ok  " not in quiet


def test_what_may_be_meant_is_only_warned_of(folder: Path) -> None:
    (folder / "open_notes.py").write_text(APP)
    told = doctor("open_notes.py", "--host", "0.0.0.0", "--json", FORCE_COLOR="1")
    checks = found(told)
    assert told.exit_code == 0
    assert checks["exposed"]["state"] == checks["store of notes"]["state"] == "warn"
    coloured = doctor("open_notes.py", FORCE_COLOR="1")
    assert "\033[33mwarn\033[0m  store of notes: memory:" in coloured.stdout


def test_no_app_is_no_failure() -> None:
    assert "none is named" in doctor("-v").stdout


@pytest.mark.parametrize(
    ("settings", "sources", "check"),
    [
        (Settings(gateway=GatewaySettings(host="10.0.0.1", metrics="open")), {}, "gateway.metrics"),
        (Settings(gateway=GatewaySettings(trusted_proxies=("::/0",))), {}, "gateway.trusted_proxies"),
        (Settings(gateway=GatewaySettings(trusted_proxies=("10.0.0.7", "127.0.0.0/8"))), {}, "gateway.metrics"),
        (Settings(gateway=GatewaySettings(trusted_proxies=("::1",))), {}, "gateway.metrics"),
        (Settings(node=NodeSettings(grace=0)), {}, "node.grace"),
        (Settings(), {"services.mail.settings.api_key": "hanse.toml"}, "services.mail.settings.api_key"),
    ],
)
def test_dangerous_settings_are_named(settings: Settings, sources: dict[str, str], check: str) -> None:
    assert [(one.check, one.state) for one in safety_checks(settings, sources)] == [(check, "warn")]


def test_usual_settings_are_not() -> None:
    behind = Settings(gateway=GatewaySettings(trusted_proxies=("127.0.0.1",), metrics="off"))
    assert list(safety_checks(behind, {})) == []
    assert list(safety_checks(Settings(), {"services.mail.settings.api_key": "HANSE_SERVICES__MAIL"})) == []


def test_packages_that_are_missing_or_old_are_told_with_what_to_do() -> None:
    wanted = [Requirement("click", "8.2"), Requirement("uvloop", "0.21", "standard"), Requirement("x", "1", "more")]
    core, standard, more = package_checks(wanted, {"click": "8.10", "uvloop": "0.9"})
    assert (core.state, standard.state, more.state) == ("ok", "fail", "ok")
    assert standard.says == "too old: uvloop 0.9 (expected 0.21 or later)"
    assert standard.do == "pip install --upgrade 'hanse[standard]'"
    assert more.says == "not installed: x"
    assert [one.state for one in package_checks([Requirement("click")], {})] == ["fail"]


def test_a_python_that_nobody_tested_is_warned_of() -> None:
    assert [python_check(version, "CPython").state for version in ((3, 10), (3, 11), (4, 0))] == ["warn", "ok", "warn"]
    assert "from 3.11 to" in python_check((3, 12), "PyPy").why


def test_a_sqlite_that_is_too_old_fails() -> None:
    found = sqlite_check((3, 7, 0), (3, 38, 0))
    assert (found.state, found.says, found.why) == ("fail", "3.7.0", "Stores need 3.38.0 or later.")


def test_a_clock_that_is_behind_its_own_files_fails() -> None:
    found = clock_check(1_000_000.0, 1_003_600.0, 1_000_000.0)
    assert (found.state, found.says) == ("fail", "it is 3,600 s behind files that are there already")


@pytest.mark.parametrize(("soft", "state"), [(256, "warn"), (65_536, "ok"), (-1, "ok")])
def test_few_open_files_are_warned_of(soft: int, state: str) -> None:
    assert files_check(soft).state == state


def test_a_slow_server_is_warned_of() -> None:
    assert server_check(set(), "linux").says == "asyncio, h11; missing: httptools, uvloop, watchfiles, websockets"
    assert server_check({"httptools", "websockets", "watchfiles"}, "win32").state == "ok"


def test_a_file_system_with_a_clock_of_its_own_is_warned_of() -> None:
    assert clock_check(100.0, 90.0, 110.0).state == "warn"


def test_this_sqlite_will_do(folder: Path) -> None:
    assert sqlite_check(*sqlite_versions()).state == "ok"
    assert journal_in(folder) == "wal"
    assert list(folder.iterdir()) == []


def test_what_is_pinned_is_compared_with_what_is_installed(folder: Path) -> None:
    (folder / "locks").mkdir()
    (folder / "locks/dev.txt").write_text(
        "click==0.1 \\\n    --hash=sha256:0\nnot-there==1\nhanse==9 ; python_version<'3'"
    )
    (folder / "uv.lock").write_text(
        '[[package]]\nname = "hanse"\nversion = "9"\nsource = { editable = "." }\n'
        '[[package]]\nname = "click"\nversion = "0.2"\nsource = { registry = "r" }\n'
    )
    (folder / "requirements.txt").write_bytes(b"\xff")
    dev, uv = lock_checks(folder)
    assert (dev.check, dev.state) == ("versions in locks/dev.txt", "warn")
    assert dev.says.startswith("1 differ: click ")
    assert uv.says.endswith("(pinned: 0.2)")
    assert pinned_in("uv.lock", "") == {}


def test_the_next_folder_above_is_found(folder: Path) -> None:
    assert nearest_folder(folder / "a/b/c.db") == folder


def test_a_database_of_somebody_else_is_not_changed(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "notes.db")) as connection, connection:
        connection.execute("CREATE TABLE other (id)")
    before = (folder / "notes.db").read_bytes()
    (folder / "foreign_notes.py").write_text(APP)
    doctor("foreign_notes.py", "--store", "sqlite:///{service}.db")
    assert (folder / "notes.db").read_bytes() == before


HEARS = """
from hanse import App, Collection, Event, Gateway, Resource, Service, on

class Paid(Event):
    bill: str

class Sent(Event):
    bill: str

class Letter(Resource):
    text: str

class Mailer(Service, events=(Sent,)):
    letters: Collection[Letter]

    @on(Paid)
    async def thank(self, paid: Paid) -> None:
        await self.letters.create(Letter(text=paid.bill))

app = App("shop", Mailer, gateway=Gateway())
"""


def test_an_event_that_nobody_here_emits_is_warned_of_where_only_this_app_is_heard(folder: Path) -> None:
    (folder / "deaf_notes.py").write_text(HEARS)
    check = found(doctor("deaf_notes.py", "--json"))["events of Paid"]
    assert check["state"] == "warn"
    assert check["says"] == "mailer waits for Paid, which no service here emits"


def test_an_event_of_another_code_base_needs_an_app_of_the_same_name(folder: Path) -> None:
    (folder / "far_notes.py").write_text(HEARS)
    (folder / "hanse.toml").write_text('[node]\ntransport = "nats://127.0.0.1:4222"\nevents = "broker"')
    check = found(doctor("far_notes.py", "--json"))["events of Paid"]
    assert check["state"] == "ok"
    assert str(check["says"]).endswith('an App of the same name, "shop"')


def test_an_event_that_a_service_here_may_emit_is_not_told_of(folder: Path) -> None:
    (folder / "near_notes.py").write_text(HEARS.replace("(Sent,)", "(Sent, Paid)"))
    assert "events of Paid" not in found(doctor("near_notes.py", "--json"))


@pytest.mark.parametrize(
    ("transport", "told"),
    [
        ("nats://127.0.0.1:4222", "sync_interval: always"),
        ("rediss://127.0.0.1:6379", "appendfsync always"),
        ("amqp://127.0.0.1:5672", "RabbitMQ flushes no streams"),
    ],
)
def test_what_a_power_cut_costs_is_told_where_a_broker_keeps_events(folder: Path, transport: str, told: str) -> None:
    (folder / "kept_notes.py").write_text(APP)
    (folder / "hanse.toml").write_text(f'[node]\ntransport = "{transport}"\nevents = "broker"')
    assert told in str(found(doctor("kept_notes.py", "--json"))["node.events"]["says"])
