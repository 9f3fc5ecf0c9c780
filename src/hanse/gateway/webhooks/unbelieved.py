"""Webhooks that came and were not believed: counted by path and reason, and told in the log now and then.

Whoever sends forged ones sends many. So there is a line for the first of a path and reason, and one for all that came
in the minute after it, however many these were.
"""

from __future__ import annotations

import logging
from typing import final

from hanse.gateway.webhooks.verify import WebhookRefused

_log = logging.getLogger("hanse.webhooks")

TOLD_SECONDS = 60.0
"""From one line about a path and reason to the next."""


@final
class Unbelieved:
    """What was refused, at all paths of a gateway.

    Attributes:
        counts: How many, by path and reason. There are as many as were declared, whatever comes.

    Example:
        >>> unbelieved = Unbelieved()
        >>> for second in (0.0, 1.0):
        ...     unbelieved.add("/hooks/bank", WebhookRefused("no signature"), second)
        >>> unbelieved.counts
        {('/hooks/bank', 'forged'): 2}
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, path: str, fault: WebhookRefused, now: float) -> None:
        """Count one.

        Args:
            path: As it was declared.
            fault: Why.
            now: Second of a clock that never goes back.
        """
        key = path, fault.reason
        count = self.counts[key] = self.counts.get(key, 0) + 1
        at, then = self._told.get(key, (-TOLD_SECONDS, 0))
        if now - at >= TOLD_SECONDS:
            self._told[key] = now, count
            said = "webhooks at %s are refused as %s: %d since it was said last; the last one: %s"
            _log.warning(said, path, fault.reason, count - then, fault.why)
