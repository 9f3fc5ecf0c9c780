from __future__ import annotations

import signal

from hypothesis import given, strategies as st

from hanse.cli.reload import (
    Changed,
    Decision,
    Ended,
    Event,
    Signalled,
    State,
    decide,
    exit_code,
)

EVENTS = st.one_of(
    st.just(Changed(("app.py",))),
    st.integers(-15, 78).map(Ended),
    st.sampled_from([signal.SIGINT, signal.SIGTERM]).map(Signalled),
)


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


def test_the_code_of_a_signal_is_that_of_a_shell() -> None:
    assert exit_code(-signal.SIGKILL) == 137
