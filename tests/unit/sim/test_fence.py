"""The fence: what is refused, what libraries get instead, and that nothing of it stays."""

import _thread
import asyncio
import concurrent.futures
import contextlib
import copy
import email.utils
import importlib
import logging
import multiprocessing
import os
import random  # noqa: TID251 - asked for, to be refused
import secrets  # noqa: TID251 - asked for, to be refused
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid  # noqa: TID251 - asked for, to be refused
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from uuid import uuid4  # noqa: TID251 - asked for, to be refused

import pytest

from hanse.kernel.faults import Misconfigured
from hanse.sim.fence import REFUSED_MAX, Fence, Fenced, is_library, refusal
from hanse.sim.stand_ins import rows

WALL = 1_700_000_000.25
STEADY = 12.5
APP = "/home/me/shop.py"
LIBRARY = os.__file__
NO_FILE = "/nowhere/at/all"


def reseeded(generator: random.Random) -> float:
    generator.seed()
    return generator.random()


def in_pool() -> object:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(int).result()


NAMES = {
    **{
        m.__name__: m for m in (_thread, logging, os, random, secrets, shutil, signal, socket, sqlite3, subprocess, sys)
    },
    **{m.__name__: m for m in (multiprocessing, tempfile, threading, time, uuid)},
    "NO_FILE": NO_FILE,
    "Path": Path,
    "in_pool": in_pool,
    "formatdate": email.utils.formatdate,
    "bound": uuid4,
}


def evaluate(expression: str, file: str) -> object:
    """What comes of it, as code of that file."""
    code: CodeType = compile(expression, file, "eval")
    return eval(code, NAMES)


def new_fence(seed: int = 7) -> Fence:
    return Fence(lambda: WALL, lambda: STEADY, seed)


@pytest.fixture
def fence() -> Iterator[Fence]:
    with new_fence() as fence:
        yield fence


