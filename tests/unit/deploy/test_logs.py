from __future__ import annotations

from pathlib import Path

from hanse.deploy.logs import Follower, lines_of, services_in
from hanse.deploy.output import LogFile, aside


def line(second: int, instance: str, text: str) -> str:
    return f"2026-01-31T12:00:{second:02}.000Z {instance} {text}"


def texts(follower: Follower) -> list[str]:
    return [f"{one.instance} {one.text}" for one in follower.look()]


def test_lines_of_several_services_come_in_the_order_in_which_they_were_printed(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line(2, "a-1", "two") + "\n" + line(4, "a-1", "four") + "\n")
    aside(tmp_path / "a.log", 1).write_text(line(1, "a-1", "one") + "\n")
    (tmp_path / "b.log").write_text(line(3, "b-1", "three") + "\n")
    paths = [tmp_path / "a.log", tmp_path / "b.log", tmp_path / "none.log"]
    assert [one.text for one in lines_of(paths)] == ["one", "two", "three", "four"]
    assert [one.text for one in lines_of(paths, "2026-01-31T12:00:03")] == ["three", "four"]
    assert services_in(tmp_path) == ["a", "b"]
    assert services_in(tmp_path / "none") == []


def test_what_is_new_is_told_once_and_what_was_there_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(line(1, "a-1", "old") + "\n")
    follower = Follower(tmp_path)
    assert texts(follower) == []
    with log.open("a") as file:
        file.write(line(2, "a-1", "new") + "\n" + line(3, "a-1", "ha"))
    assert texts(follower) == ["a-1 new"]
    with log.open("a") as file:
        file.write("lf\n")
    (tmp_path / "b.log").write_text(line(2, "b-1", "late") + "\n")
    assert texts(follower) == ["b-1 late", "a-1 half"]
    assert texts(follower) == []
    follower.close()


def test_a_file_that_is_put_aside_is_read_to_its_end_and_the_next_one_from_its_beginning(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", bytes_max=100)
    log.write([line(1, "a-1", "first")])
    follower = Follower(tmp_path, ["a"], from_end=False)
    assert texts(follower) == ["a-1 first"]
    log.write([line(2, "a-1", "second")])
    log.write([line(3, "a-1", "third")])
    log.close()
    assert texts(follower) + texts(follower) == ["a-1 second", "a-1 third"]
    (tmp_path / "a.log").unlink()
    assert texts(follower) == []
    follower.close()


def test_others_are_not_followed(tmp_path: Path) -> None:
    follower = Follower(tmp_path, ["a"])
    (tmp_path / "b.log").write_text(line(1, "b-1", "x") + "\n")
    assert texts(follower) == []
    follower.close()
