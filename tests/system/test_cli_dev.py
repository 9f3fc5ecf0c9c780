"""`hanse dev` as its users meet it: files that change, errors in a browser, and a port that stays open."""

from __future__ import annotations

import json
import os
import pty
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

SHOP = """
from hanse import App, Collection, Gateway, Resource, Service, rpc

class Note(Resource):
    text: str

class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, text: str) -> str:
        note = await self.notes.create(Note(text=text))
        return "kept"

    @rpc
    async def count(self) -> int:
        return await self.notes.count()

app = App("notes", Notes, gateway=Gateway().rpc(Notes))
"""
FAILING = SHOP.replace('return "kept"', "return 1 / 0")
BROKEN = SHOP.replace("async def write", "asyn def write")
HANSE = [sys.executable, "-m", "hanse"]
WITHOUT_NOTICES = "import sys; sys.modules['watchfiles'] = None; from hanse.cli import main; main()"
TOUCHES_MAX = 8
NOTICED_SECONDS_MAX = 5
ANSWER_SECONDS_MAX = 90
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


class Running:
    """A `hanse dev` that goes on; `errors` holds what it has said on standard error."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.out = cast("IO[str]", process.stdout)
        self.url = ""
        self._folder = folder

    @property
    def errors(self) -> str:
        return (self._folder / "errors.txt").read_text()

    def await_start(self) -> str:
        """Where it serves, once it says so."""
        self.url = self.out.readline().strip().partition(": ")[2]
        return self.url

    def change(self, text: str, *, starts: bool = True) -> None:
        """Write the file until it is noticed: a watch begins some time after the process does."""
        before = len(self.errors)
        for touch in range(TOUCHES_MAX):
            (self._folder / "shop.py").write_text(f"{text}\n# {touch}")
            if starts and self._says_something():
                self.await_start()
                return
            if not starts and self.has_failed(before):
                return
        raise AssertionError(self.errors)

    def _says_something(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.out, selectors.EVENT_READ)
            return bool(selector.select(NOTICED_SECONDS_MAX))

    def has_failed(self, before: int = 0) -> bool:
        ended, watched = threading.Event(), 0
        while watched < NOTICED_SECONDS_MAX * 20 and "waiting for a change" not in self.errors[before:]:
            ended.wait(0.05)
            watched += 1
        return "waiting for a change" in self.errors[before:]

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Status and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait()


@contextmanager
def running(folder: Path, *arguments: str, notices: bool = True) -> Iterator[Running]:
    command = HANSE if notices else [sys.executable, "-c", WITHOUT_NOTICES]
    with (
        (folder / "errors.txt").open("w") as stream,
        subprocess.Popen(
            [*command, "dev", "shop.py", *arguments, "--port", "0"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        ) as process,
    ):
        try:
            yield Running(process, folder)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def refused(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*HANSE, "dev", "shop.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_other_machines_are_shown_no_code(folder: Path) -> None:
    ended = refused(folder, "--host", "0.0.0.0", "--port", "0")
    assert ended.returncode == 78
    assert "use `hanse run` to be reached by others" in ended.stderr


def test_a_taken_port_does_not_start(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = refused(folder, "--port", str(taken.getsockname()[1]))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "choose another address" in ended.stderr


@pytest.mark.parametrize("notices", [True, False], ids=["noticed", "looked for"])
def test_a_change_starts_the_app_anew_where_it_was_and_with_its_rows(folder: Path, notices: bool) -> None:
    with running(folder, notices=notices) as dev:
        url = dev.await_start()
        assert dev.ask("/rpc/notes/write", {"text": "tea"}) == (200, '"kept"')
        dev.change(SHOP.replace('"kept"', '"Kept"'))  # of one length: compiled files do not tell the difference
        assert dev.url == url
        assert dev.ask("/rpc/notes/write", {"text": "cake"}) == (200, '"Kept"')
        assert dev.ask("/rpc/notes/count", {}) == (200, "2")
        assert dev.end(signal.SIGINT) == 0
    assert "shop.py changed; starting anew" in dev.errors
    assert "200 POST /rpc/notes/write " in dev.errors
    with running(folder, "--fresh", "-q") as dev:
        dev.await_start()
        assert dev.ask("/rpc/notes/count", {}) == (200, "0")
    assert dev.errors == ""


def test_code_that_does_not_start_is_shown_until_it_is_mended(folder: Path) -> None:
    with running(folder) as dev:
        dev.await_start()
        dev.change(BROKEN, starts=False)
        status, page = dev.ask("/anything", **BROWSER)
        assert (status, "SyntaxError: invalid syntax" in page, "<b><i>   11  </i>" in page) == (503, True, True)
        status, problem = dev.ask("/rpc/notes/write", {"text": "tea"})
        assert (status, json.loads(problem)["code"]) == (503, "could_not_start")
        assert "shop.py, line 11" in json.loads(problem)["detail"]
        assert "asyn" not in dev.ask("/", Host="rebound.example", **BROWSER)[1]
        before = json.loads(dev.ask("/.hanse/dev")[1])
        dev.change(SHOP)
        after = json.loads(dev.ask("/.hanse/dev")[1])
        assert (before["runs"], after["runs"], after["generation"] > before["generation"]) == (False, True, True)
        assert dev.ask("/rpc/notes/write", {"text": "tea"}) == (200, '"kept"')
    assert "11 > asyn def write(self, text: str) -> str:\n" in dev.errors


def test_rows_that_the_code_no_longer_fits_are_left_with_what_to_do(folder: Path) -> None:
    with running(folder) as dev:
        dev.await_start()
        assert dev.ask("/rpc/notes/write", {"text": "tea"}) == (200, '"kept"')
        dev.change(SHOP.replace("text: str\n\n", "text: int\n\n"), starts=False)
        page = dev.ask("/", **BROWSER)[1]
    assert "notes.text: stored as string, now integer" in page
    assert "`hanse dev --fresh` begins without them" in dev.errors
    assert "uvloop" not in dev.errors


def test_an_app_that_fails_from_the_start_waits_to_be_mended(folder: Path) -> None:
    (folder / "shop.py").write_text("1 / 0")
    with running(folder) as dev:
        assert dev.has_failed()
        dev.change(SHOP)
        assert dev.url.startswith("http://")
        assert dev.end(signal.SIGTERM) == 0
    assert "ZeroDivisionError: division by zero" in dev.errors
    assert "Traceback" not in dev.errors


def test_an_error_of_a_handler_is_shown_with_its_line_to_a_browser_on_this_machine_only(folder: Path) -> None:
    (folder / "shop.py").write_text(FAILING)
    with running(folder) as dev:
        dev.await_start()
        body = {"text": "tea"}
        status, page = dev.ask("/rpc/notes/write", body, **BROWSER)
        assert (status, "ZeroDivisionError" in page, "return 1 / 0" in page) == (500, True, True)
        for code, headers in {"internal": {}, "misdirected": {"Host": "rebound.example", **BROWSER}}.items():
            answer = dev.ask("/rpc/notes/write", body, **headers)[1]
            assert (json.loads(answer)["code"], "ZeroDivision" in answer) == (code, False)
    assert "13 >     return 1 / 0\n" in dev.errors
    assert "Traceback" not in dev.errors


def test_nobody_is_turned_away_while_it_starts_anew(folder: Path) -> None:
    failures: list[Exception] = []
    answered, enough = [0], threading.Event()
    with running(folder) as dev:
        dev.await_start()

        def keep_asking() -> None:
            while not enough.is_set():
                try:
                    answered[0] += dev.ask("/rpc/notes/count", {})[0] == 200
                except OSError as error:
                    failures.append(error)

        asking = threading.Thread(target=keep_asking)
        asking.start()
        for number in range(2):
            dev.change(f"{SHOP}# {number}")
        enough.set()
        asking.join()
    assert (failures, answered[0] > 0) == ([], True)


def test_nothing_outlives_its_killed_parent(folder: Path) -> None:
    with running(folder) as dev:
        dev.await_start()
        dev.end(signal.SIGKILL)
        assert dev.out.read() == ""  # ends only when all who write here have ended


def test_the_doctor_knows_an_app_that_has_the_port_already(folder: Path) -> None:
    with running(folder) as dev:
        port = dev.await_start().rpartition(":")[2]
        told = subprocess.run(
            [*HANSE, "doctor", "--port", port, "--json"], cwd=folder, capture_output=True, text=True, check=False
        )
    checks = {one["check"]: one for one in json.loads(told.stdout)["checks"]}
    assert (told.returncode, checks["port"]["state"]) == (0, "warn")
    assert "a Hanse app answers at" in checks["port"]["says"]


def test_a_person_is_told_where_to_look_and_sees_colours(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [*HANSE, "dev", "shop.py", "--port", "0"],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": ""},
        )
        os.close(theirs)
        said = b""
        try:
            while b"Ctrl-C" not in said:
                said += terminal.read(4096)
            url = re.search(rb"docs: (http://127.0.0.1:\d+)/docs ", said)
            assert url is not None
            with urllib.request.urlopen(f"{url[1].decode()}/docs", timeout=ANSWER_SECONDS_MAX) as page:
                assert page.headers["Content-Type"].startswith("text/html")
            while b"GET /docs" not in said:
                said += terminal.read(4096)
        finally:
            process.send_signal(signal.SIGTERM)
        assert b"\033[32m200\033[0m GET /docs" in said
        try:
            while terminal.read(4096):
                pass
        except OSError:
            pass  # so a terminal ends
        process.wait()
