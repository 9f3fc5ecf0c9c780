"""Several services released as one."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from hanse.control.plan import blue_green
from hanse.control.release_set import Member, ReleaseSet, in_order, next_of
from hanse.control.rollout import Rollout
from hanse.kernel.faults import Misconfigured

PLAN = blue_green(1, bake=5.0)


def member(service: str, *needs: str) -> Member:
    return Member(service=service, old="1", new="2", plan=PLAN, instances=1, needs=needs)


def rollout(service: str, **so: object) -> Rollout:
    row = Rollout(service=service, old="1", new="2", plan=PLAN, instances=1, kept_warm=True, state="stepping")
    return replace(row, **so)


def there(service: str) -> Rollout:
    return rollout(service, shown=True, watched=5.0)


SET = ReleaseSet(members=in_order([member("shop", "stock", "post"), member("stock", "post", "bank"), member("post")]))


def test_nobody_goes_before_what_it_calls() -> None:
    assert [one.service for one in SET.members] == ["post", "stock", "shop"]


@given(
    st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9)), max_size=10).map(
        lambda needs: [
            member(str(one), *(str(other) for other in others if other < one)) for one, others in needs.items()
        ]
    )
)
def test_orders_hold_for_any_set(members: list[Member]) -> None:
    gone: set[str] = set()
    names = {one.service for one in members}
    for one in in_order(members):
        assert set(one.needs) & names <= gone
        gone.add(one.service)
    assert gone == names


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([member("a", "b"), member("b", "a")], "in a circle: (a -> b -> a|b -> a -> b)"),
        ([member("a"), member("a")], "expected each service once, got a, a"),
    ],
)
def test_sets_without_an_order_are_refused(members: list[Member], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        in_order(members)


def test_one_that_was_ended_by_hand_stays_where_the_others_go_back() -> None:
    """There is nothing left that it could go back to, and a set that waits for that never ends."""
    known = {"post": rollout("post", state="done"), "stock": rollout("stock", state="rolling_back", why="no good")}
    doing = next_of(SET, known)
    assert (doing.row.state, doing.abort) == ("rolling_back", "")
    known["stock"] = replace(known["stock"], state="rolled_back")
    doing = next_of(doing.row, known)
    assert (doing.row.state, doing.abort) == ("rolled_back", "")
    assert doing.row.why == "stock: no good; post 2 had come to its end before, and stays"


def test_one_goes_after_the_other_and_all_end_together() -> None:
    known: dict[str, Rollout] = {}
    for name in ("post", "stock", "shop"):
        doing = next_of(SET, known)
        assert doing.begin is not None
        assert doing.begin.service == name
        known[name] = rollout(name)
        assert next_of(SET, known).begin is None
        known[name] = there(name)
    doing = next_of(SET, known)
    assert (doing.row.state, doing.end) == ("done", ("post", "stock", "shop"))
    assert next_of(doing.row, known).row is doing.row


@pytest.mark.parametrize("state", ["rolling_back", "rolled_back", "refused"])
def test_where_one_goes_back_all_do_the_last_one_first(state: str) -> None:
    known = {"post": there("post"), "stock": there("stock"), "shop": rollout("shop", state=state, why="500s")}
    doing = next_of(SET, known)
    assert (doing.row.state, doing.row.why) == ("rolling_back", "shop: 500s")
    known["shop"] = rollout("shop", state="rolled_back")
    back = ["stock", "post"]
    for name in back:
        doing = next_of(doing.row, known)
        assert doing.abort == name
        known[name] = rollout(name, state="rolling_back")
        assert next_of(doing.row, known).abort == ""
        known[name] = rollout(name, state="rolled_back")
    doing = next_of(doing.row, known)
    assert (doing.row.state, doing.row.why) == ("rolled_back", "shop: 500s")