# What is tried, and what the refusal calls it.
REAL = {
    "socket.socket()": "socket.__new__()",
    "socket.getaddrinfo('localhost', 80)": "socket.getaddrinfo('localhost'",
    "socket.gethostbyname('localhost')": "socket.gethostbyname('localhost')",
    "socket.gethostbyaddr('127.0.0.1')": "socket.gethostbyaddr('127.0.0.1')",
    "socket.getnameinfo(('127.0.0.1', 80), 0)": "socket.getnameinfo(('127.0.0.1', 80))",
    "socket.sethostname('')": "socket.sethostname()",
    "socket.create_connection(('127.0.0.1', 9))": "socket.getaddrinfo('127.0.0.1'",
    "subprocess.run([NO_FILE], check=False)": f"subprocess.Popen('{NO_FILE}'",
    "os.popen('true')": "subprocess.Popen('/bin/sh'",
    "os.system('true')": "os.system(",
    "os.execv(NO_FILE, ['x'])": f"os.exec('{NO_FILE}'",
    "os.fork() or os._exit(0)": "os.fork()",
    "os.forkpty()[0] or os._exit(0)": "os.forkpty()",
    "os.posix_spawn(NO_FILE, ['x'], {})": f"os.posix_spawn('{NO_FILE}'",
    "os.spawnv(os.P_NOWAIT, NO_FILE, ['x'])": "os.fork()",
    "os.kill(os.getpid(), 0)": "os.kill()",
    "os.killpg(os.getpgid(0), 0)": "os.killpg()",
    "signal.pthread_kill(threading.get_ident(), 0)": "signal.pthread_kill()",
    "multiprocessing.get_context('fork').Process(target=int).start()": "os.fork()",
    "multiprocessing.get_context('spawn').Process(target=int).start()": "a new process",
    "Path(NO_FILE).open('w')": f"open('{NO_FILE}', 'w')",
    "Path(NO_FILE).open('a')": f"open('{NO_FILE}', 'a')",
    "Path(NO_FILE).open('r+')": f"open('{NO_FILE}', 'r+')",
    "Path(NO_FILE).open('xb')": f"open('{NO_FILE}', 'x",
    "os.open(NO_FILE, os.O_RDWR)": f"open('{NO_FILE}', 'for writing')",
    "os.open(NO_FILE.encode(), os.O_WRONLY)": f"open(b'{NO_FILE}', 'for writing')",
    "Path(NO_FILE).write_text('x')": f"open('{NO_FILE}', 'w')",
    "Path(NO_FILE).touch()": "o",
    "os.remove(NO_FILE)": f"os.remove('{NO_FILE}')",
    "os.remove(Path(NO_FILE))": f"os.remove('{NO_FILE}')",
    "Path(NO_FILE).unlink()": f"os.remove('{NO_FILE}')",
    "os.rename(NO_FILE, '/nowhere/b')": f"os.rename('{NO_FILE}', '/nowhere/b')",
    "os.replace(NO_FILE, '/nowhere/b')": f"os.rename('{NO_FILE}', '/nowhere/b')",
    "os.mkdir(NO_FILE)": f"os.mkdir('{NO_FILE}')",
    "os.makedirs(NO_FILE)": "os.mkdir('/nowhere')",
    "os.rmdir(NO_FILE)": f"os.rmdir('{NO_FILE}')",
    "os.link(NO_FILE, '/nowhere/b')": "os.link(",
    "os.symlink(NO_FILE, '/nowhere/b')": "os.symlink(",
    "os.truncate(NO_FILE, 0)": "os.truncate(",
    "os.chmod(NO_FILE, 0)": "os.chmod(",
    "os.chown(NO_FILE, 0, 0)": "os.chown(",
    "os.utime(NO_FILE)": "os.utime(",
    "os.setxattr(NO_FILE, 'a', b'')": "os.setxattr(",
    "os.removexattr(NO_FILE, 'a')": "os.removexattr(",
    "shutil.rmtree(NO_FILE)": f"shutil.rmtree('{NO_FILE}')",
    "shutil.move(NO_FILE, '/nowhere/b')": "shutil.move(",
    "shutil.copyfile(NO_FILE, '/nowhere/b')": "shutil.copyfile(",
    "tempfile.mkstemp(dir='/nowhere')": "tempfile.mkstemp(",
    "tempfile.mkdtemp(dir='/nowhere')": "tempfile.mkdtemp(",
    "logging.FileHandler(NO_FILE)": f"open('{NO_FILE}', 'a')",
    "sqlite3.connect('/nowhere/shop.db')": "sqlite3.connect('/nowhere/shop.db')",
    "sqlite3.connect(b'/nowhere/shop.db')": "sqlite3.connect('/nowhere/shop.db')",
    "threading.Thread(target=int).start()": "threading.Thread.start()",
    "threading.Timer(60, int).start()": "threading.Thread.start()",
    "_thread.start_new_thread(int, ())": "_thread.start_new_thread()",
    "in_pool()": "threading.Thread.start()",
    "time.sleep(0)": "time.sleep()",
}


@pytest.mark.parametrize("tried", REAL)
def test_real_things_are_refused(tried: str, fence: Fence) -> None:
    with pytest.raises(Fenced) as caught:
        evaluate(tried, APP)
    assert caught.value.what.startswith(REAL[tried])
    assert caught.value.instead
    assert [str(each) for each in fence.refused] == [str(caught.value)]


@pytest.mark.parametrize("tried", REAL)
def test_real_things_are_refused_to_libraries_as_well(tried: str, fence: Fence) -> None:
    with pytest.raises(Fenced):
        evaluate(tried, LIBRARY)


def test_a_refusal_says_what_where_and_what_instead(fence: Fence) -> None:
    with pytest.raises(Fenced) as caught:
        evaluate("time.sleep(1)", APP)
    expected = f"time.sleep() at {APP}:1, in a simulated world; await asyncio.sleep, which takes the world's time"
    assert str(caught.value) == expected


def test_a_refusal_shows_no_addresses_in_memory() -> None:
    assert refusal("socket.connect", (object(), ("10.0.0.1", 80))) == (
        "socket.connect(('10.0.0.1', 80))",
        "call a service through its client, or hand the code a fake of what it talks to",
    )


