import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.host import Host
from hanse.kernel.process import LinuxProcesses, Process, UnknownProcesses, born_of, processes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began")

ANOTHER = """
import sys
from hanse.kernel.process import LinuxProcesses
own = LinuxProcesses("here").own
print(own.machine, own.life, flush=True)
sys.stdin.read()
"""

STRANGER = """
import os, sys
from hanse.kernel.process import LinuxProcesses, Process
here = LinuxProcesses("here")
os.setuid(65534)
numbers = [int(text) for text in sys.argv[1:]]
print(here.has_ended(Process(*numbers[:2])), here.has_ended(Process(*numbers[2:])))
"""


class Another:
    """A process that says who it is."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", ANOTHER]
        self.running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.running.stdout is not None
        machine, life = map(int, self.running.stdout.readline().split())
        self.process = Process(machine, life)

    def close(self) -> None:
        self.running.kill()
        self.running.communicate()


@pytest.fixture
def another() -> Iterator[Another]:
    made = Another()
    yield made
    made.close()


@pytest.fixture
def here() -> LinuxProcesses:
    return LinuxProcesses("here")


def test_one_that_was_killed_has_ended_also_before_anybody_asked_how(another: Another, here: LinuxProcesses) -> None:
    assert here.own is not None
    assert another.process.machine == here.own.machine
    assert not here.has_ended(another.process)
    another.running.kill()
    os.waitid(os.P_PID, another.running.pid, os.WEXITED | os.WNOWAIT)
    assert here.has_ended(another.process)
    another.running.wait()
    assert here.has_ended(another.process)


def test_one_whose_number_was_given_again_has_ended(another: Another, here: LinuxProcesses) -> None:
    before = msgspec.structs.replace(another.process, life=another.process.life - 1)
    assert here.has_ended(before)


def test_one_of_another_machine_is_taken_to_live(another: Another) -> None:
    elsewhere = LinuxProcesses("elsewhere")
    another.close()
    assert not elsewhere.has_ended(another.process)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not ask")
def test_one_that_may_not_be_asked_is_known_by_its_birth(here: LinuxProcesses) -> None:
    assert here.own is not None
    machine, life = here.own.machine, here.own.life
    told = subprocess.run(
        [sys.executable, "-c", STRANGER, *map(str, (machine, life, machine, life - 1))],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == ["False", "True"]


def test_numbers_fit_into_a_store_s_positions(here: LinuxProcesses) -> None:
    assert here.own is not None
    assert 0 < here.own.machine < 1 << 63
    assert 0 < here.own.life < 1 << 63


def test_a_name_may_hold_anything() -> None:
    end = b"1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0"
    assert born_of(b"7 (a) Z 1) S " + end) == 4711
    assert born_of(b"7 (a) Z " + end) == 0


def test_a_machine_that_does_not_tell_has_nobody_ended(tmp_path: Path, here: LinuxProcesses) -> None:
    assert here.own is not None
    for told in ({}, {"sys/kernel/random/boot_id": "one", f"{os.getpid()}/stat": "7 (a) S"}):
        for name, text in told.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        there = processes_of("here", proc=tmp_path)
        assert there.own is None
        assert not there.has_ended(here.own)


def test_what_does_not_tell_of_a_birth_is_not_taken_for_a_death() -> None:
    with pytest.raises(ValueError, match="tick of birth"):
        _ = born_of(b"7 (a) S 1 7 7")


def test_the_real_machine_knows_its_processes_and_others_do_not() -> None:
    assert Host.system().processes.own is not None
    assert Host.fixed(wall=1.0, seed=1).processes.own is None
    assert not UnknownProcesses().has_ended(Process(0, 0))
    own = processes_of("here").own
    assert own is not None
    assert not processes_of("here").has_ended(own)
