from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, strategies as st

from hanse.deploy.output import FLOOD_BYTES_MAX, LINE_BYTES_MAX, Lines, LogFile, Output, aside, clean


def test_a_disk_that_takes_nothing_loses_lines_and_says_how_many_once_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("no folder")
    log = LogFile(folder / "a.log")
    log.write(["one", "two"])
    log.write(["three"])
    folder.unlink()
    log.write(["four"])
    log.close()
    assert (folder / "a.log").read_text() == "3 lines could not be written\nfour\n"


def test_files_are_put_aside_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", bytes_max=10, files_max=2)
    for number in range(5):
        log.write([f"line {number}"])
    log.close()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a.log": "line 4\n", "a.log.1": "line 3\n", "a.log.2": "line 2\n"}
    assert aside(tmp_path / "a.log", 2).name == "a.log.2"


def test_a_file_goes_on_where_the_last_keeper_left_it(tmp_path: Path) -> None:
    for text in ("one", "two"):
        log = LogFile(tmp_path / "a.log")
        log.write([text])
        log.close()
        log.close()
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


def output(path: Path, now: list[float]) -> Output:
    reading, writing = os.pipe()
    os.close(writing)
    return Output(reading, "a-1", LogFile(path), lambda: now[0])


def test_a_flood_is_skipped_and_counted(tmp_path: Path) -> None:
    now = [0.0]
    out = output(tmp_path / "a.log", now)
    out.take(b"one\n")
    out.take(b"x\n" * FLOOD_BYTES_MAX)
    now[0] = 1.5
    out.take(b"two\n")
    out.close()
    assert (tmp_path / "a.log").read_text().splitlines() == [
        "1970-01-01T00:00:00.000Z a-1 one",
        f"1970-01-01T00:00:01.500Z a-1 {FLOOD_BYTES_MAX} lines skipped: more than 4 MiB in a second",
        "1970-01-01T00:00:01.500Z a-1 two",
    ]
    assert out.tail[-1] == "two"


def test_a_flood_at_the_end_is_told_with_what_is_left(tmp_path: Path) -> None:
    out = output(tmp_path / "a.log", [0.0])
    out.take(b"half")
    out.take(b"x\n" * FLOOD_BYTES_MAX)
    out.close()
    assert list(out.tail) == ["half", f"{FLOOD_BYTES_MAX} lines skipped: more than 4 MiB in a second"]


def test_colours_stay_and_what_moves_a_terminal_does_not() -> None:
    assert clean(b"\x1b[1;31mred\x1b[0m\ttab\r") == "\x1b[1;31mred\x1b[0m\ttab"
    assert clean(b"\x1b]0;title\x07 \x1b[2J \xc2\x9b") == "\\x1b]0;title\\x07 \\x1b[2J \\x9b"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_however_bytes_come_the_lines_are_the_same(pieces: list[bytes]) -> None:
    lines, whole = Lines(), Lines()
    found = [line for piece in pieces for line in lines.feed(piece)] + lines.rest()
    assert found == whole.feed(b"".join(pieces)) + whole.rest()


def test_a_line_without_end_is_cut() -> None:
    lines = Lines()
    found = lines.feed(b"x" * (2 * LINE_BYTES_MAX + 5))
    assert [len(line) for line in found] == [LINE_BYTES_MAX, LINE_BYTES_MAX, 5]
    assert lines.rest() == []
