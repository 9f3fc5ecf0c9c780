"""Retries, decided: whether, and after how long. Pure, so asking twice gives the same answer."""

from __future__ import annotations

import msgspec

from hanse.kernel.faults import DeadlineExceeded, Fault

RETRIES_MAX = 3
"""Tries of one call beyond the first."""

BUDGET_RATIO = 0.1
"""Retries that each first try pays for: together they add at most a tenth to the load."""

BUDGET_MAX = 10.0
"""Retries that may be saved up, for the quiet service whose tenth is nothing."""


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before try n: exponential, with full jitter, between limits (in seconds).

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    base: float = 0.02
    factor: float = 2.0
    limit: float = 2.0

    def delay(self, retry: int, draw: float) -> float:
        """Seconds before the n-th retry (from 1).

        Args:
            retry: Which retry this will be.
            draw: A number from 0 to 1, by chance.

        Example:
            >>> Backoff().delay(3, 1.0)
            0.08
        """
        return min(self.limit, self.base * self.factor ** (retry - 1)) * draw


class Budget:
    """Tokens for retries: first tries earn a fraction of one, each retry spends one."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens: float = BUDGET_MAX

    def earn(self) -> None:
        """A first try was made."""
        if self.tokens < BUDGET_MAX:
            self.tokens = min(BUDGET_MAX, self.tokens + BUDGET_RATIO)

    def spend(self) -> bool:
        """Take a token, if there is one."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


def next_delay(fault: Fault, retry: int, left: float, draw: float) -> float | None:
    """Seconds to wait before the n-th retry of an operation that may be repeated; None to give up.

    Args:
        fault: What the last try came to.
        retry: Which retry this would be, from 1.
        left: Seconds until the caller's deadline.
        draw: A number from 0 to 1, by chance.
    """
    if not fault.retryable or retry > RETRIES_MAX or isinstance(fault, DeadlineExceeded):
        return None
    delay = max(Backoff().delay(retry, draw), fault.retry_after or 0.0)
    return delay if delay < left else None
