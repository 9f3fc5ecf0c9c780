"""What is seen of the processes of instances, with real ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from hanse.control.desired import Command, Desired
from hanse.control.instances import Instance
from hanse.deploy.linux import PROC
from hanse.deploy.looker import LOOK_SECONDS_MIN, Looker
from hanse.deploy.starving import LATELY_SECONDS, Starving, killed_for_memory
from hanse.kernel.host import Host

WANTED = Desired("web", Command(("serve",)), memory_max=7, cpu_max=0.5)
BUSY = """
held = bytearray(32 * 2**20)
print("ready", flush=True)
while True:
    pass
"""
LOOKS_MAX = 1_000


@pytest.mark.skipif(not PROC.exists(), reason="only Linux tells what processes take")
async def test_what_an_instance_takes_is_seen_between_two_looks() -> None:
    command = (sys.executable, "-S", "-E", "-c", BUSY)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        one = Instance("web", 1, "2", phase="ready", run=3, pid=process.pid)
        gone = Instance("web", 2, "2", phase="backing off", run=4)
        looker = Looker(Host.system())
        looks = await looker.look(WANTED, [one, gone])
        assert looks.memory.keys() == {"web-1.3"}
        assert looks.memory["web-1.3"] > 32 * 2**20
        assert (looks.memory_max, looks.cpu_max) == (7.0, 0.5)
        for _ in range(LOOKS_MAX):
            if looks.cpu.get("web-1.3"):  # on a busy machine it may have had no turn in between
                break
            looks = await looker.look(None, [one])
        assert 0.0 < looks.cpu["web-1.3"] < 1.5, f"at the second look, {LOOK_SECONDS_MIN} s later"
        assert (looks.memory_max, looks.cpu_max) == (0.0, 0.0)
    finally:
        process.kill()
        _ = await process.wait()


def test_kills_for_memory_are_noticed_for_a_moment(tmp_path: Path) -> None:
    counted, clock = tmp_path / "vmstat", [5.0]
    host = Host("a", now=lambda: 0.0, monotonic=lambda: clock[0], chance=Host.system().chance, entropy=bytes)
    counted.write_text("nr_free_pages 7\noom_kill 3\nswap_ra 1\n")
    starving = Starving(host, proc=tmp_path)
    assert not starving.lately(), "whoever was killed before says nothing"
    counted.write_text("nr_free_pages 7\noom_kill 4\nswap_ra 1\n")
    assert [starving.lately(), starving.lately()] == [True, True]
    clock[0] += LATELY_SECONDS
    assert not starving.lately()


def test_where_nobody_counts_nobody_is_killed_for_memory(tmp_path: Path) -> None:
    assert killed_for_memory(proc=tmp_path) == 0
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill x\n")
    assert killed_for_memory(proc=tmp_path) == 0
