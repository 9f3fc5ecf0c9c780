"""Durations as people write them: `"10m"`, `"50ms"`, a `timedelta`, or plain seconds."""

from __future__ import annotations

import re
from datetime import timedelta

from hanse.kernel.faults import Misdeclared

Duration = str | float | timedelta
"""`"90s"`, `"1h30m"`, 90, 90.0 or `timedelta(seconds=90)`."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def seconds(duration: Duration) -> float:
    """The length in seconds.

    Raises:
        Misdeclared: It is not a duration, or not a positive one.

    Example:
        >>> seconds("1h30m"), seconds("50ms"), seconds(2)
        (5400.0, 0.05, 2.0)
    """
    if isinstance(duration, timedelta):
        length = duration.total_seconds()
    elif isinstance(duration, str):
        parts = _PART.findall(duration)
        if not parts or "".join(number + unit for number, unit in parts) != duration.replace(" ", ""):
            msg = f"expected a duration such as '10m', '50ms' or '1h30m', got {duration!r}"
            raise Misdeclared(msg)
        length = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif isinstance(duration, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance] - declarations are checked
        length = float(duration)
    else:
        msg = f"expected a duration such as '10m', seconds or a timedelta, got {duration!r}"
        raise Misdeclared(msg)
    # Not the other way round: a comparison with "not a number" is always false.
    if not length > 0:
        msg = f"expected a duration above zero, got {duration!r}"
        raise Misdeclared(msg)
    return length
