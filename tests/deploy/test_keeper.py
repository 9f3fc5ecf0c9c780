"""The keeper with real processes: what is promised of them whoever is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.deploy.keeper_words import Began, Forget, Gone, Leave, Remember, Signalled, StopAsked
from hanse.deploy.linux import marked

from .kept import KEEP, WAIT_SECONDS, Kept, ended, keeping

SLEEPS = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
LEAVES_CHILD = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(15, signal.SIG_IGN)
        os.write(1, b"grandchild\\n")
        while True: signal.pause()
    os._exit(0)
os.wait()
print("up", flush=True)
while True: signal.pause()
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with keeping(tmp_path_factory.mktemp("kept")) as kept:
        yield kept


def gone(pid: int) -> None:
    """Wait until a process is not there any more."""
    fd = os.pidfd_open(pid) if Path(f"/proc/{pid}").exists() else -1
    if fd >= 0:
        assert select.select([fd], [], [], WAIT_SECONDS)[0], f"{pid} lives on"
        os.close(fd)


def line(kept: Kept, service: str, text: str) -> None:
    """Wait until a service has printed something."""
    log = kept.home.log_of(service)
    while not log.exists() or text not in log.read_text():
        assert kept.guard.poll() is None
        os.sched_yield()


def test_what_cannot_be_started_says_why(kept: Kept) -> None:
    kept.launch("none.1", "no-such-command")
    assert ended(kept, "none.1").why == "there is no command 'no-such-command'"
    kept.launch("none.2", "/dev/null")
    assert ended(kept, "none.2").why == "cannot start '/dev/null': Permission denied"


def test_an_end_is_told_with_its_code_and_its_last_words(kept: Kept) -> None:
    kept.python("fails.1", "import sys; print('one'); print('no database', file=sys.stderr); sys.exit(3)")
    found = ended(kept, "fails.1")
    assert (found.code, sorted(found.tail)) == (3, ["no database", "one"])


def test_a_signal_is_for_a_process_or_for_its_group(kept: Kept) -> None:
    kept.python("asleep.1", SLEEPS)
    assert kept.hear(Began).process == "asleep.1"
    kept.say(Signalled("asleep.1", signal.SIGTERM))
    assert ended(kept, "asleep.1").code == -signal.SIGTERM
    kept.python("stubborn.1", STUBBORN)
    line(kept, "stubborn", "up")
    kept.say(Signalled("stubborn.1", signal.SIGTERM), Signalled("stubborn.1", signal.SIGKILL, group=True))
    assert ended(kept, "stubborn.1").code == -signal.SIGKILL


def test_what_a_process_leaves_behind_ends_with_it(kept: Kept) -> None:
    kept.python("family.1", LEAVES_CHILD)
    began = kept.hear(Began)
    line(kept, "family", "grandchild")
    line(kept, "family", "up")
    (grandchild,) = set(marked(f"HANSE_PROCESS=family.1@{kept.keeper}")) - {began.pid}
    kept.say(Signalled("family.1", signal.SIGTERM))
    assert ended(kept, "family.1").code == -signal.SIGTERM
    gone(grandchild)


def test_processes_of_another_system_that_have_the_same_names_are_left_alone(kept: Kept, tmp_path: Path) -> None:
    with keeping(tmp_path) as other:
        other.python("same.1", SLEEPS)
        _ = other.hear(Began)
        kept.python("same.1", "pass")
        assert ended(kept, "same.1").code == 0
        other.python("next.1", "pass")
        assert other.hear(Gone).process == "next.1"


def test_whoever_prints_without_end_is_neither_held_up_nor_kept(kept: Kept) -> None:
    kept.python("chatty.1", "import os\nfor _ in range(100): os.write(1, b'x' * 65_535 + b'\\n')")
    assert ended(kept, "chatty.1").code == 0
    assert kept.home.log_of("chatty").stat().st_size < 8 * 1024 * 1024


def test_garbage_is_kept_as_text(kept: Kept) -> None:
    kept.python("rude.1", "import os; os.write(1, bytes(range(256)) + b'\\x1b[2Jend')")
    _ = ended(kept, "rude.1")
    text = "\n".join(kept.log("rude"))
    assert "\\x1b[2Jend" in text
    assert "\\xff" in text
    assert "\x1b" not in text


def test_a_supervisor_that_is_killed_is_followed_by_one_that_knows_of_all(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.python("one.1", SLEEPS)
        one = kept.hear(Began).pid
        kept.python("two.1", "pass")
        _ = ended(kept, "two.1")
        kept.python("three.1", "pass")
        _ = ended(kept, "three.1")
        kept.say(Remember("knot"), Forget("three.1"), Signalled("none", 9))
        kept.python("four.1", SLEEPS)
        four = kept.hear(Began).pid
        os.kill(kept.supervisor({one, four}), signal.SIGKILL)
        greeting = kept.connect()
        assert greeting.memory == "knot"
        assert [(each.process, each.ended, each.code) for each in greeting.kept] == [
            ("one.1", False, None),
            ("two.1", True, 0),
            ("four.1", False, None),
        ]
        assert greeting.kept[0].pid == one


def test_news_that_are_more_than_a_socket_takes_at_once_are_told(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.say(Remember("x" * 2_000_000))
        kept.python("one.1", "pass")
        _ = ended(kept, "one.1")
        os.kill(kept.supervisor(set()), signal.SIGKILL)
        assert len(kept.connect().memory) == 2_000_000


def test_the_first_signal_asks_and_the_second_ends_all(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.python("stubborn.1", STUBBORN)
        pid = kept.hear(Began).pid
        line(kept, "stubborn", "up")
        kept.guard.send_signal(signal.SIGINT)
        assert kept.hear(StopAsked) == StopAsked()
        assert kept.guard.poll() is None
        kept.guard.send_signal(signal.SIGINT)
        assert kept.guard.wait(WAIT_SECONDS) == 128 + signal.SIGINT
        gone(pid)


def test_a_supervisor_says_when_it_is_over(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.python("asleep.1", SLEEPS)
        pid = kept.hear(Began).pid
        kept.say(Leave(4))
        kept.hang_up()
        assert kept.guard.wait(WAIT_SECONDS) == 4
        gone(pid)


@pytest.mark.parametrize("victim", ["guard", "keeper"])
def test_whoever_is_killed_nothing_stays_behind(tmp_path: Path, victim: str) -> None:
    with keeping(tmp_path) as kept:
        kept.python("family.1", LEAVES_CHILD)
        kept.python("stubborn.1", STUBBORN)
        line(kept, "family", "grandchild")
        line(kept, "family", "up")
        line(kept, "stubborn", "up")
        own = (f"HANSE_PROCESS={name}.1@{kept.keeper}" for name in ("family", "stubborn"))
        pids = [kept.keeper, *(pid for mark in own for pid in marked(mark))]
        assert len(pids) == 4
        os.kill(kept.guard.pid if victim == "guard" else kept.keeper, signal.SIGKILL)
        for pid in pids:
            gone(pid)
        assert kept.guard.wait(WAIT_SECONDS) == (-9 if victim == "guard" else 128 + 9)


def test_a_folder_has_one_system(kept: Kept) -> None:
    second = subprocess.run(
        [sys.executable, str(KEEP)], cwd=kept.home.project, capture_output=True, text=True, check=False
    )
    assert "a system runs in" in second.stderr
    assert f"(process {kept.guard.pid})" in second.stderr


def test_what_a_dead_system_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        keeper = kept.keeper
        kept.guard.kill()
        gone(keeper)
        assert kept.home.control.exists()
        kept.home.control.unlink()  # so that the next test connects to the new one
    with keeping(tmp_path) as kept:
        assert kept.greeting.kept == ()
