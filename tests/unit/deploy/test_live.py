from __future__ import annotations

import queue
from collections.abc import Sequence

import pytest

from hanse.control.desired import Command, Desired
from hanse.control.instances import Instance, System
from hanse.control.released import BASE
from hanse.deploy.live import Looked, erased, rows_of, table_of
from hanse.deploy.screen import Screen
from hanse.deploy.usage import Usage

MIB = 1024**2
ROWS = [(name, "ready", "1/1", "0", "0%", "9 MiB", "-") for name in "abcdefgh"]


def test_a_service_is_told_by_the_worst_of_its_instances() -> None:
    system = System(
        (
            Instance("web", 1, BASE, phase="ready", pid=11, restarts=2),
            Instance("web", 2, "1.5", phase="backing off", restarts=1),
            Instance("old", 1, BASE, phase="draining", pid=12),
        )
    )
    desired = {("web", BASE): Desired("web", Command(("x",)), 2), ("job", BASE): Desired("job", Command(("x",)), 0)}
    looked = Looked({11: Usage(1.0, MIB, 1)}, {11: Usage(2.0, 40 * MIB, 2), 12: Usage(9.0, MIB, 1)}, 2.0)
    assert rows_of(system, desired, looked) == [
        ("web", "backing off", "1/2", "3", "50%", "40 MiB", "1.5"),
        ("job", "stopped", "0/0", "0", "0%", "0 MiB", "-"),
        ("old", "draining", "0/0", "0", "0%", "1 MiB", "-"),
    ]


@pytest.mark.parametrize(("width", "height"), [(200, 50), (20, 50), (1, 1), (40, 6)])
def test_a_table_is_no_larger_than_there_is_room(width: int, height: int) -> None:
    lines = table_of(ROWS, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(2, height // 2)


def test_who_does_not_fit_is_counted() -> None:
    lines = table_of(ROWS, 200, 12)
    assert [line[:1] for line in lines[1:-1]] == ["a", "b", "c", "d"]
    assert lines[-1] == "and 4 more; see `hanse ps`"


def test_a_system_without_services_has_no_table() -> None:
    assert table_of([], 80, 24) == ()


@pytest.mark.parametrize(
    ("lines", "width", "told"),
    [
        ((), 80, ""),
        (("one",), 80, "\r\x1b[J"),
        (("one", "two", ""), 80, "\r\x1b[2A\x1b[J"),
        # A terminal that has become narrower has broken what was written.
        (("x" * 80, "y"), 40, "\r\x1b[2A\x1b[J"),
        (("\x1b[32m" + "x" * 40 + "\x1b[0m",), 40, "\r\x1b[J"),
    ],
)
def test_what_was_drawn_is_erased(lines: Sequence[str], width: int, told: str) -> None:
    assert erased(lines, width) == told


def test_what_is_pinned_stays_below_and_goes_in_the_end() -> None:
    told: queue.Queue[bytes] = queue.Queue()
    screen = Screen(told.put, lambda: (10, 24))
    screen.pin(lambda width, _: ("-" * width,))
    assert told.get(timeout=60.0) == b"----------"
    screen.show("text")
    assert told.get(timeout=60.0) == b"\r\x1b[Jtext\n----------"
    screen.close(60.0)
    assert told.get(timeout=60.0) == b"\r\x1b[J"


def same(width: int, height: int) -> Sequence[str]:
    del width, height
    return ("same",)


def test_what_has_not_changed_is_not_drawn_again() -> None:
    told: queue.Queue[bytes] = queue.Queue()
    screen = Screen(told.put)
    for _ in range(3):
        screen.pin(same)
        screen.show("text")
    screen.close(60.0)
    assert b"".join(told.queue).count(b"text") == 3
    screen = Screen(told.put)
    told.queue.clear()
    screen.pin(same)
    assert told.get(timeout=60.0) == b"same"
    for _ in range(3):
        screen.pin(same)
    screen.close(60.0)
    assert told.get(timeout=60.0) == b"\r\x1b[J"
