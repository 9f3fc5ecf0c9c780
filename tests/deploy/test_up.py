"""`hanse up` and the commands about what it runs, with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from hanse.deploy.control_words import Row, Status

from .systems import PYTHON, SETTINGS, WAIT_SECONDS, Running, doors, hanse, running, write


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("system")) as system:
        _ = system.ready()
        yield system
        assert system.end() == 0


def row(status: Status, service: str) -> Row:
    (found,) = (one for one in status.instances if one.service == service)
    return found


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        ("", 2, "expected something to run in"),
        ("[services.web]\ncomand = 'x'", 78, "services.web.comand (hanse.toml): unknown; did you mean"),
        ("[services.web]\ncommand = 'x'\nneeds = ['db']", 78, "services.web.needs: unknown 'db'; there are web"),
        ("app = 'none.py'\n", 78, "none.py"),
        ("[services.s]\ncommand = 'x'\nroute = '/'\nprotocol = 'h2c'", 78, 'set "haproxy" or "envoy"'),
        (
            "[edge]\ncertificate = 'a.pem'\n[services.s]\ncommand = 'x'\nroute = '/'",
            78,
            "expected a file (PEM), got none",
        ),
        ("[edge]\nkey = 'a.key'\n[services.s]\ncommand = 'x'\nroute = '/'", 78, "expected edge.certificate beside it"),
    ],
)
def test_what_cannot_run_says_why(tmp_path: Path, settings: str, code: int, told: str) -> None:
    done = hanse(write(tmp_path, settings), "up")
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr


def test_the_edge_speaks_tls_with_a_certificate_to_develop_with(tmp_path: Path) -> None:
    settings = SETTINGS.replace("port = 0", "port = 0\ncertificate = 'development'")
    with running(tmp_path, settings) as system:
        edge = system.ready().edge
        trusted = ssl.create_default_context(cafile=str(tmp_path / ".hanse" / "tls" / "development.pem"))
        with urlopen(f"{edge}/api/x", timeout=WAIT_SECONDS, context=trusted) as answer:
            assert answer.read() == b"web-1 - /api/x"
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            _ = urlopen(f"{edge}/api/x", timeout=WAIT_SECONDS, context=ssl.create_default_context())
        assert system.end() == 0
    assert edge.startswith("https://127.0.0.1:")


def test_a_port_of_the_edge_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = hanse(write(tmp_path, SETTINGS.replace("port = 0", f"port = {port}")), "up")
    assert done.returncode == 3
    assert str(port) in done.stderr


@pytest.mark.parametrize("verb", ["ps", "restart", "down"])
def test_where_nothing_runs_commands_say_so(tmp_path: Path, verb: str) -> None:
    done = hanse(tmp_path, verb)
    assert done.returncode == 1
    assert done.stderr == f"hanse: no system runs in {tmp_path}; start one with `hanse up`\n"


def test_a_second_system_in_the_same_folder_is_refused(system: Running) -> None:
    done = system.hanse("up")
    assert done.returncode == 3
    assert f"a system runs in {system.folder} already (process {system.process.pid})" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["restart", "stor"], "there is no service 'stor'; did you mean store?"),
        (["scale", "web=1001"], "expected from 0 to 1000 instances of web, got 1001"),
        (["scale", "web"], "expected SERVICE=N, such as web=3, got 'web'"),
        (["wait", "wep"], "there is no service 'wep'"),
        (["logs", "stor"], "'stor' has printed nothing; did you mean store?"),
        (["logs", "--since", "soon"], "expected a duration"),
    ],
)
def test_what_commands_do_not_understand_is_refused(system: Running, arguments: list[str], told: str) -> None:
    done = system.hanse(*arguments)
    assert done.returncode != 0
    assert told in done.stderr


def test_whoever_is_needed_starts_first_and_requests_come_through_the_edge(system: Running) -> None:
    assert system.until("store-1 is ready") < system.until("web-1 starts")
    assert re.fullmatch(r"web-\d - /api/x", system.get("/api/x"))
    assert system.hanse("ps").stdout.splitlines()[0].split() == [
        *("instance", "state", "for", "port", "pid", "restarts", "why"),
    ]


def test_what_is_printed_is_kept_and_shown(system: Running) -> None:
    found = [json.loads(line) for line in system.hanse("logs", "store", "--json", "--since", "1h").stdout.splitlines()]
    assert {"store-1"} == {line["instance"] for line in found}
    assert found[0]["text"] == "serving as store-1"
    assert system.until("store-1 | serving as store-1")
    assert system.hanse("logs").stdout.count("serving as") >= 2


def test_what_is_taken_of_the_machine_is_shown(system: Running) -> None:
    _ = system.ready()
    found = json.loads(system.hanse("top", "--json").stdout)
    assert {"store-1"} <= {one["instance"] for one in found}
    assert all(one["memory_bytes"] > 0 and one["processes"] == 1 for one in found)


def test_what_dies_is_started_anew_at_the_same_port(system: Running) -> None:
    before = row(system.ready(), "store")
    os.kill(before.pid, signal.SIGKILL)
    seen = system.until("store-1 has ended (killed by SIGKILL)")
    _ = system.until("store-1 is ready", after=seen)
    after = row(system.ready(), "store")
    assert (after.port, after.restarts) == (before.port, before.restarts + 1)
    assert after.pid != before.pid


def test_services_are_restarted_scaled_and_stopped(system: Running) -> None:
    before = row(system.ready(), "web")
    assert system.hanse("restart", "web").returncode == 0
    assert row(system.ready(), "web").pid != before.pid
    assert system.hanse("scale", "web=3").returncode == 0
    assert {system.get("/api/")[:3] for _ in range(6)} == {"web"}
    assert len([one for one in system.ready().instances if one.service == "web"]) == 3
    assert system.hanse("stop", "web").returncode == 0
    assert "web" not in {one.service for one in system.ready().instances}
    assert "web       stopped" in system.hanse("ps").stdout
    assert system.hanse("restart", "web").returncode == 0
    assert system.hanse("wait", "web", "-q").stdout.split()[:2] == ["web-1", "ready"]


def test_a_supervisor_that_is_killed_is_followed_by_another_and_nothing_is_restarted(system: Running) -> None:
    before = system.ready()
    os.kill(before.supervisor, signal.SIGKILL)
    after = system.ready()
    assert after.supervisor != before.supervisor
    pids = {one.instance: one.pid for one in before.instances}
    assert {one.instance: one.pid for one in after.instances} == pids
    assert system.get("/api/").startswith("web")


def test_an_edge_that_is_killed_comes_back_with_what_it_showed(system: Running) -> None:
    _ = system.ready()
    (edge,) = doors(system, "edge")
    seen = len(system.lines)
    os.kill(edge, signal.SIGKILL)
    _ = system.until("the edge has ended", after=seen)
    # A new process answers 503 until it is shown who serves.
    answer = ""
    while not answer.startswith("web"):
        with suppress(URLError, ConnectionError):
            answer = system.get("/api/")
    assert edge not in doors(system, "edge")


GIVEN_UP = """
import os
from hanse import App, Service

