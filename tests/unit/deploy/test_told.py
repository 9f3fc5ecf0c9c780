from __future__ import annotations

import pytest
from msgspec.structs import replace

from hanse.control.instances import Instance, Phase, System
from hanse.deploy.told import told

ONE = Instance("web", 1, phase="starting", since=10.0, run=1, port=20_001)


def said(before: Instance | None, after: Instance | None) -> list[str]:
    systems = [System(() if one is None else (one,)) for one in (before, after)]
    return list(told(systems[0], systems[1], 12.5))


@pytest.mark.parametrize(
    ("phase", "why", "line"),
    [
        ("waiting", "for db", "web-1 waits for db"),
        ("ready", "", "web-1 is ready at port 20001 (2.5 s)"),
        ("unhealthy", "503", "web-1 is unhealthy, and gets no requests: 503"),
        ("draining", "", "web-1 drains"),
        ("stopping", "", "web-1 is told to end"),
        ("stopping", "unhealthy in 60 s", "web-1 is told to end: unhealthy in 60 s"),
        ("backing off", "exit code 1", "web-1 has ended (exit code 1); it starts again in 0.5 s"),
        ("done", "exit code 0", "web-1 has ended (exit code 0)"),
    ],
)
def test_what_happens_to_an_instance_is_said_in_words(phase: Phase, why: str, line: str) -> None:
    assert said(ONE, replace(ONE, phase=phase, why=why, until=13.0)) == [line]


def test_what_is_given_up_is_told_with_its_last_words() -> None:
    assert said(ONE, replace(ONE, phase="crash loop", why="exit code 1", tail=("one", "two"))) == [
        "web-1 is given up: exit code 1",
        "  web-1 | one",
        "  web-1 | two",
    ]
    tried_again = replace(ONE, phase="crash loop", why="exit code 1", until=312.5)
    assert said(ONE, tried_again) == ["web-1 is given up: exit code 1; it is tried once more in 5 minutes"]


def test_who_comes_and_who_goes_is_said_once() -> None:
    assert said(None, ONE) == ["web-1 starts"]
    assert said(ONE, None) == ["web-1 has gone"]
    assert said(replace(ONE, phase="done"), None) == []
    assert said(None, Instance("web", 1)) == []
    assert said(ONE, replace(ONE, port=3)) == []
