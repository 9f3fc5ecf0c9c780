"""How long to wait, and when to give up."""

import asyncio

import pytest
from hypothesis import given, strategies as st

from hanse.delivery.pause import pause
from hanse.delivery.retry import (
    DELAY_SECONDS_MAX,
    HOPELESS,
    OUTAGE_SECONDS_MAX,
    HandlerFailed,
    Terminal,
    is_final,
    next_delay,
)
from hanse.kernel.faults import Fault, Invalid, Malformed, NotFound, Overloaded, Unavailable

ATTEMPTS = st.integers(1, 10_000)
DRAWS = st.floats(0, 1)


@given(ATTEMPTS, DRAWS)
def test_no_wait_is_longer_than_the_limit(attempt: int, draw: float) -> None:
    assert 0.0 <= next_delay(attempt, HandlerFailed("g", "c", "p"), draw) <= DELAY_SECONDS_MAX


@given(ATTEMPTS, DRAWS)
def test_whoever_was_away_is_soon_asked_again(attempt: int, draw: float) -> None:
    assert 0.0 <= next_delay(attempt, Unavailable("nobody is there"), draw) <= OUTAGE_SECONDS_MAX


@given(ATTEMPTS, DRAWS)
def test_later_attempts_never_wait_less(attempt: int, draw: float) -> None:
    assert next_delay(attempt, ValueError(), draw) <= next_delay(attempt + 1, ValueError(), draw)


@given(ATTEMPTS, DRAWS, st.floats(0.1, 1e6))
def test_a_fault_gets_the_rest_that_it_asks_for(attempt: int, draw: float, after: float) -> None:
    assert next_delay(attempt, Overloaded("the limit", after), draw) >= after
    assert next_delay(attempt, HandlerFailed("g", "c", "p", after), draw) >= after


def test_the_first_retry_comes_at_once() -> None:
    assert next_delay(1, ValueError(), 1.0) == 0.0


@pytest.mark.parametrize("fault", [Terminal("no"), Malformed("no"), Invalid("no", [])])
def test_what_no_retry_can_help_is_final_at_once(fault: Fault) -> None:
    assert isinstance(fault, HOPELESS)
    assert is_final(1, fault, 5)


@given(ATTEMPTS, ATTEMPTS)
def test_anything_else_is_final_after_the_last_attempt(attempt: int, attempts_max: int) -> None:
    assert is_final(attempt, NotFound("order", "1"), attempts_max) == (attempt >= attempts_max)


@pytest.mark.virtual_time
async def test_a_pause_ends_early_when_it_is_time_to_stop() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_later(5.0, stopping.set)
    assert await pause(stopping, 60.0)
    assert asyncio.get_running_loop().time() == 5.0
    assert not await pause(asyncio.Event(), 60.0)
