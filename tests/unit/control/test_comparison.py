"""What evidence comes to, worked out once more in the plainest way; and that on single routes."""

from itertools import product
from math import comb, exp, inf, log

import pytest
from hypothesis import given, settings, strategies as st

from hanse.control.comparison import Comparison, Spot
from hanse.control.evidence import BORNE, RATIOS, Evidence, Slice

SLICES = st.lists(
    st.builds(
        lambda new, old, new_events, old_events: Slice(new, old, min(new, new_events), min(old, old_events)),
        st.integers(1, 40),
        st.integers(1, 400),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=30,
)
WORSE = (1.585, 1.995, 3.162, 5.012, 10.0, 31.62, 100.0)
BETTER = (0.0, 0.2512, 0.5012, 0.7943)


def likelihood(ratio: float, slices: list[Slice]) -> float:
    """The logarithm of the chance of what was seen, slice by slice."""
    found = 0.0
    for one in slices:
        share = ratio * one.new / (ratio * one.new + one.old)
        found += one.old_events * log(1.0 - share)
        if one.new_events:
            found += one.new_events * log(share) if share else -inf
    return found


def against(base: float, others: tuple[float, ...], slices: list[Slice]) -> float:
    known = likelihood(base, slices)
    return sum(exp(likelihood(one, slices) - known) for one in others) / len(others)


@given(SLICES, st.sampled_from(BORNE[:4]))
def test_evidence_of_one_window_is_half_of_what_likelihoods_say(slices: list[Slice], borne: float) -> None:
    if not any(one.new_events + one.old_events for one in slices):
        return
    wanted = (against(borne, tuple(borne * times for times in WORSE), slices) + 1.0) / 2.0
    assert Evidence().after(slices).worse(borne) == pytest.approx(wanted, rel=0.02)


@given(SLICES)
def test_evidence_for_a_release_is_what_likelihoods_say(slices: list[Slice]) -> None:
    tolerated = RATIOS[22]
    wanted = against(tolerated, tuple(tolerated * times for times in BETTER), slices)
    assert Evidence().after(slices).no_worse(1.5) == pytest.approx(wanted, rel=0.02)


@settings(max_examples=30)
@given(SLICES, st.sampled_from((0.3, 0.05, 0.001)))
def test_an_interval_ends_where_likelihoods_say(slices: list[Slice], error: float) -> None:
    evidence = Evidence()
    for one in slices:
        evidence = evidence.after([one])

    def refuted(at: int, others: tuple[float, ...]) -> bool:
        known = likelihood(RATIOS[at], slices)
        return sum(exp(likelihood(one, slices) - known) for one in others) / len(RATIOS) >= 2.0 / error

    low = [at for at in range(len(RATIOS)) if refuted(at, RATIOS[at + 1 :])]
    high = [at for at in range(len(RATIOS)) if refuted(at, RATIOS[:at])]
    wanted = (RATIOS[low[-1]] if low else 0.0, RATIOS[high[0]] if high else inf)
    assert evidence.interval(error) == wanted


def test_one_event_speaks_as_much_for_a_release_as_against_it_where_nobody_is_worse() -> None:
    """Both are asked once, and one of them fails: whose it is, a coin decides."""
    fresh = Comparison()
    known = fresh.after({"/": Slice(1, 1, 1, 0)}).worse(), fresh.after({"/": Slice(1, 1, 0, 1)}).worse()
    assert sum(known) / 2.0 == pytest.approx(1.0)


@given(SLICES, st.integers(1, 4), st.integers(1, 6), st.floats(0.0, 0.9), st.floats(0.0, 1.0), st.sampled_from(BORNE))
def test_evidence_of_a_route_does_not_grow_by_itself(
    seen: list[Slice], new: int, old: int, rate: float, part: float, borne: float
) -> None:
    spot = Spot()
    for one in seen:
        spot = spot.after(one)
    rates = (min(1.0, part * borne * rate), rate) if part * borne * rate <= 1.0 else (1.0, 1.0 / (part * borne))
    expected = 0.0
    for events, others in product(range(new + 1), range(old + 1)):
        odds = comb(new, events) * rates[0] ** events * (1.0 - rates[0]) ** (new - events)
        odds *= comb(old, others) * rates[1] ** others * (1.0 - rates[1]) ** (old - others)
        expected += odds * spot.after(Slice(new, old, events, others)).worse(borne)
    assert expected <= spot.worse(borne) * (1.0 + 1e-9)


def test_more_routes_do_not_add_to_the_stake() -> None:
    comparison = Comparison().after({f"/{number}": Slice(1_000, 1_000, 1, 1) for number in range(100)})
    assert comparison.worse() < 1.0
    assert comparison.worst() == ""
