"""Answers to copies of requests, judged: what is missing or of another kind, beside what varies by itself."""

from __future__ import annotations

import random  # noqa: TID251 - draws from a seed
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.control.edge_mirror import Heard, Pair, Pairs
from hanse.control.judged import copied, judgement_of, looked
from hanse.control.matched import EVIDENCE, FIELDS_MAX, Matched, fields_broken, without_placebo
from hanse.control.plan import mirror
from hanse.control.window import Window

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
Answers = Callable[[random.Random], Heard]


def heard(value: object, status: int = 200, kind: str = "application/json") -> Heard:
    return Heard(status=status, type=kind, body=msgspec.json.encode(value))


def pair(told: Heard, other: Heard, *, placebo: bool = False, route: str = "/orders") -> Pair:
    return Pair(
        service="orders",
        route=route,
        method="GET",
        target=f"{route}/7",
        trace_id="ab",
        release="1",
        mirror="1" if placebo else "2",
        told=told,
        copied=other,
    )


def after(old: Answers, new: Answers, *, seed: int, seconds: int = 60, each: int = 4) -> tuple[float, float]:
    """When it is known, or below 0; and the most evidence that there ever was; at four looks a second."""
    chance, known, most = random.Random(seed), Matched(), 0.0
    for look in range(4 * seconds):
        pairs = list[Pair]()
        for _ in range(each):
            placebo = chance.random() < 0.25
            pairs.append(pair(old(chance), (old if placebo else new)(chance), placebo=placebo))
        known = known.after(pairs, look / 4.0)
        most = max(most, known.worse)
        if most >= EVIDENCE:
            return look / 4.0, most
    return -1.0, most


def order(chance: random.Random, **more: object) -> dict[str, object]:
    """What comes and goes by itself: an id that is a number or none, a note that is there now and then."""
    told: dict[str, object] = {"id": chance.choice([chance.random(), None]), "price": 3, "lines": [{"of": "tea"}]}
    return told | ({"note": "soon"} if chance.random() < 0.5 else {}) | more


def good(chance: random.Random) -> Heard:
    return heard(order(chance))


def lacking(chance: random.Random) -> Heard:
    told = order(chance)
    del told["price"]
    return heard(told)


def failing(chance: random.Random) -> Heard:
    return heard(order(chance), 500 if chance.random() < 0.05 else 200)


BROKEN: dict[str, Answers] = {
    "a field is missing": lacking,
    "a field is of another kind": lambda chance: heard(order(chance, price="3")),
    "a field of items is missing": lambda chance: heard(order(chance, lines=[{}])),
    "another status": lambda chance: heard(order(chance), 201),
    "no answer": lambda chance: Heard(problem="its server went away"),
    "another media type": lambda chance: heard(order(chance), kind="text/html"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_breaks_answers_is_known_within_twenty_seconds(how: str) -> None:
    for seed in range(10):
        at, _ = after(good, BROKEN[how], seed=seed)
        assert 5.0 <= at <= 20.0, "one burst alone is not believed"


def test_a_field_that_comes_half_as_often_is_known_too() -> None:
    rarely: Answers = lambda chance: heard(order(chance) if chance.random() < 0.5 else {"id": 1, "lines": []})  # noqa: E731
    assert all(after(good, rarely, seed=seed)[0] > 0.0 for seed in range(10))


@pytest.mark.parametrize("both", [good, failing], ids=["fields that vary", "answers that fail"])
def test_what_the_old_release_does_to_itself_is_held_against_nobody(both: Answers) -> None:
    assert all(after(both, both, seed=seed)[0] < 0.0 for seed in range(40))


def test_a_release_that_says_more_breaks_nothing() -> None:
    assert all(after(good, lambda chance: heard(order(chance, extra=1)), seed=seed)[0] < 0.0 for seed in range(10))


def test_without_answers_of_the_old_release_to_itself_nothing_is_known() -> None:
    known = Matched()
    for second in range(200):
        known = known.after([pair(heard({"a": 1}), heard({}))] * 10, float(second))
    assert known == Matched(pending=known.pending)


@given(value=VALUES, other=VALUES)
def test_no_answer_breaks_itself_and_one_that_has_more_breaks_nothing(value: object, other: object) -> None:
    assert fields_broken(pair(heard(value), heard(value))) == set()
    assert fields_broken(pair(heard({"a": value}), heard({"a": value, "b": other}))) == set()
    assert fields_broken(pair(heard({"a": value, "b": other}), heard({"a": value}))) == {"body.b"}


def test_an_answer_that_failed_says_nothing_of_the_other() -> None:
    assert fields_broken(pair(heard({}, 503), heard({}))) is None
    assert fields_broken(pair(Heard(problem="the client did not get it whole"), heard({}))) is None
    assert fields_broken(pair(heard({"a": 1}, 404), heard({"b": 1}, 404))) == set()


def test_what_is_no_json_is_not_looked_into() -> None:
    one, other = (Heard(status=200, type="text/plain; charset=utf-8", body=body) for body in (b"\xff", b"{"))
    assert fields_broken(pair(one, other)) == set()
    assert (
        fields_broken(pair(heard({"a": 1}), Heard(status=200, type="application/json", body=b"{", cut=True))) == set()
    )
    assert fields_broken(pair(heard({"a": 1}), heard({"a": 1}, kind="application/json; charset=utf-8"))) == set()


def test_fields_are_bounded_and_what_is_known_is_stored_and_read_again() -> None:
    known = Matched()
    many = {str(number): 1 for number in range(3 * FIELDS_MAX)}
    for second in range(30):
        placebo = pair(heard(many), heard(many), placebo=True)
        known = known.after([placebo, pair(heard(many), heard({}))], float(second))
    assert sum(map(len, known.fields.values())) == FIELDS_MAX
    assert msgspec.json.decode(msgspec.json.encode(known), type=Matched) == known


def test_the_rollout_goes_back_and_says_why() -> None:
    known, plan, chance = judgement_of("r1"), mirror(1), random.Random(1)
    for second in range(1, 20):
        pairs = tuple(pair(good(chance), good(chance), placebo=True) for _ in range(3))
        pairs += tuple(pair(good(chance), lacking(chance)) for _ in range(9))
        known, verdict = looked(copied(known, Pairs(pairs=pairs), second), Window(float(second)), 0, plan, alone=False)
    assert known.mirrored.pairs == 19 * 9, "those of the old release with itself are not told as the new one's"
    assert verdict.decision == "roll_back"
    assert verdict.reason.startswith("body.price of /orders is missing or of another kind in ")
    assert without_placebo(pairs) == pairs[3:]
