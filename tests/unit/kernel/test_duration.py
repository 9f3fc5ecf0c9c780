import math
from datetime import timedelta
from typing import cast

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misdeclared


@pytest.mark.parametrize("wrong", ["", "10", "s", "10 parsecs", "1h-3m", "-5s", "1e3s"])
def test_what_is_no_duration_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(Misdeclared, match=r"expected a duration such as '10m'.*got"):
        seconds(wrong)


@pytest.mark.parametrize("wrong", [0, -1.5, "0s", timedelta(0), math.nan])
def test_what_lasts_no_time_is_refused(wrong: Duration) -> None:
    with pytest.raises(Misdeclared, match="above zero"):
        seconds(wrong)


def test_what_is_neither_text_nor_number_is_refused() -> None:
    with pytest.raises(Misdeclared, match=r"seconds or a timedelta, got \[\]"):
        seconds(cast("Duration", []))


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_parts_add_up(hours: int, minutes: int, rest: int) -> None:
    expected = hours * 3600 + minutes * 60 + rest
    assert seconds(f"{hours}h{minutes}m{rest}s") == seconds(f"{hours}h {minutes}m {rest}s") == expected
    assert seconds(timedelta(hours=hours, minutes=minutes, seconds=rest)) == expected
    assert seconds(expected) == expected