def test_a_refusal_without_advice_stands_for_itself() -> None:
    assert str(Fenced("the loop has no sockets")) == "the loop has no sockets, in a simulated world"


def test_a_refusal_is_copied_whole() -> None:
    fenced = Fenced("time.sleep()", "await", "shop.py:1")
    assert str(copy.copy(fenced)) == str(fenced)


def test_no_handler_of_exceptions_hides_a_refusal(fence: Fence) -> None:
    def careless() -> None:
        try:
            evaluate("time.sleep(1)", APP)
        except Exception:  # noqa: BLE001 - what users write
            return

    with pytest.raises(Fenced):
        careless()


def test_what_was_swallowed_all_the_same_is_remembered(fence: Fence) -> None:
    for _ in range(REFUSED_MAX + 1):
        with contextlib.suppress(BaseException):
            evaluate("time.sleep(1)", APP)
    assert len(fence.refused) == REFUSED_MAX
    assert fence.refused[0].what == "time.sleep()"
    assert fence.refused[0].__traceback__ is None


def test_reads_and_what_is_open_already_pass(fence: Fence, capsys: pytest.CaptureFixture[str]) -> None:
    assert Path(__file__).read_text().startswith('"""The fence')
    assert Path(__file__) in Path(__file__).parent.iterdir()
    assert not Path(NO_FILE).exists()
    with Path(os.devnull).open("w") as null:
        null.write("x")
    with open(1, "w", closefd=False) as stdout:
        stdout.write("")
    print("told")  # noqa: T201 - printing is what passes
    assert capsys.readouterr().out == "told\n"
    assert fence.refused == []


@pytest.mark.parametrize("name", [":memory:", b":memory:", "file:shop?mode=memory&cache=shared", "file::memory:"])
def test_databases_in_memory_pass(name: str | bytes, fence: Fence) -> None:
    connection = sqlite3.connect(name, uri=True)
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()
    assert fence.refused == []


def test_modules_are_imported_without_writing_their_bytecode(tmp_path: Path) -> None:
    (tmp_path / "hanse_fence_probe.py").write_text("VALUE = 7\n")
    writing = sys.dont_write_bytecode
    sys.path.insert(0, str(tmp_path))
    try:
        with new_fence() as fence:
            assert vars(importlib.import_module("hanse_fence_probe"))["VALUE"] == 7
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("hanse_fence_probe", None)
    assert fence.refused == []
    assert sys.dont_write_bytecode is writing
    assert [path.name for path in tmp_path.iterdir()] == ["hanse_fence_probe.py"]


# What is asked, what an app is told to use, and what a library gets.
NANOSECONDS = 12_500_000_000
LOCAL = time.localtime(WALL)
CLOCKS: dict[str, tuple[str, object]] = {
    "time.time()": ("host.now()", WALL),
    "time.time_ns()": ("host.now()", 1_700_000_000_250_000_000),
    "time.monotonic()": ("host.monotonic()", STEADY),
    "time.monotonic_ns()": ("host.monotonic()", NANOSECONDS),
    "time.perf_counter()": ("host.monotonic()", STEADY),
    "time.perf_counter_ns()": ("host.monotonic()", NANOSECONDS),
    "time.process_time()": ("host.monotonic()", STEADY),
    "time.process_time_ns()": ("host.monotonic()", NANOSECONDS),
    "time.thread_time()": ("host.monotonic()", STEADY),
    "time.thread_time_ns()": ("host.monotonic()", NANOSECONDS),
    "time.clock_gettime(time.CLOCK_REALTIME)": ("host.now()", WALL),
    "time.clock_gettime(time.CLOCK_MONOTONIC)": ("host.now()", STEADY),
    "time.clock_gettime_ns(time.CLOCK_MONOTONIC)": ("host.now()", NANOSECONDS),
    "time.localtime()": ("host.now()", LOCAL),
    "time.gmtime(None)": ("host.now()", time.gmtime(WALL)),
    "time.ctime()": ("host.now()", time.asctime(LOCAL)),
    "time.asctime()": ("host.now()", time.asctime(LOCAL)),
    "time.strftime('%c')": ("host.now()", time.strftime("%c", LOCAL)),
    "socket.gethostname()": ("host.name", "localhost"),
}


