from itertools import product
from math import comb, inf, isfinite

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.control.evidence import BORNE, RATIOS, Evidence, Slice, below, requests_below, requests_for

ASKED = st.integers(1, 6)
SLICES = st.lists(
    st.builds(
        lambda new, old, new_events, old_events: Slice(new, old, min(new, new_events), min(old, old_events)),
        st.integers(0, 40),
        st.integers(0, 400),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    max_size=5,
)
WINDOWS = st.lists(SLICES, max_size=12)
TOLERATED = st.sampled_from((1.5, 2.0, 3.0))


def after(windows: list[list[Slice]]) -> Evidence:
    evidence = Evidence()
    for one in windows:
        evidence = evidence.after(one)
    return evidence


def chance(events: int, of: int, rate: float) -> float:
    return comb(of, events) * rate**events * (1.0 - rate) ** (of - events)


def outcomes(new: int, old: int, rates: tuple[float, float]) -> list[tuple[float, Slice]]:
    """All that may come of so many requests, each with its chance."""
    return [
        (chance(e, new, rates[0]) * chance(f, old, rates[1]), Slice(new, old, e, f))
        for e, f in product(range(new + 1), range(old + 1))
    ]


@given(WINDOWS, ASKED, ASKED, st.floats(0.0, 0.9), st.floats(0.0, 1.0), st.sampled_from(BORNE))
def test_evidence_against_a_release_does_not_grow_by_itself(
    seen: list[list[Slice]], new: int, old: int, rate: float, part: float, borne: float
) -> None:
    """Whatever was seen, and however rare or frequent events are: this is all that the promise of no alarm rests on."""
    before = after(seen)
    rates = (min(1.0, part * borne * rate), rate) if part * borne * rate <= 1.0 else (1.0, 1.0 / (part * borne))
    expected = sum(odds * before.after([one]).worse(borne) for odds, one in outcomes(new, old, rates))
    assert expected <= before.worse(borne) * (1.0 + 1e-9)


@given(WINDOWS, ASKED, ASKED, st.floats(0.0, 0.3), st.floats(1.0, 3.0), TOLERATED)
def test_evidence_for_a_release_does_not_grow_by_itself(
    seen: list[list[Slice]], new: int, old: int, rate: float, more: float, tolerated: float
) -> None:
    before = after(seen)
    least = min(RATIOS, key=lambda one: abs(one - tolerated)) * more
    rates = (least * rate, rate) if least * rate <= 1.0 else (1.0, 1.0 / least)
    expected = sum(odds * before.after([one]).no_worse(tolerated) for odds, one in outcomes(new, old, rates))
    assert expected <= before.no_worse(tolerated) * (1.0 + 1e-9)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.001, 0.5), st.floats(1.0, 2.0))
def test_evidence_of_rarity_does_not_grow_by_itself(events: int, well: int, floor: float, more: float) -> None:
    rate = floor * more
    known = below(floor, events=events, of=events + well)
    hit = below(floor, events=events + 1, of=events + well + 1)
    missed = below(floor, events=events, of=events + well + 1)
    assert rate * hit + (1.0 - rate) * missed <= known * (1.0 + 1e-9)


def test_a_release_half_of_whose_requests_fail_is_found_in_seconds() -> None:
    evidence = Evidence().after([Slice(10, 190, 5, 0)])
    assert evidence.worse() > 100_000


def test_one_that_was_good_for_a_day_is_found_in_a_few_seconds_when_it_goes_bad() -> None:
    good = [[Slice(100, 100, 1, 1)]] * 5_000
    bad = [[Slice(100, 100, 10, 1)]] * 20
    assert after(good).worse() < 1.0
    assert after(good + bad).worse() > 1_000_000


def test_what_both_suffer_is_held_against_nobody() -> None:
    outage = after([[Slice(50, 950, 25, 475)]] * 50)
    assert outage.worse() < 1.0
    assert outage.no_worse(1.5) > 1_000


def test_one_route_that_fails_more_for_both_does_not_make_the_new_one_worse() -> None:
    """The new release gets more of the route that fails anyway: all in all it has nearly twice as many errors."""
    mixed = after([[Slice(90, 10, 9, 1), Slice(10, 90, 0, 0)]] * 50)
    assert mixed.new_events > 5 * mixed.old_events
    assert mixed.ratio == pytest.approx(1.0, rel=0.01)
    assert mixed.worse() < 1.0


