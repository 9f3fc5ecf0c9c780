"""Log entries as messages, and dead letters that tell failures apart."""

import msgspec
import pytest

from hanse.delivery.deadletter import failed_letter, place_of
from hanse.delivery.outbox import FAILING_SINCE, Topic, failing_since, message_of, taken
from hanse.kernel.message import BACKGROUND, Headers, Kind, Message
from hanse.store.base import Entry, Op

CONTEXT = Headers(
    traceparent="t",
    tags={"booking": "ABC"},
    causation_id="c",
    correlation_id="s",
    attempt=3,
    extra={FAILING_SINCE: "1.0", "x-other": "y"},
)
ENTRY = Entry(1, 0.0, Op.EMITTED, "placed", "", "m1", None, b"{}", 0, CONTEXT)
TOPIC = Topic("placed", emitted=True)


def boom() -> None:
    raise ValueError("boom")


def failure() -> ValueError:
    with pytest.raises(ValueError, match="boom") as caught:
        boom()
    return caught.value


def test_a_message_keeps_the_story_and_leaves_out_the_failures_before_it() -> None:
    headers = message_of(taken(ENTRY, TOPIC), 1.0).headers
    assert (headers.traceparent, headers.tags, headers.causation_id) == ("t", {"booking": "ABC"}, "c")
    assert (headers.correlation_id, headers.attempt, headers.extra) == ("s", 1, {"x-other": "y"})
    assert headers.priority == BACKGROUND


def test_a_topic_may_have_its_own_address_and_type() -> None:
    topic = Topic("orders", emitted=False, address="on/mailer", type="order", version="2")
    message = message_of(taken(ENTRY, topic), 1.0, producer="shop/1/a")
    headers = message.headers
    assert (message.address, headers.type, headers.version) == ("on/mailer", "order", "2")
    assert headers.producer == "shop/1/a"


@pytest.mark.parametrize(("told", "since"), [({}, None), ({FAILING_SINCE: "?"}, None), ({FAILING_SINCE: "2.5"}, 2.5)])
def test_the_first_failure_is_known_where_the_sender_tells_it(told: dict[str, str], since: float | None) -> None:
    assert failing_since(Message(Kind.EVENT, "m", "a", headers=Headers(extra=told))) == since


def test_the_same_failure_of_other_messages_has_the_same_fingerprint() -> None:
    one, other = (message_of(taken(msgspec.structs.replace(ENTRY, message_id=id), TOPIC), 1.0) for id in ("a", "b"))
    letters = [failed_letter("mailer", message, failure(), id="1", now=0.0) for message in (one, other)]
    assert letters[0].fingerprint == letters[1].fingerprint
    other_error = failed_letter("mailer", one, KeyError("boom"), id="1", now=0.0)
    assert other_error.fingerprint != letters[0].fingerprint


def test_the_place_of_a_failure_is_the_users_innermost_function() -> None:
    assert place_of(failure().__traceback__) == "test_outbox.py:boom"
    assert place_of(None) == ""
