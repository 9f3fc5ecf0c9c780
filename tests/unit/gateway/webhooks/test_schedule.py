"""What is done about a webhook follows from its answer and from how often it was tried."""

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.webhooks.schedule import (
    ATTEMPTS_MAX,
    DELAYS_SECONDS,
    JITTER,
    RETRY_AFTER_SECONDS_MAX,
    Answer,
    Delivered,
    GivenUp,
    Later,
    retry_after_of,
    verdict,
)

answers = st.builds(Answer, st.one_of(st.just(0), st.integers(100, 599)), st.just("x"), st.floats(0, 1e9))


@given(answers, st.integers(1, ATTEMPTS_MAX + 3), st.floats(0, 1))
def test_each_answer_leads_on_or_to_an_end(answer: Answer, attempt: int, draw: float) -> None:
    match verdict(answer, attempt, draw):
        case Delivered():
            assert 200 <= answer.status < 300
        case GivenUp(end=end):
            assert end == (answer.status == 410)
            assert end or attempt >= ATTEMPTS_MAX
        case Later(seconds=seconds):
            assert (
                DELAYS_SECONDS[attempt - 1]
                <= seconds
                <= max(DELAYS_SECONDS[attempt - 1] * (1 + JITTER), RETRY_AFTER_SECONDS_MAX)
            )


def test_tries_go_on_for_more_than_three_days() -> None:
    assert sum(DELAYS_SECONDS) > 3 * 86_400


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure(status: int) -> None:
    assert isinstance(verdict(Answer(status), 1, 0.0), Later)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_that_has_too_much_is_left_alone_as_long_as_it_asks(status: int) -> None:
    assert verdict(Answer(status, retry_after=90.0), 1, 0.0) == Later(90.0, pause=True)
    assert verdict(Answer(status, retry_after=1.0), 1, 0.0) == Later(5.0, pause=True)


def test_another_failure_may_ask_for_nothing() -> None:
    assert verdict(Answer(500, retry_after=90.0), 1, 0.0) == Later(5.0)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "soon", "Thu, 99 Jan 1970", "٣"])
def test_a_wait_that_cannot_be_read_is_none(text: str) -> None:
    assert retry_after_of(text, 0.0) == 0.0


def test_a_wait_is_no_longer_than_a_day_and_never_before_now() -> None:
    assert retry_after_of("9" * 400, 0.0) == RETRY_AFTER_SECONDS_MAX
    assert retry_after_of("Fri, 31 Dec 9999 23:59:59 GMT", 0.0) == RETRY_AFTER_SECONDS_MAX
    assert retry_after_of("Thu, 01 Jan 1970 00:00:00 GMT", 1e9) == 0.0
