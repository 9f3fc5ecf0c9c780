import math

import pytest

from hanse.kernel.context import Context, ambient, current
from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, Headers, Identity, Kind, Message


def test_outside_any_story_there_is_nothing_to_tag() -> None:
    with pytest.raises(Misdeclared, match=r"add them in a handler, or under `with node.context\(\):`"):
        current().tag(booking_ref="ABC123")
    assert current().tags == {}


def test_tags_add_up_and_leave_earlier_headers_alone() -> None:
    earlier = Headers(tags={"a": "1"})
    context = Context(Host.fixed(wall=0.0, seed=1), earlier)
    context.tag(b="2")
    context.tag(a="3")
    assert context.tags == {"a": "3", "b": "2"}
    assert earlier.tags == {"a": "1"}


def test_work_in_the_background_says_so_for_all_that_it_calls() -> None:
    context = Context(Host.fixed(wall=0.0, seed=1), Headers(tags={"a": "1"}))
    context.background()
    assert context.headers == Headers(tags={"a": "1"}, priority=BACKGROUND)
    with pytest.raises(Misdeclared, match="a priority belongs to a story"):
        current().background()


def test_time_left_is_counted_on_the_host() -> None:
    host = Host.fixed(wall=0.0, seed=1)
    assert Context(host).time_left() == math.inf
    assert Context(host, deadline=2.5).time_left() == 2.5


def test_who_asks_is_known_or_anonymous() -> None:
    context = Context(Host.fixed(wall=0.0, seed=1), Headers(identity=Identity("ada")))
    assert context.identity.subject == "ada"
    assert not context.identity.anonymous
    assert Identity().anonymous


def test_code_deep_inside_finds_the_context_it_runs_in() -> None:
    context = Context(Host.fixed(wall=0.0, seed=1), operation="orders.place")
    token = ambient.set(context)
    try:
        assert current().operation == "orders.place"
    finally:
        ambient.reset(token)


def test_a_message_under_other_headers_is_the_same_otherwise() -> None:
    message = Message(Kind.CALL, "1", "orders.place", 2.0, body=b"x")
    again = message.with_headers(Headers(key="k"))
    assert (again.id, again.address, again.timeout) == ("1", "orders.place", 2.0)
    assert (again.body, again.headers.key) == (b"x", "k")
