from itertools import product
from math import comb

from hypothesis import given, settings, strategies as st

from hanse.control.evidence import BORNE
from hanse.control.weighing import METRICS, Weighed, compared, counted, weigh
from hanse.control.window import Both, Outcomes

FAILED = METRICS[0]
ROUTES = ("/a", "/b")


def both(new: int, old: int, new_failed: int, old_failed: int) -> Both:
    return Both(
        new={"b1": Outcomes(new, min(new, new_failed))},
        old={"a1": Outcomes(old, min(old, old_failed)), "a2": Outcomes(old)},
    )


WINDOWS = st.lists(
    st.dictionaries(
        st.sampled_from(ROUTES),
        st.builds(both, st.integers(1, 20), st.integers(1, 60), st.integers(0, 8), st.integers(0, 8)),
    ),
    max_size=12,
)


def after(windows: list[dict[str, Both]]) -> Weighed:
    known = weigh(FAILED)
    for second, routes in enumerate(windows, 1):
        known = compared(counted(known, routes.values()), routes, second * 1.0)
    return known


def chance(events: int, of: int, rate: float) -> float:
    return comb(of, events) * rate**events * (1.0 - rate) ** (of - events)


@settings(max_examples=60)
@given(WINDOWS, st.integers(1, 4), st.integers(1, 6), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.booleans())
def test_all_that_is_weighed_does_not_speak_against_a_good_release_by_itself(
    seen: list[dict[str, Both]], new: int, old: int, rate: float, part: float, one_burst: bool
) -> None:
    """With routes by themselves, and with bursts of which a part has counted: what is expected is what there is."""
    known = after(seen)
    at = len(seen) + (0.5 if one_burst else 10.0)
    expected = 0.0
    for events, others in product(range(new + 1), range(old + 1)):
        odds = chance(events, new, rate * part) * chance(others, old, rate)
        told = {"/a": Both(new={"b1": Outcomes(new, events)}, old={"a1": Outcomes(old, others)})}
        expected += odds * compared(known, told, at).whole.worse(known.borne)
    assert expected <= known.whole.worse(known.borne) * (1.0 + 1e-9)


@given(WINDOWS)
def test_what_is_borne_is_never_taken_back(seen: list[dict[str, Both]]) -> None:
    known = weigh(FAILED)
    for second, routes in enumerate(seen, 1):
        before, known = known, compared(known, routes, second * 1.0)
        assert known.borne >= before.borne
        assert known.borne in BORNE


@given(WINDOWS)
def test_without_its_only_instance_nothing_speaks_against_a_release(seen: list[dict[str, Both]]) -> None:
    known = after(seen)
    assert all(one.all.new == 0 and one.worse(known.borne) == 1.0 for one in known.without.values())
    assert known.agreed == known.worse


@given(WINDOWS)
def test_all_that_was_asked_is_counted(seen: list[dict[str, Both]]) -> None:
    known = after(seen)
    told = [one for routes in seen for one in routes.values()]
    assert known.new.of == sum(outcomes.asked for one in told for outcomes in one.new.values())
    assert known.old.events == sum(outcomes.failed for one in told for outcomes in one.old.values())
