"""From figures that only grow to windows."""

from __future__ import annotations

import itertools

from hypothesis import given, strategies as st

from hanse.control.judged import Tally, judgement_of, looked, window_between
from hanse.control.plan import canary
from hanse.control.window import Both, Condition, Outcomes

COUNTS = st.integers(0, 50)
OUTCOMES = st.builds(Outcomes, asked=COUNTS, failed=COUNTS, timed=COUNTS, slow=COUNTS, slowest=COUNTS)
TALLIES = st.builds(
    Tally,
    since=st.sampled_from(["a", "b"]),
    routes=st.dictionaries(
        st.sampled_from(["/", "/x"]),
        st.builds(
            Both,
            new=st.dictionaries(st.just("n"), OUTCOMES),
            old=st.dictionaries(st.sampled_from(["o", "p"]), OUTCOMES),
        ),
    ),
)


@given(st.lists(TALLIES, min_size=2, max_size=8))
def test_whatever_is_counted_a_judge_can_look_at_it(tallies: list[Tally]) -> None:
    """Counts that fall, limits that change, beginnings that come again: a window holds no more events than requests."""
    known, plan = judgement_of("r1"), canary(1, (5,))
    for number, (before, after) in enumerate(itertools.pairwise(tallies), 1):
        window = window_between(before, after, float(number))
        for both in window.routes.values():
            for one in (*both.new.values(), *both.old.values()):
                assert one.asked or one.timed
                assert 0 <= one.failed <= one.asked
                assert 0 <= max(one.slow, one.slowest) <= one.timed
        known, verdict = looked(known, window, 0, plan, alone=False)
        assert verdict.text()


def test_what_began_anew_is_no_window() -> None:
    counted = {"/": Both(new={"n": Outcomes(9)})}
    assert window_between(Tally("a", counted), Tally("b", counted), 1.0).routes == {}
    assert window_between(None, Tally("b", counted), 1.0).routes == {}


def test_what_is_counted_of_instances_is_told_once() -> None:
    first = Tally("a", new=Condition(restarts=2, dead_letters=5), old=Condition(contract_broken=1))
    second = Tally("a", new=Condition(restarts=3, dead_letters=4), old=Condition(contract_broken=4))
    window = window_between(first, second, 1.0)
    assert (window.new.restarts, window.new.dead_letters, window.old.contract_broken) == (1, 0, 3)
    assert window_between(None, first, 1.0).new.restarts == 0
