"""`hanse run` and its companions as their users meet them: real processes, sockets and signals."""

from __future__ import annotations

import json
import os
import selectors
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
WITHOUT_NOTICES = "import sys; sys.modules['watchfiles'] = None; from hanse.cli import main; main()"
TOUCHES_MAX = 8
NOTICED_SECONDS_MAX = 5


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

    def says_something(self) -> bool:
        """Whether it says anything before the next touch would only start it once more."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.out, selectors.EVENT_READ)
            return bool(selector.select(NOTICED_SECONDS_MAX))


@contextmanager
def running(
    folder: Path, *arguments: str, together: bool = False, notices: bool = True, **environ: str
) -> Iterator[Running]:
    """Run it; `together` has errors in the same stream as all else, to be waited for."""
    command = HANSE if notices else [sys.executable, "-c", WITHOUT_NOTICES]
    errors = folder / "errors.txt"
    with (
        errors.open("w") as stream,
        subprocess.Popen(
            [*command, "run", *arguments, "--port", "0"],
            cwd=folder,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if together else stream,
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


def change(folder: Path, run: Running, text: str) -> None:
    """Write the file until it is noticed: a watch begins some time after the process does."""
    for touch in range(TOUCHES_MAX):
        (folder / "greet.py").write_text(f"{text}\n# {touch}")
        if run.says_something():
            return


@pytest.mark.parametrize("notices", [True, False], ids=["noticed", "looked for"])
def test_a_change_starts_the_service_anew(folder: Path, notices: bool) -> None:
    with running(folder, "greet.py", "--reload", notices=notices) as run:
        run.url()
        change(folder, run, GREET.replace("Hello", "Moin"))
        answer = hanse(folder, "call", "greeter.hello", "name=Ada", "--url", run.url())
        assert run.end(signal.SIGINT) == 0
    assert answer.stdout == '"Moin, Ada!"\n'
    assert "greet.py changed; starting anew" in run.errors


def test_a_service_that_does_not_start_waits_to_be_mended(folder: Path) -> None:
    (folder / "greet.py").write_text("1 / 0")
    with running(folder, "greet.py", "--reload", together=True) as run:
        assert run.line("hanse: ended with exit code 3; waiting for a change")
        change(folder, run, GREET)
        assert run.url().startswith("http://")
        assert run.end(signal.SIGTERM) == 0


def test_no_service_outlives_its_killed_parent(folder: Path) -> None:
    with running(folder, "greet.py", "--reload") as run:
        run.url()
        run.end(signal.SIGKILL)
        assert run.out.read() == ""  # ends only when the child, which writes here too, has ended
