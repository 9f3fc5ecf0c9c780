"""Programs that insist on their port, each in a network of its own, with real processes and real networks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hanse.deploy.control_words import Row
from hanse.deploy.own_network import CANNOT, Network, wrapped
from hanse.deploy.ports import free_port
from hanse.kernel.host import Host

from .systems import HANSE, PYTHON, WAIT_SECONDS, Running, hanse, looked, running, write

if subprocess.run([sys.executable, "-I", "-m", "hanse.deploy.own_network"], check=False).returncode:
    pytest.skip("this machine gives no process a network of its own", allow_module_level=True)

INSISTS = """
import json, os, socket, sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

def reached(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except OSError as error:
        return error.strerror
    return "reached"

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = parse_qs(urlsplit(self.path).query)
        told = {"instance": os.environ["HANSE_INSTANCE"], "port": os.environ["PORT"]}
        told["folder"] = os.path.basename(os.getcwd())
        told["interfaces"] = [name for _, name in socket.if_nameindex()]
        if "neighbour" in asked:
            told["neighbour"] = urllib.request.urlopen(os.environ["HANSE_URL_STORE"] + "/x", timeout=30).read().decode()
        if "reach" in asked:
            told["reach"] = reached(int(asked["reach"][0]))
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""
"""Listens at the loopback and at port 8080, whatever it is told."""

SETTINGS = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} insists.py"
directory = "one"
port = 8080
own_network = true
instances = 2
route = "/"

[services.store]
command = "{PYTHON} ../web.py {{host}} {{port}}"
directory = "one"
"""


def folder_of(folder: Path) -> Path:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "insists.py").write_text(INSISTS)
    return folder


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(folder_of(tmp_path_factory.mktemp("insists")), SETTINGS) as system:
        _ = system.ready()
        yield system
        assert system.end() == 0


def asked(system: Running, path: str = "/") -> Any:  # noqa: ANN401 - JSON of the server above
    return json.loads(system.get(path))


def rows(system: Running) -> list[Row]:
    return [one for one in system.ready().instances if one.service == "web"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("port = 8080\ninstances = 2", "or say `own_network = true` (Linux)"),
        ("own_network = true", "services.web.own_network: expected a `port` that it insists on"),
        ("reaches = [5432]", "services.web.reaches: expected `own_network = true` beside it"),
        (
            "port = 80\nown_network = true\nreaches = [80]",
            "web.reaches: expected other ports than its own, 80",
        ),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, lines: str, told: str) -> None:
    done = hanse(write(tmp_path, f"[services.web]\ncommand = 'x'\n{lines}\n"), "up")
    assert (done.returncode, told in done.stderr) == (78, True), done.stderr


def test_a_machine_that_allows_none_says_so_before_anything_runs(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no `unshare`, by which this machine could be made one that allows none")
    settings = "[services.web]\ncommand = 'x'\nport = 8080\nown_network = true\n"
    words = ["sh", "-c", 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"', "sh", *HANSE, "up"]
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", *words],
        cwd=write(tmp_path, settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 3, done.stderr
    assert "services.web.own_network: it takes root (CAP_SYS_ADMIN), or a kernel that lets users" in done.stderr
    assert "leave `port` away and use {port}" in done.stderr


def test_instances_share_requests_though_all_insist_on_one_port(system: Running) -> None:
    settled = rows(system)
    found = [asked(system) for _ in range(6)]
    assert {one["instance"] for one in found} == {one.instance for one in settled}
    assert {(one["port"], *one["interfaces"]) for one in found} == {("8080", "lo")}
    assert len({one.port for one in settled} - {8080}) == 2


def test_neighbours_are_reached_and_the_rest_of_the_machine_is_not(system: Running) -> None:
    assert asked(system, "/?neighbour=1")["neighbour"] == "store-1 - /x"
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert asked(system, f"/?reach={other.getsockname()[1]}")["reach"] == "Connection refused"


def test_one_that_is_killed_is_started_anew_and_leaves_nobody_behind(system: Running) -> None:
    victim = rows(system)[0]
    behind = subprocess.run(["ps", "-o", "pid=", "--ppid", str(victim.pid)], capture_output=True, text=True, check=True)
    seen = len(system.lines)
    os.kill(victim.pid, signal.SIGKILL)
    _ = system.until(f"{victim.instance} has ended (killed by SIGKILL)", after=seen)
    _ = system.until(f"{victim.instance} is ready", after=seen)
    assert not Path(f"/proc/{behind.stdout.strip()}").exists()
    everybody = {one.instance for one in rows(system)}
    # Whoever has just come gets little at first.
    _ = looked(lambda: {asked(system)["instance"] for _ in range(6)}, lambda met: met == everybody)


def test_it_is_released_though_it_insists_on_its_port(system: Running) -> None:
    seen = len(system.lines)
    done = system.hanse(
        *("release", "web", "--to", "../two", "--strategy", "rolling", "--every", "0", "--bake", "0", "--wait")
    )
    assert done.returncode == 0, done.stderr
    assert {asked(system)["folder"] for _ in range(6)} == {"two"}
    assert system.hanse("restart", "web", "-q").returncode == 0
    assert not [line for line in system.lines[seen:] if "given up" in line]


# One program, without a system


@contextmanager
def started(words: list[str], **more: Any) -> Generator[tuple[subprocess.Popen[str], int]]:  # noqa: ANN401 - fields of the struct
    port = free_port("127.0.0.1", Host.system().chance, set())
    command = wrapped(words, Network(listen=port, inner=8080, **more))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["/nowhere/program"], 127, "cannot start '/nowhere/program': No such file or directory"),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -9 $$"], -9, ""),
    ],
)
def test_it_ends_as_its_program_does(words: list[str], code: int, told: str) -> None:
    with started(words) as (process, _):
        _, wrong = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, told in wrong) == (code, True), wrong


def test_a_port_of_the_machine_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = wrapped(["true"], Network(listen=taken.getsockname()[1], inner=8080))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    assert done.returncode == CANNOT
    assert "Address already in use" in done.stderr


TOLD = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it may come before anybody waits for it
print("there", flush=True)
signal.sigwait([signal.SIGTERM])
print(len(signal.sigpending()), flush=True)
"""


