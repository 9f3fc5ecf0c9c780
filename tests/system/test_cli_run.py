"""`hanse run` and its companions as their users meet them: real processes, sockets and signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

GREET = """
from collections.abc import AsyncIterator
from hanse import Service, rpc

class Greeter(Service):
    greeting: str = "Hello"

    @rpc
    async def hello(self, name: str) -> str:
        return f"{self.greeting}, {name}!"

    @rpc
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number
"""
HANSE = [sys.executable, "-m", "hanse"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greet.py").write_text(GREET)
    return tmp_path


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HANSE, *arguments], cwd=folder, capture_output=True, text=True, check=False)


class Running:
    """A `hanse run` that goes on; `errors` holds what it says on standard error once it has ended."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process = process
        self.out = cast("IO[str]", process.stdout)
        self._errors = errors

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def url(self) -> str:
        """Where it serves, once it says so."""
        return self.line("Hanse ").partition(": ")[2]

    def line(self, part: str) -> str:
        """The next line with this in it."""
        return next((line.strip() for line in self.out if part in line), "")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait()


@contextmanager
def running(folder: Path, *arguments: str, **environ: str) -> Iterator[Running]:
    """Run it."""
    errors = folder / "errors.txt"
    with (
        errors.open("w") as stream,
        subprocess.Popen(
            [*HANSE, "run", *arguments, "--port", "0"],
            cwd=folder,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        ) as process,
    ):
        try:
            yield Running(process, errors)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def test_a_taken_port_does_not_start(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = hanse(folder, "run", "greet.py", "--port", str(taken.getsockname()[1]))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "port" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_module_that_fails_does_not_start(folder: Path) -> None:
    (folder / "greet.py").write_text("import no_such_thing")
    refused = hanse(folder, "run", "greet.py")
    assert refused.returncode == 3
    assert "No module named 'no_such_thing'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_bad_settings_do_not_start(folder: Path) -> None:
    refused = hanse(folder, "run", "greet.py", "--port", "high", "--set", "services.greter.settings.greeting=Hi")
    assert refused.returncode == 78
    assert "gateway.port (--port): expected a whole number from 0 to 65535, got 'high'" in refused.stderr


def test_what_nobody_chose_to_expose_is_not_shown_to_other_machines(folder: Path) -> None:
    refused = hanse(folder, "run", "greet.py", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 78
    assert "without a gateway all is exposed" in refused.stderr


def test_three_lines_are_served_called_and_drained(folder: Path) -> None:
    with running(folder, "greet.py", "--set", "services.greeter.settings.greeting=Hi") as run:
        url = run.url()
        assert hanse(folder, "call", "greeter.hello", "name=Ada", "--url", url).stdout == '"Hi, Ada!"\n'
        assert hanse(folder, "call", "greeter.count", "to=3", "--url", url).stdout == "0\n1\n2\n"
        unknown = hanse(folder, "call", "greeter.helo", "name=Ada", "--url", url)
        assert (unknown.returncode, "did you mean greeter.hello?" in unknown.stderr) == (2, True)
        invalid = hanse(folder, "call", "greeter.hello", "name=3", "--url", url)
        assert (invalid.returncode, "/name: Expected `str`, got `int`" in invalid.stderr) == (2, True)
        listed = json.loads(hanse(folder, "services", "--url", url, "--json").stdout)
        declared = json.loads(hanse(folder, "services", "greet.py", "--json").stdout)
        assert listed == declared
        assert run.end(signal.SIGTERM) == 0
    assert "so all of greeter is exposed, to this machine only" in run.errors


def test_the_settings_say_what_runs_and_how(folder: Path) -> None:
    (folder / "hanse.toml").write_text('app = "greet:Greeter"\n[environments.uat.log]\nformat = "json"')
    (folder / "greet.py").write_text(
        GREET.replace("    @rpc\n", "    async def started(self): logging.getLogger('x').info('up')\n\n    @rpc\n", 1)
        + "\nimport logging"
    )
    with running(folder, "--env", "uat", "-q", HANSE_RELEASE="1.4") as run:
        assert run.line("Hanse").startswith("Hanse greeter: http://127.0.0.1:")
        assert run.end(signal.SIGINT) == 0
    written = [json.loads(line) for line in run.errors.splitlines()]
    said = next(line for line in written if line["message"] == "up")
    assert (said["service"], said["release"], said["level"]) == ("greeter", "1.4", "info")


def test_contracts_are_described_for_people_and_for_programs(folder: Path) -> None:
    told = hanse(folder, "describe", "greet.py").stdout
    assert "  hello(name: string) -> string\n" in told
    assert "  count(to: integer) -> stream of integer\n" in told
    assert json.loads(hanse(folder, "describe", "greet.py:Greeter", "--json").stdout)[0]["fingerprint"] in told


SOLD = """
from hanse import App, Fault, Service, rpc

class SoldOut(Fault, status=409, detail="no {sku} left"):
    sku: str

class Till(Service):
    @rpc(faults=(SoldOut,))
    async def sell(self, sku: str) -> None: ...

app = App("shop", Till)
"""


def test_within_a_project_its_app_need_not_be_named(tmp_path: Path) -> None:
    assert "what to run" in hanse(tmp_path, "describe").stderr
    (tmp_path / "hanse.toml").write_text('app = "shop:app"')
    (tmp_path / "shop.py").write_text(SOLD)
    assert "  sell(sku: string) -> null  [sold_out]\n" in hanse(tmp_path, "describe").stdout


def test_faults_of_the_projects_own_app_are_explained(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text('app = "shop:app"')
    (tmp_path / "shop.py").write_text("import nothing_of_this_name")
    broken = hanse(tmp_path, "explain", "sold_out")
    (tmp_path / "shop.py").write_text(SOLD)
    told = hanse(tmp_path, "explain", "sold_out").stdout

    assert (broken.returncode, "got 'sold_out'" in broken.stderr) == (2, True)
    assert told.startswith("sold_out (fault)\n  no {sku} left\n  why: Declared by till.sell.\n")
    assert "shop.SoldOut: HTTP 409" in told


NAP = (
    GREET
    + """
    @rpc
    async def nap(self) -> None:
        await asyncio.Event().wait()

import asyncio
"""
)


def logged(run: Running, logger: str) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = [json.loads(line) for line in run.errors.splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == logger]


def test_start_drain_and_stop_are_logged_and_requests_where_it_is_wanted(folder: Path) -> None:
    with running(folder, "greet.py", "--access-log") as run:
        url = run.url()
        assert hanse(folder, "call", "greeter.hello", "name=Ada", "--url", url).returncode == 0
        assert run.end(signal.SIGTERM) == 0
    started, draining, stopped = logged(run, "hanse.life")

    assert (started["url.full"], started["hanse.services"], started["service"]) == (url, ["greeter"], "greet")
    assert (draining["hanse.stop.reason"], draining["hanse.work.requests"]) == ("SIGTERM", 0)
    assert (stopped["hanse.stop.reason"], stopped["hanse.stop.cut"]) == ("SIGTERM", 0)
    assert "/rpc/greeter/hello" in [line.get("http.route") for line in logged(run, "hanse.access")]


def test_a_stop_tells_what_it_cut_off(folder: Path) -> None:
    (folder / "greet.py").write_text(NAP)
    with running(folder, "greet.py", "--set", "node.grace=0.1s") as run:
        _, _, address = run.url().rpartition("//")
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /rpc/greeter/nap HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with socket.create_connection((host, int(port))) as other:
                other.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert other.recv(1000)
            assert run.end(signal.SIGTERM) == 0
    _, draining, stopped = logged(run, "hanse.life")

    assert (draining["hanse.work.requests"], draining["hanse.work.operations"]) == (1, 1)
    assert (stopped["hanse.stop.cut"], stopped["level"]) == (1, "warning")
    assert logged(run, "hanse.access") == []


def test_who_is_quiet_tells_nothing_of_its_life(folder: Path) -> None:
    with running(folder, "greet.py", "-q") as run:
        run.url()
        assert run.end(signal.SIGTERM) == 0

    assert run.errors == ""
