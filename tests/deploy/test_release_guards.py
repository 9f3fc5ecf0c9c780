"""New releases that nobody asks anything, and that go back for what they do to the machine: with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cgroups import cgroup_of
from .systems import PYTHON, Running, running

SERVER = """
import os, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

began = time.monotonic()
does = os.path.basename(os.getcwd())

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        sick = does == "sick" and time.monotonic() - began > 2
        self.send_response(500 if sick else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

def leak(step):
    held = []
    while True:
        held.append(b"x" * step)
        time.sleep(0.01)

def spin():
    while True:
        pass

def fall():
    time.sleep(1)
    os._exit(3)

def starve():
    with open(sys.argv[3], "w") as file:
        file.write(str(os.getpid()))
    leak(2**20)

for wanted, target, arguments in (
    ("leaks", leak, (2**19,)), ("spins", spin, ()), ("falls", fall, ()), ("starves", starve, ())
):
    if wanted == does:
        threading.Thread(target=target, args=arguments, daemon=True).start()
ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""Does what the folder is called that it was started in: leaks memory, spins, falls again and again, gets sick."""

# Whoever spins gets a small part of a processor on a machine that has much else to do.
LIMITS = {"leaks": 'memory_max = "128MiB"', "spins": "cpu_max = 0.05"}

REASONS = {
    "leaks": "MiB, and may take 128 MiB",
    "spins": "processors, and may take 0.05",
    "falls": "its processes ended 3 times; those of the old release 0 times",
    "sick": "was ready, and has not been for",
    "starves": "was killed as it took too much memory",
}


def settings(cgroup: str) -> str:
    services = (
        f"""
[services.{name}]
command = "{PYTHON} serve.py {{host}} {{port}} {cgroup}"
directory = "good"
{LIMITS.get(name, "")}
health = {{ path = "/", interval = "500ms", fall = 2 }}
"""
        for name in REASONS
    )
    return "[edge]\nport = 0\n" + "".join(services)


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, bool]]:
    """Services of which each is on its way to a release that does it harm, and whether memory can be limited."""
    folder = tmp_path_factory.mktemp("guards")
    for name in ("good", *REASONS):
        (folder / name).mkdir()
        (folder / name / "serve.py").write_text(SERVER)
        (folder / name / "name").write_text(name)
    with cgroup_of(64 * 2**20) as cgroup, running(folder, settings(cgroup)) as system:
        _ = system.ready()
        for name in REASONS:
            if name != "starves" or cgroup:
                done = system.hanse("release", name, "--to", f"../{name}", "--steps", "10,100", "--every", "5m")
                assert done.returncode == 0, done.stderr
        yield system, bool(cgroup)


@pytest.mark.parametrize("name", list(REASONS))
def test_a_release_that_harms_the_machine_goes_back(harmed: tuple[Running, bool], name: str) -> None:
    system, limited = harmed
    if name == "starves" and not limited:
        pytest.skip("no memory can be limited here: it takes root, and a system that has cgroups")
    rollout = system.over(name).rollout
    assert (rollout.state, rollout.blamed) == ("rolled_back", True)
    assert REASONS[name] in rollout.why
