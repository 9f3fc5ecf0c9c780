import random  # noqa: TID251 - draws from a seed
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from hanse.mesh.balance import PAIRED_MAX, SPILL_IN_FLIGHT, Pool, nearest
from hanse.mesh.instance import FORGET_SECONDS, LATENCY_SECONDS_MIN, Instance
from hanse.mesh.standing import State
from hanse.transport.discovery import Announcement

NAMES = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=20, unique=True)
WEIGHTS = st.lists(st.integers(1, 1_000), min_size=1, max_size=10)
CALLS = 4_000


def instance(name: str, *, weight: int = 100, latency: float = 0.01, in_flight: int = 0) -> Instance:
    made = Instance(Announcement(name, f"local:{name}", ("orders",), weight=weight), latency=latency)
    made.in_flight = in_flight
    return made


def drawn(pool: Pool, *, calls: int = CALLS) -> Counter[str]:
    chance = random.Random(3)
    return Counter(pool.lighter_of_two(0.0, chance.random).name for _ in range(calls))


@given(WEIGHTS, st.randoms(use_true_random=False))
def test_whoever_is_drawn_is_of_the_pool_and_no_heavier_than_the_heaviest(
    weights: list[int], chance: random.Random
) -> None:
    members = [instance(str(i), weight=weight, in_flight=chance.randrange(9)) for i, weight in enumerate(weights)]
    chosen = Pool(members).lighter_of_two(0.0, chance.random)
    assert chosen in members
    if len(members) > 1 and len(set(weights)) == 1:
        costs = sorted(one.cost(0.0) for one in members)
        # Two different ones were drawn: the heaviest of all is taken only beside one that weighs the same.
        assert chosen.cost(0.0) <= costs[-2] or costs[-1] == costs[-2]


@pytest.mark.parametrize(
    ("weights", "share"),
    [((100, 100), 0.5), ((90, 10), 0.1), ((300, 100, 100), 0.2), ((100,) * (PAIRED_MAX + 4), 1 / (PAIRED_MAX + 4))],
)
def test_equals_share_by_weight(weights: tuple[int, ...], share: float) -> None:
    pool = Pool(instance(str(i), weight=weight) for i, weight in enumerate(weights))
    assert drawn(pool)[str(len(weights) - 1)] == pytest.approx(share * CALLS, rel=0.2)


def test_the_busier_and_the_slower_of_two_is_left_alone() -> None:
    assert drawn(Pool([instance("a", in_flight=3), instance("b")])) == {"b": CALLS}
    assert drawn(Pool([instance("a", latency=0.02), instance("b")])) == {"b": CALLS}


def test_differences_that_are_chance_do_not_count() -> None:
    fast, faster = instance("a", latency=LATENCY_SECONDS_MIN / 2), instance("b", latency=LATENCY_SECONDS_MIN / 4)
    assert fast.cost(0.0) == faster.cost(0.0)


def test_who_was_slow_long_ago_is_asked_again() -> None:
    slow, fast = instance("a", latency=0.1), instance("b", latency=0.02)
    fast.answered(0.02, now=10 * FORGET_SECONDS)
    assert slow.cost(10 * FORGET_SECONDS) < fast.cost(10 * FORGET_SECONDS)


def test_one_slow_answer_is_forgotten_within_a_minute_however_fast_the_others_are() -> None:
    slow, fast = instance("a"), instance("b", latency=LATENCY_SECONDS_MIN / 2)
    slow.answered(1.0, now=0.0)
    fast.answered(LATENCY_SECONDS_MIN / 2, now=60.0)
    assert slow.cost(60.0) <= fast.cost(60.0)


def test_who_refuses_fast_does_not_look_fast() -> None:
    refusing, working = instance("a", latency=0.001), instance("b", latency=0.05)
    refusing.burdened(now=0.0)
    assert refusing.cost(0.0) > working.cost(0.0)


def test_on_trial_one_call_is_given_at_a_time() -> None:
    trial, other = instance("a"), instance("b", in_flight=500)
    trial.standing.leave(State.OUTLIER, 0.0)
    trial.standing.look(1_000.0)
    trial.measured = other.measured = 1_000.0
    assert trial.cost(1_000.0) < other.cost(1_000.0)
    trial.in_flight = 1
    assert trial.cost(1_000.0) > other.cost(1_000.0)


@given(NAMES, st.text())
def test_a_key_belongs_to_the_same_one_whatever_the_order(names: list[str], key: str) -> None:
    pool = Pool(map(instance, names))
    assert pool.of_key(key).name == Pool(map(instance, reversed(names))).of_key(key).name


@given(NAMES, st.text(), st.integers(0))
def test_who_goes_moves_no_keys_but_its_own(names: list[str], key: str, who: int) -> None:
    gone = names[who % len(names)]
    before = Pool(map(instance, names)).of_key(key).name
    left = [name for name in names if name != gone]
    if left and before != gone:
        assert Pool(map(instance, left)).of_key(key).name == before


def test_keys_are_spread_by_weight() -> None:
    pool = Pool([instance("a", weight=300), instance("b", weight=100)])
    counted = Counter(pool.of_key(str(number)).name for number in range(CALLS))
    assert counted["b"] == pytest.approx(CALLS / 4, rel=0.1)


def test_those_nearby_are_preferred_until_they_are_busy() -> None:
    near, far = instance("near", latency=0.05), instance("far")
    chance = random.Random(3).random
    assert nearest(Pool([near]), Pool([far]), 0.0, chance) is near
    near.in_flight = SPILL_IN_FLIGHT
    assert nearest(Pool([near]), Pool([far]), 0.0, chance) is far
    far.in_flight = 100 * SPILL_IN_FLIGHT
    assert nearest(Pool([near]), Pool([far]), 0.0, chance) is near


def test_where_nobody_is_near_the_far_are_asked() -> None:
    far = instance("far")
    assert nearest(Pool([]), Pool([far]), 0.0, random.Random(3).random) is far


def test_some_can_be_left_out() -> None:
    one, other = instance("a"), instance("b")
    assert Pool([one, other]).without([one]).members == (other,)
    assert len(Pool([one]).without([one])) == 0
