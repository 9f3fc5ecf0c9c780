import pytest
from hypothesis import given, strategies as st

from hanse.kernel.message import Headers, Identity
from hanse.kernel.route import Condition, Route, Rule
from hanse.mesh.routes import Way, release_for, value_of, way_for

OFFERED = frozenset({"1.4", "1.5"})
CANARY = Route((Rule({"1.4": 95, "1.5": 5}),))
HEADERS = Headers(
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tags={"beta": "yes"},
    identity=Identity("ada", "acme"),
    extra={"x-plan": "gold"},
)


def story(number: int) -> Headers:
    return Headers(correlation_id=f"story-{number}")


@pytest.mark.parametrize(
    ("of", "value"),
    [("subject", "ada"), ("tenant", "acme"), ("tag.beta", "yes"), ("header.x-plan", "gold"), ("tag.x", ""), ("x", "")],
)
def test_what_a_call_carries_is_found_by_name(of: str, value: str) -> None:
    assert value_of(HEADERS, of) == value


def test_the_first_rule_whose_conditions_all_hold_decides() -> None:
    both = (Condition("tenant", "acme"), Condition("tag.beta", "yes"))
    route = Route((Rule({"1.5": 1}, both), Rule({"1.4": 1})))
    assert release_for(route, HEADERS, OFFERED, 0.0) == "1.5"
    assert release_for(route, Headers(identity=HEADERS.identity), OFFERED, 0.0) == "1.4"


def test_where_no_rule_holds_any_release_may_answer() -> None:
    assert release_for(Route((Rule({"1.5": 1}, (Condition("tenant", "x"),)),)), HEADERS, OFFERED, 0.0) == ""
    assert release_for(Route(), HEADERS, OFFERED, 0.0) == ""


def test_stories_are_shared_by_weight_and_each_stays_together() -> None:
    drawn = [release_for(CANARY, story(number), OFFERED, number / 10_000) for number in range(10_000)]
    assert drawn.count("1.5") == pytest.approx(500, rel=0.15)
    assert drawn == [release_for(CANARY, story(number), OFFERED, 0.5) for number in range(10_000)]


def test_calls_of_no_story_are_drawn() -> None:
    drawn = [release_for(CANARY, Headers(), OFFERED, number / 10_000) for number in range(10_000)]
    assert drawn.count("1.5") == pytest.approx(500, rel=0.15)


def test_a_trace_is_a_story_too() -> None:
    half = Route((Rule({"1.4": 1, "1.5": 1}),))
    assert len({release_for(half, HEADERS, OFFERED, draw / 100) for draw in range(100)}) == 1


def test_who_has_the_new_release_keeps_it_as_its_share_grows() -> None:
    more = Route((Rule({"1.4": 80, "1.5": 20}),))
    few = {number for number in range(2_000) if release_for(CANARY, story(number), OFFERED, 0.0) == "1.5"}
    many = {number for number in range(2_000) if release_for(more, story(number), OFFERED, 0.0) == "1.5"}
    assert few < many


def test_what_it_sticks_to_decides_and_not_the_story() -> None:
    route = Route((Rule({"1.4": 1, "1.5": 1}),), sticks_to="tenant")
    acme = {
        release_for(route, Headers(identity=Identity("ada", "acme"), correlation_id=str(number)), OFFERED, 0.0)
        for number in range(50)
    }
    assert len(acme) == 1


@given(st.sampled_from(["1.4", "1.5", "1.6"]), st.floats(0, 1, exclude_max=True))
def test_a_story_stays_with_its_release_where_that_is_offered(release: str, draw: float) -> None:
    chosen = release_for(CANARY, Headers(release=release), OFFERED, draw)
    assert chosen == release if release in OFFERED else chosen in OFFERED


@given(st.dictionaries(st.sampled_from(["1.4", "1.5", "1.6", "1.7"]), st.integers(-1, 100)), st.text())
def test_only_what_is_offered_and_has_a_share_is_chosen(weights: dict[str, int], key: str) -> None:
    chosen = release_for(Route((Rule(weights),)), Headers(correlation_id=key), OFFERED, 0.0)
    possible = {name for name, weight in weights.items() if weight > 0 and name in OFFERED}
    assert chosen in possible if possible else chosen == ""


def test_what_belongs_to_an_instance_is_its_key() -> None:
    assert way_for(Route(belongs_to="tenant"), HEADERS, OFFERED, 0.0) == Way(key="acme")
