"""How much of its share an instance gets while it is young, decided: caches are cold, and a compiler may have work.

It grows in a few steps, each of which is a table of the edge, and so for all engines the same.
"""

from __future__ import annotations

STEPS = 5
"""Tables from the first to the whole share."""

LEAST, WHOLE_WEIGHT = 10, 100
"""Weight of an instance that has just come, and of one that has been there for long."""


def weight_at(age: float, seconds: float) -> int:
    """What an instance weighs.

    Args:
        age: Seconds for which it has been ready.
        seconds: After which it has its whole share; 0 gives it at once.

    Example:
        >>> [weight_at(age, 10.0) for age in (0.0, 2.0, 4.0, 9.9, 10.0)]
        [10, 28, 46, 82, 100]
        >>> weight_at(0.0, 0.0)
        100
    """
    if age + _MOMENT >= seconds:
        return WHOLE_WEIGHT
    return LEAST + (WHOLE_WEIGHT - LEAST) * _step(age, seconds) // STEPS


def next_change(age: float, seconds: float) -> float | None:
    """The age at which it weighs more; None where it has its whole share.

    Example:
        >>> next_change(0.0, 10.0), next_change(2.0, 10.0), next_change(10.0, 10.0)
        (2.0, 4.0, None)
    """
    if age + _MOMENT >= seconds:
        return None
    return (_step(age, seconds) + 1) * seconds / STEPS


def _step(age: float, seconds: float) -> int:
    """How many steps it has made."""
    return int((max(age, 0.0) + _MOMENT) * STEPS / seconds)


_MOMENT = 1e-6
"""By which the difference of two moments may end short of what was added to the first."""
