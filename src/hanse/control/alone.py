"""Whether a release that is asked everything fails more than the one before it did: there is nobody beside it any more.

This is the weaker comparison: what changed may be the world, and not the release. So it takes twice as many failures
as the old release had, and one in a hundred at the least, before it says anything; and then the way back is short.

The evidence is that of a mixture of rates above what is borne against that rate, which never rises above `1 / a` with a
chance of more than `a`, however often it is looked at (Ville 1939; Wald 1947).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log, log1p

import msgspec

from hanse.control.signal import Signal
from hanse.control.window import Outcomes, Window, total

TIMES = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times what is borne a rate may be; each is given the same chance beforehand."""

RATE_MAX = 0.99
"""The highest rate that is looked at."""

BORNE_TIMES = 2.0
"""How many times as often as the old release the new one may fail."""

BORNE_MIN = 0.01
"""The part that may fail, however well the old release did."""

BORNE_MAX = 0.9
"""And the most: who fails nearly always can hardly get worse."""

DOUBT = 100.0
"""Requests of the old release that count as one failure, so that few are not taken for proof."""

EVIDENCE = 1_000.0
"""From which on it is believed."""

WINDOW_MAX = 20.0
"""Failures of one window that count in full: what fails at once has one cause."""


class Alone(msgspec.Struct, frozen=True):
    """What came of requests that only one release was asked.

    Attributes:
        old, old_failed: Requests of the old release, and failures, since the rollout began.
        new, new_failed: Those of the new one while the old one had none; of a burst, a part.
    """

    old: float = 0.0
    old_failed: float = 0.0
    new: float = 0.0
    new_failed: float = 0.0

    def after(self, window: Window) -> Alone:
        """With one more window."""
        old = total(_each(both.old.values() for both in window.routes.values()))
        known = Alone(self.old + old.asked, self.old_failed + old.failed, self.new, self.new_failed)
        if old.asked:
            return known
        new = total(_each(both.new.values() for both in window.routes.values()))
        part = min(1.0, WINDOW_MAX / new.failed) if new.failed else 1.0
        return msgspec.structs.replace(
            known, new=self.new + new.asked * part, new_failed=self.new_failed + new.failed * part
        )

    @property
    def borne(self) -> float:
        """The part of its requests that the new release may fail."""
        return min(BORNE_MAX, max(BORNE_MIN, BORNE_TIMES * (self.old_failed + 1.0) / (self.old + DOUBT)))

    @property
    def worse(self) -> float:
        """The evidence that it fails more than that; 1 for none.

        Example:
            >>> Alone(old=5_000, old_failed=5, new=100, new_failed=0).worse < 1.0
            True
            >>> Alone(old=5_000, old_failed=5, new=40, new_failed=20).worse > 1_000.0
            True
        """
        known = [self._under(min(RATE_MAX, times * self.borne)) for times in TIMES]
        return sum(exp(min(one, 700.0)) for one in known) / len(known)

    def signals(self) -> Iterable[Signal]:
        """What it speaks against the release."""
        if self.worse >= EVIDENCE:
            before = f"{self.old_failed:.0f} of {self.old:.0f}" if self.old else "nobody knows how many"
            yield Signal(
                "alone",
                f"{self.new_failed:.0f} of {self.new:.0f} requests failed since it is asked alone; "
                f"{before} of the old release's before",
            )

    def _under(self, rate: float) -> float:
        """The logarithm of how likely it is under a rate, as against what is borne."""
        borne, well = self.borne, self.new - self.new_failed
        return self.new_failed * log(rate / borne) + well * (log1p(-rate) - log1p(-borne))


def _each(outcomes: Iterable[Iterable[Outcomes]]) -> Iterable[Outcomes]:
    for some in outcomes:
        yield from some
