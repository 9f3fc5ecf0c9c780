from __future__ import annotations

import os
from pathlib import Path

from hanse.deploy.linux import children_of, marked
from hanse.deploy.usage import Usage, cpu_share, usage_by_session

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def stat(folder: Path, pid: int, *, parent: int, session: int, ticks: int, pages: int) -> None:
    (folder / str(pid)).mkdir()
    fields = f"S {parent} {pid} {session} 0 -1 0 1 0 0 0 {ticks} {ticks} 0 0 20 0 1 0 4711 99 {pages} 0"
    (folder / str(pid) / "stat").write_text(f"{pid} (a (b) c) {fields}")


def test_a_session_takes_what_all_of_its_processes_take(tmp_path: Path) -> None:
    stat(tmp_path, 7, parent=1, session=7, ticks=TICKS, pages=10)
    stat(tmp_path, 8, parent=7, session=7, ticks=TICKS, pages=5)
    stat(tmp_path, 9, parent=1, session=9, ticks=0, pages=1)
    (tmp_path / "10").mkdir()
    (tmp_path / "11").mkdir()
    (tmp_path / "11" / "stat").write_text("11 (gone")
    (tmp_path / "uptime").write_text("1")
    assert usage_by_session(proc=tmp_path) == {7: Usage(4.0, 15 * PAGE, 2), 9: Usage(0.0, PAGE, 1)}
    assert usage_by_session(proc=tmp_path / "none") == {}
    assert sorted(children_of(1, proc=tmp_path)) == [7, 9]


def test_a_session_that_waits_for_a_container_takes_what_that_takes(tmp_path: Path) -> None:
    container, other = "ab" * 32, "cd" * 32
    stat(tmp_path, 7, parent=1, session=7, ticks=TICKS, pages=10)
    stat(tmp_path, 8, parent=7, session=7, ticks=TICKS, pages=9)
    told = (tmp_path / "8" / "stat").read_text()
    (tmp_path / "8" / "stat").write_text(told.replace("a (b) c", "docker"))
    (tmp_path / "8" / "cmdline").write_text(f"/usr/bin/docker\0start\0--attach\0{container}\0")
    for pid, session, inside in ((20, 20, container), (21, 20, container), (22, 22, container), (30, 30, other)):
        stat(tmp_path, pid, parent=20, session=session, ticks=0, pages=3)
        (tmp_path / str(pid) / "cgroup").write_text(f"1:memory:/outer/{other}/docker/{inside}\n")
    (tmp_path / "7" / "cgroup").write_text("0::/user.slice\n")
    found = usage_by_session(proc=tmp_path)
    assert found[7] == Usage(0.0, 9 * PAGE, 3)
    assert found[30] == Usage(0.0, 3 * PAGE, 1)


def test_a_share_is_never_less_than_nothing() -> None:
    assert cpu_share({7: Usage(3.0)}, {7: Usage(1.0)}, 7, 1.0) == 0.0
    assert cpu_share({}, {}, 7, 0.0) == 0.0


def test_those_who_carry_a_mark_are_found(tmp_path: Path) -> None:
    for pid, environ in ((7, b"A=1\0HANSE_PROCESS=web-1.1\0"), (8, b"HANSE_PROCESS=web-1.10\0")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "environ").write_bytes(environ)
    assert list(marked("HANSE_PROCESS=web-1.1", proc=tmp_path)) == [7]
    assert list(marked("x", proc=tmp_path / "none")) == []