def test_a_release_that_is_better_than_the_old_one_is_no_worse() -> None:
    assert after([[Slice(50, 50, 0, 2)]] * 10).no_worse(1.5) > 20
    assert after([[Slice(50, 50, 1, 3)]] * 10).no_worse(1.5) > 20


def test_nothing_is_said_where_only_one_of_them_was_asked() -> None:
    alone = after([[Slice(0, 100, 0, 50), Slice(100, 0, 50, 0), Slice(5, 5)]])
    assert (alone.worse(), alone.no_worse(1.5), alone.ratio) == (1.0, 1.0, 1.0)
    assert alone.interval(0.05) == (0.0, inf)
    assert (alone.new, alone.old, alone.new_events, alone.old_events) == (105, 105, 50, 50)


@given(WINDOWS)
def test_what_is_borne_makes_a_release_look_no_worse(seen: list[list[Slice]]) -> None:
    evidence = after(seen)
    alarms = [evidence.worse(borne) > 100 for borne in BORNE]
    assert alarms == sorted(alarms, reverse=True)


@given(WINDOWS)
def test_an_interval_is_around_the_ratio_and_wider_the_surer_it_is(seen: list[list[Slice]]) -> None:
    evidence = after(seen)
    low, high = evidence.interval(0.05)
    lower, higher = evidence.interval(0.001)
    assert lower <= low < high <= higher
    assert low <= evidence.ratio <= high


@given(SLICES)
def test_the_order_of_routes_makes_no_difference(slices: list[Slice]) -> None:
    assert Evidence().after(slices).worse() == pytest.approx(Evidence().after(slices[::-1]).worse())


@given(WINDOWS)
def test_it_is_stored_and_read_again_as_it_was(seen: list[list[Slice]]) -> None:
    evidence = after(seen)
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence


@settings(max_examples=30)
@given(st.integers(1, 10**9), st.integers(1, 10**9), st.floats(0, 1), st.floats(0, 1))
def test_numbers_stay_within_what_a_machine_can_hold(new: int, old: int, some: float, others: float) -> None:
    one = Slice(new, old, int(new * some), int(old * others))
    evidence = after([[one]] * 50)
    known = (*(evidence.worse(borne) for borne in BORNE), evidence.no_worse(1.5), *evidence.spread, *evidence.since[:1])
    assert all(isfinite(each) for each in known if isinstance(each, float))


def test_of_very_much_traffic_the_interval_is_narrow() -> None:
    evidence = after([[Slice(5_000, 95_000, 100, 1_900)]] * 200)
    assert evidence.interval(0.05) == (RATIOS[19], RATIOS[21])


def test_it_does_not_grow_with_time() -> None:
    sizes = [len(msgspec.msgpack.encode(after([[Slice(100, 100, 1, 2)]] * times))) for times in (10, 2_000)]
    assert sizes[1] - sizes[0] < 20


def test_how_many_requests_it_takes_is_about_what_it_takes() -> None:
    wanted = requests_for(1_000.0, ratio=10.0, than=1.0, share=0.5, rate=0.01)
    windows = 0
    evidence = Evidence()
    while evidence.worse() < 1_000:
        evidence = evidence.after([Slice(50, 50, 5, windows % 2)])
        windows += 1
    assert wanted / 2 < windows * 100 < wanted * 3


def test_none_are_needed_where_it_is_known_and_no_number_suffices_where_there_is_no_difference() -> None:
    assert requests_for(1.0, ratio=2.0, than=1.0, share=0.1, rate=0.1) == 0.0
    assert requests_for(20.0, ratio=1.0, than=1.0, share=0.1, rate=0.1) == inf
    assert requests_for(20.0, ratio=2.0, than=1.0, share=0.0, rate=0.1) == inf
    assert requests_for(20.0, ratio=0.0, than=1.5, share=0.1, rate=0.1) < inf
    assert requests_below(0.5, floor=0.01, rate=0.0) == 0.0
    assert requests_below(20.0, floor=0.01, rate=0.02) == inf
    assert requests_below(20.0, floor=0.01, rate=0.005) > requests_below(20.0, floor=0.01, rate=0.0)