if os.environ.get("HANSE_INSTANCE") == "bad-1":
    print("no database", flush=True)
    os._exit(78)

class Bad(Service):
    pass

app = App("bad", Bad)
"""


def test_what_helps_nobody_is_given_up_with_its_last_words_and_who_needs_it_waits(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(GIVEN_UP)
    with running(tmp_path, "app = 'bad.py'\nedge.engine = 'none'\n") as system:
        _ = system.until("bad-1 | no database")
        _ = system.until("bad-1 is given up: exit code 78: another start will not help")
        done = system.hanse("wait")
        assert done.returncode == 1
        assert "bad-1 was given up: exit code 78: another start will not help; see `hanse logs bad`" in done.stderr
        status = system.status()
        assert row(status, "bad").tail == ("no database",)
        assert (row(status, "gateway").phase, row(status, "gateway").why) == ("waiting", "for bad")
        assert system.end() == 0


CHANGING = f"""
[edge]
engine = "none"

[services.other]
command = "{PYTHON} -c 'import signal; signal.pause()'"
protocol = "none"

[services.good]
command = "{PYTHON} web.py {{host}} {{port}}"
environment = {{ GREETING = "${{WORD}}" }}
"""


def test_variables_come_from_the_file_beside_the_settings_and_new_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WORD=hello\n")
    settings = CHANGING
    with running(tmp_path, settings) as system:
        _ = system.ready()
        seen = len(system.lines)
        (tmp_path / "hanse.toml").write_text(settings + "\n[services.god]\ncomand = 'x'\n")
        _ = system.until("those from before are in force: services.god.comand", after=seen)
        assert "did you mean services.god.command?" in system.status().problem
        (tmp_path / "hanse.toml").write_text(settings.replace("[services.other]", "[services.another]"))
        _ = system.until("another-1 is ready", after=seen)
        _ = system.until("other-1 has ended", after=seen)
        assert system.end(signal.SIGTERM) == 0


def test_an_interrupt_before_anything_runs_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        while not (tmp_path / ".hanse" / "run" / "control.sock").exists():
            assert system.process.poll() is None
        code = system.end()
        # 130 where it came before anybody listened for it: then nothing had been started.
        assert code in (0, 130)
        assert code == 130 or "all has ended" in system.lines[-1]
        assert hanse(tmp_path, "ps").returncode == 1


def test_services_run_on_when_nobody_reads_what_is_said(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        seen = system.ready()
        system.deaf()
        os.kill(row(seen, "web").pid, signal.SIGKILL)
        now = seen
        while row(now, "web").restarts == 0:
            now = system.ready()
        assert now.supervisor == seen.supervisor
        assert hanse(tmp_path, "down").returncode == 0


STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True: signal.pause()
"""


def test_the_first_interrupt_ends_in_order_and_the_second_kills(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    settings = SETTINGS + f"\n[services.stubborn]\ncommand = '{PYTHON} stubborn.py'\nprotocol = 'none'\n"
    with running(tmp_path, settings) as system:
        _ = system.ready()
        _ = system.until("stubborn-1 | up")
        pid = row(system.status(), "stubborn").pid
        system.process.send_signal(signal.SIGINT)
        assert system.until("web-1 has ended") < system.until("store-1 drains")
        assert system.process.poll() is None
        assert system.end() == 128 + signal.SIGINT
        assert not Path(f"/proc/{pid}").exists()


def test_a_system_in_the_background_is_ready_when_the_command_returns(tmp_path: Path) -> None:
    _ = write(tmp_path)
    done = hanse(tmp_path, "up", "--detach", "store")
    try:
        assert done.returncode == 0, done.stderr
        assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["store-1", "ready"], ["web", "stopped"]]
    finally:
        ended = hanse(tmp_path, "down", "--json")
    assert json.loads(ended.stdout) == {"ended": ["store-1"]}
    assert hanse(tmp_path, "ps").returncode == 1


def test_a_system_in_the_background_that_cannot_start_says_why(tmp_path: Path) -> None:
    done = hanse(write(tmp_path, "[services.web]\ncommand = 'x'\nneeds = ['db']"), "up", "-d")
    assert done.returncode == 78
    assert "unknown 'db'" in done.stderr