@pytest.mark.parametrize("asked", CLOCKS)
def test_clocks_are_refused_to_the_app(asked: str, fence: Fence) -> None:
    with pytest.raises(Fenced) as caught:
        evaluate(asked, APP)
    assert caught.value.what.startswith(asked.partition("(")[0])
    assert CLOCKS[asked][0] in caught.value.instead
    assert [str(each) for each in fence.refused] == [str(caught.value)]


@pytest.mark.parametrize("asked", CLOCKS)
def test_libraries_get_the_time_of_the_world(asked: str, fence: Fence) -> None:
    assert evaluate(asked, LIBRARY) == CLOCKS[asked][1]
    assert fence.refused == []


@pytest.mark.parametrize("asked", ["localtime(5.0)", "gmtime(5.0)", "ctime(5.0)", "strftime('%s', time.gmtime(5.0))"])
def test_dates_of_a_given_time_are_nobodys_clock(asked: str, fence: Fence) -> None:
    inside = evaluate(f"time.{asked}", APP)
    with fence.lifted():
        assert inside == evaluate(f"time.{asked}", APP)


def test_the_standard_library_tells_the_time_of_the_world(fence: Fence) -> None:
    record = logging.LogRecord("shop", logging.INFO, "shop.py", 1, "sold", (), None)
    assert record.created == pytest.approx(WALL, abs=1e-6, rel=0)  # some Pythons go through nanoseconds
    assert evaluate("formatdate()", APP) == "Tue, 14 Nov 2023 22:13:20 -0000"


# What draws, what the refusal calls it, and what an app is told to use.
DRAWS = {
    "os.urandom(8)": ("os.urandom()", "host.entropy(n)"),
    "os.getrandom(8)": ("os.getrandom()", "host.entropy(n)"),
    "random.random()": ("random.random()", "host.chance"),
    "random.randint(1, 10**9)": ("random.randint()", "host.chance"),
    "random.choice(range(10**9))": ("random.choice()", "host.chance"),
    "random.gauss(0, 1)": ("random.gauss()", "host.chance"),
    "random.Random().random()": ("random.Random()", "host.chance"),
    "[rng := random.Random(5), rng.seed()] and rng.random()": ("random.Random.seed()", "give it a seed"),
    "random.SystemRandom().random()": ("random.SystemRandom.random()", "host.entropy(n)"),
    "secrets.token_hex(8)": ("secrets.token_hex()", "host.entropy(n)"),
    "secrets.choice(range(10**9))": ("random.Random.choice()", "host.entropy(n)"),
    "uuid.uuid1()": ("uuid.uuid1()", "host.new_id()"),
    "uuid.uuid4()": ("uuid.uuid4()", "host.new_id()"),
    "bound()": ("uuid.uuid4()", "host.new_id()"),
}


@pytest.mark.parametrize("asked", DRAWS)
def test_draws_are_refused_to_the_app(asked: str, fence: Fence) -> None:
    what, instead = DRAWS[asked]
    with pytest.raises(Fenced) as caught:
        evaluate(asked, APP)
    assert caught.value.what.startswith(what)
    assert instead in caught.value.instead
    assert [str(each) for each in fence.refused] == [str(caught.value)]


