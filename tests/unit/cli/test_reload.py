from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hanse.cli.reload import (
    Changed,
    Decision,
    Ended,
    Event,
    Signalled,
    State,
    changes,
    decide,
    exit_code,
    follow_parent,
    is_watched,
    poll,
    roots,
    snapshot,
)

EVENTS = st.one_of(
    st.just(Changed(("app.py",))),
    st.integers(-15, 78).map(Ended),
    st.sampled_from([signal.SIGINT, signal.SIGTERM]).map(Signalled),
)
FILES = st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers(0, 2))


def test_a_child_that_does_not_start_waits_for_the_next_change() -> None:
    failed = decide(State.RUNNING, Ended(3))
    assert (failed.state, failed.start, failed.leave) == (State.WAITING, False, None)
    assert failed.say == "ended with exit code 3; waiting for a change"
    assert decide(State.WAITING, Changed(("a.py",))).start


def test_a_change_drains_the_child_before_another_starts() -> None:
    changed = decide(State.RUNNING, Changed(("shop/a.py", "shop/b.py")))
    assert (changed.state, changed.send, changed.start) == (State.RESTARTING, signal.SIGTERM, False)
    assert changed.say == "a.py and 1 more changed; starting anew"
    assert decide(State.RESTARTING, Ended(0)) == Decision(State.RUNNING, start=True)


def test_changes_while_the_child_drains_start_one_child_only() -> None:
    assert decide(State.RESTARTING, Changed(("a.py",))) == Decision(State.RESTARTING)


def test_a_signal_is_handed_on_each_time() -> None:
    first = decide(State.RUNNING, Signalled(signal.SIGINT))
    assert first == Decision(State.ENDING, send=signal.SIGINT)
    assert decide(first.state, Signalled(signal.SIGINT)).send == signal.SIGINT
    assert decide(first.state, Ended(130)).leave == 130


def test_nothing_is_left_to_wait_for_where_no_child_runs() -> None:
    assert decide(State.WAITING, Signalled(signal.SIGTERM)).leave == 0


@given(st.lists(EVENTS))
def test_there_is_never_more_than_one_child(events: list[Event]) -> None:
    state, children = State.RUNNING, 1
    for event in events:
        if isinstance(event, Ended):
            if not children:
                continue
            children -= 1
        decision = decide(state, event)
        state = decision.state
        children += decision.start
        assert children in (0, 1)
        assert children or not decision.send
        assert (children == 0) == (state is State.WAITING or decision.leave is not None)
        if decision.leave is not None:
            return


@given(FILES, FILES)
def test_changes_are_what_differs(before: dict[str, int], after: dict[str, int]) -> None:
    named = set(changes(before, after))
    assert {name for name in before.keys() | after.keys() if name not in named} == {
        name for name in before.keys() & after.keys() if before[name] == after[name]
    }


def test_the_code_of_a_signal_is_that_of_a_shell() -> None:
    assert exit_code(-signal.SIGKILL) == 137


def test_only_sources_and_settings_count(tmp_path: Path) -> None:
    for name in ("app.py", "hanse.toml", "notes.txt", ".venv/x.py", "__pycache__/y.py", "shop/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "broken.py").symlink_to(tmp_path / "gone.py")
    found = {str(Path(name).relative_to(tmp_path)) for name in snapshot([tmp_path])}
    assert found == {"app.py", "hanse.toml", "shop/b.py"}
    assert len(snapshot([tmp_path], limit=2)) == 2


@pytest.mark.parametrize("path", ["a/.git/x.py", "a/b/node_modules/x.py", "a/x.pyc", "a/venv/x.py"])
def test_what_others_write_does_not_count(path: str) -> None:
    assert not is_watched(path, [Path("other"), Path("a")])


def test_folders_within_others_are_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert roots([tmp_path / "a", tmp_path, tmp_path]) == [tmp_path.resolve()]


class TwoLooks:
    """Changes a file between the first two looks, and ends the watch after them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wait(self, seconds: float) -> bool:
        known = self.path.exists()
        self.path.write_text("")
        return known


def test_a_look_at_the_files_finds_a_change(tmp_path: Path) -> None:
    found: list[Changed] = []
    poll([tmp_path], found.append, TwoLooks(tmp_path / "a.py"))
    assert found == [Changed((str(tmp_path / "a.py"),))]


def test_a_process_without_a_reloading_parent_follows_nobody() -> None:
    threads = threading.active_count()
    follow_parent(dict(os.environ))
    assert threading.active_count() == threads
