"""Whether a release that is asked everything fails more than the one before it did: there is nobody beside it any more.

This is the weaker comparison: what changed may be the world, and not the release. So it takes twice as many failures
as the old release had, and one in a hundred at the least, before it says anything; and then the way back is short.

Only what comes while everything is the new release's is looked at, and of that only routes on which the old one answers
nothing any more. That it had nothing to answer for a moment, amid a step that shares requests, says nothing: whoever
waits for it then asks nobody else either, and those who are left may be the few for whom everything fails.

The evidence is that of a mixture of rates above what is borne against that rate, which never rises above `1 / a` with a
chance of more than `a`, however often it is looked at (Ville 1939; Wald 1947).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log, log1p

import msgspec

from hanse.control.signal import Signal
from hanse.control.window import Both, Outcomes, Window, folded, total

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

QUIET_SECONDS = 2.0
"""How long the old release has answered nothing on a route before the new one is alone there: messages are shared by
instances of both, whoever has the requests, and what the old one had begun it answers yet."""

ROUTES_MAX = 128
"""Routes that are looked at by themselves for that."""


class Alone(msgspec.Struct, frozen=True):
    """What came of requests that only one release was asked.

    Attributes:
        old, old_failed: Requests of the old release, and failures, since the rollout began.
        new, new_failed: Those of the new one where it is alone; of a burst, a part.
        shared_at: When the old one answered on a route last, in seconds since the rollout began; of those of late.
    """

    old: float = 0.0
    old_failed: float = 0.0
    new: float = 0.0
    new_failed: float = 0.0
    shared_at: dict[str, float] = {}

    def after(self, window: Window, *, alone: bool) -> Alone:
        """With one more window.

        Args:
            window: What came.
            alone: Whether all that is asked goes to the new release, as far as the platform has a say.
        """
        old = total(_each(both.old.values() for both in window.routes.values()))
        known = msgspec.structs.replace(self, old=self.old + old.asked, old_failed=self.old_failed + old.failed)
        if not alone:
            return msgspec.structs.replace(known, shared_at={})
        routes, at = folded(window.routes, self.shared_at, ROUTES_MAX), window.at
        shared = {name: last for name, last in self.shared_at.items() if at - last < QUIET_SECONDS}
        shared |= {name: at for name, both in routes.items() if _answers(both)}
        new = total(_each(both.new.values() for name, both in routes.items() if name not in shared))
        part = min(1.0, WINDOW_MAX / new.failed) if new.failed else 1.0
        return msgspec.structs.replace(
            known, new=self.new + new.asked * part, new_failed=self.new_failed + new.failed * part, shared_at=shared
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


def _answers(both: Both) -> bool:
    return any(one.asked for one in both.old.values())


def _each(outcomes: Iterable[Iterable[Outcomes]]) -> Iterable[Outcomes]:
    for some in outcomes:
        yield from some