@pytest.mark.parametrize("asked", DRAWS)
def test_libraries_draw_from_the_seed(asked: str) -> None:
    drawn = [draw_twice(asked, seed) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def draw_twice(asked: str, seed: int) -> list[object]:
    with new_fence(seed) as fence:
        drawn = [evaluate(asked, LIBRARY), evaluate(asked, LIBRARY)]
    assert fence.refused == []
    return drawn


def test_a_generator_with_a_seed_of_its_own_passes(fence: Fence) -> None:
    assert evaluate("random.Random(5).random()", APP) == evaluate("random.Random(x=5).random()", APP)
    assert fence.refused == []


def test_uuids_of_time_are_of_the_time_of_the_world(fence: Fence) -> None:
    made = evaluate("[uuid.uuid1(), uuid.uuid1(5, 3)]", LIBRARY)
    assert isinstance(made, list)
    first, second = made
    assert (first.version, first.variant, first.time) == (1, uuid.RFC_4122, 139_192_928_002_500_000)
    assert (second.node, second.clock_seq, second.time - first.time) == (5, 3, 1)


def test_names_of_temporary_files_follow_the_seed() -> None:
    assert draw_twice("next(tempfile._RandomNameSequence())", 7) == draw_twice(
        "next(tempfile._RandomNameSequence())", 7
    )


def state() -> list[object]:
    rows_now = [vars(row.at)[row.name] for row in rows()]
    return [rows_now, random.getstate(), sys.dont_write_bytecode]


def test_everything_is_put_back() -> None:
    before = state()
    with pytest.raises(Fenced), new_fence():
        evaluate("random.random() and time.sleep(1)", LIBRARY)
    assert state() == before


def test_nothing_is_refused_where_no_fence_is_up(tmp_path: Path) -> None:
    with new_fence():
        bound = evaluate("[time.time, os.urandom, time.localtime, threading.Thread.start]", APP)
    assert isinstance(bound, list)
    now, urandom, localtime, start = bound
    assert now() > WALL
    assert len(urandom(3)) == 3
    assert localtime().tm_year > 2023
    thread = threading.Thread(target=(tmp_path / "written").write_text, args=("x",))
    start(thread)
    thread.join()
    assert (tmp_path / "written").read_text() == "x"


def test_a_clock_that_a_class_keeps_is_no_method(fence: Fence) -> None:
    made = evaluate("type('Timer', (), {'clock': time.time})().clock()", LIBRARY)
    assert made == WALL


def test_a_lifted_fence_lets_our_own_machinery_work(tmp_path: Path, fence: Fence) -> None:
    with fence.lifted(), fence.lifted():
        (tmp_path / "report").write_text("x")
        assert evaluate("time.time()", APP) != WALL
    with pytest.raises(Fenced):
        (tmp_path / "report").write_text("y")
    assert (tmp_path / "report").read_text() == "x"


def test_what_is_drawn_while_it_is_lifted_changes_nothing() -> None:
    def draws(*, lift: bool) -> object:
        with new_fence() as fence:
            evaluate("random.random()", LIBRARY)
            if lift:
                with fence.lifted():
                    random.random()
            return evaluate("random.random()", LIBRARY)

    assert draws(lift=True) == draws(lift=False)


def test_two_fences_at_once_are_refused() -> None:
    with new_fence() as outer, pytest.raises(Misconfigured, match="one world runs at a time"), new_fence():
        pass
    assert Fence.here() is None
    assert outer.refused == []


def test_a_fence_can_be_put_up_again() -> None:
    fence = new_fence()
    for _ in range(2):
        with fence:
            assert evaluate("time.time()", LIBRARY) == WALL


def test_other_threads_are_not_fenced(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with new_fence() as fence:
            pool.submit((tmp_path / "written").write_text, "x").result()
            assert pool.submit(evaluate, "time.time()", APP).result() != WALL
    assert (tmp_path / "written").read_text() == "x"
    assert fence.refused == []


async def test_a_refusal_ends_the_task_that_tried() -> None:
    async def careless() -> None:
        evaluate("time.time()", APP)

    with new_fence() as fence:
        with pytest.raises(Fenced):
            await careless()
        done, _ = await asyncio.wait([asyncio.get_running_loop().create_task(careless())])
        assert isinstance(done.pop().exception(), Fenced)
    assert len(fence.refused) == 2


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (os.__file__, True),
        (asyncio.__file__, True),
        (pytest.__file__, True),
        (str(Path(sys.modules["hanse.sim.fence"].__file__ or "")), True),
        ("<frozen importlib._bootstrap>", True),
        ("/home/me/.local/lib/python3.11/site-packages/attr/_make.py", True),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", True),
        (APP, False),
        (__file__, False),
        ("<string>", False),
        ("<stdin>", False),
        ("/home/me/hanse/shop.py", False),
    ],
)
def test_files_of_libraries_are_told_from_an_apps(file: str, expected: bool) -> None:
    assert is_library(file) is expected
