"""How long answers took, in buckets: the same wherever latencies are kept, so that they can be added and compared."""

from __future__ import annotations

BOUNDS_MS = (
    *(1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 750.0),
    *(1_000.0, 1_500.0, 2_000.0, 3_000.0, 5_000.0, 7_500.0, 10_000.0, 30_000.0),
)
"""Upper ends of the buckets of latencies, in milliseconds; one more bucket is for all that took longer."""


def no_latencies() -> list[int]:
    """The buckets of what was never asked.

    Example:
        >>> len(no_latencies()) == len(BOUNDS_MS) + 1, sum(no_latencies())
        (True, 0)
    """
    return [0] * (len(BOUNDS_MS) + 1)