def test_a_signal_reaches_the_program_once() -> None:
    with started([sys.executable, "-c", TOLD]) as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.terminate()
        rest, _ = process.communicate(timeout=WAIT_SECONDS)
    assert (rest, process.returncode) == ("0\n", 0)


ECHO = """
import socket
server = socket.create_server(("127.0.0.1", 8080))
print("there", flush=True)
link, _ = server.accept()
got = b""
while data := link.recv(65536):
    got += data
link.sendall(b"%d" % len(got) + got[-5:])
link.close()
"""


def test_what_is_carried_is_whole_and_each_way_has_its_end() -> None:
    with started([sys.executable, "-c", ECHO]) as (process, port):
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as link:
            link.sendall(b"x" * 5_000_000 + b"last!")
            link.shutdown(socket.SHUT_WR)
            got = b""
            while data := link.recv(65536):
                got += data
        assert got == b"5000005last!"
        _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0


def test_a_program_reaches_the_ports_of_the_machine_that_it_is_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asks = f"import socket; print(socket.create_connection(('127.0.0.1', {port}), timeout=30).recv(5))"
        server.settimeout(WAIT_SECONDS)
        with started([sys.executable, "-c", asks], reaches=(port,)) as (process, _):
            link, _ = server.accept()
            with link:
                link.sendall(b"hello")
            rest, wrong = process.communicate(timeout=WAIT_SECONDS)
    assert rest == "b'hello'\n", wrong


def test_a_user_without_rights_has_one_too() -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("to be another user takes root, and `setpriv`")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    port = free_port("127.0.0.1", Host.system().chance, set())
    # The interpreter is asked by its real path: the folder of a checkout may be closed to others.
    words = wrapped(["id", "-u"], Network(port, 8080))
    done = subprocess.run([*nobody, *words], cwd="/", capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip("other users may not read this checkout")
    assert (done.returncode, done.stdout) == (0, "65534\n"), done.stderr
