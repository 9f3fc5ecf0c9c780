"""When something runs that runs again and again: pure, so that years of it are tested in a moment."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from hanse.kernel.cron import Cron

LATE_SECONDS = 60.0
"""How late a moment is run that passed while nobody was there, and at most half a period; what is older is missed."""

TURNED_BACK_SECONDS = 3 * 3600.0
"""How far a clock on the wall may be turned back, and no moment runs twice; one that goes further was wrong before."""

MISSED_MAX = 1_000
"""How many moments that passed are counted."""


class Upcoming(NamedTuple):
    """What a schedule goes on with.

    Attributes:
        moment: When it runs next, in seconds of the wall clock; it may have passed just now.
        missed: How many moments passed before.
        is_begun: Whether the schedule begins anew with it: now counts as its last moment.
    """

    moment: float
    missed: int = 0
    is_begun: bool = False


class Timetable(Protocol):
    """The moments of a schedule."""

    @property
    def is_steady(self) -> bool:
        """Whether its moments go by the time that passes, whatever is done to the clock on the wall."""
        ...

    def first(self, last: float, now: float) -> Upcoming:
        """What to begin with.

        Args:
            last: The last moment that was run; 0 for none.
            now: Seconds of the wall clock.
        """
        ...

    def following(self, first: float, moment: float, now: float) -> Upcoming:
        """What comes after a moment that was run.

        Args:
            first: The moment with which the schedule began here.
            moment: The one that was run.
            now: Seconds of the wall clock.
        """
        ...


class Period(NamedTuple):
    """Once in so many seconds, from the first time that it was there.

    Example:
        >>> Period(600.0).first(0.0, 100.0).moment, Period(600.0).first(100.0, 400.0).moment
        (700.0, 700.0)
        >>> [Period(600.0).first(100.0, now)[:2] for now in (705.0, 900.0, 1905.0)]
        [(700.0, 0), (1300.0, 1), (1900.0, 2)]
    """

    seconds: float

    @property
    def is_steady(self) -> bool:
        """It goes by the time that passes."""
        return True

    def first(self, last: float, now: float) -> Upcoming:
        """See `Timetable.first`. A last moment further ahead than a period is of a clock that was wrong: none."""
        if last <= 0.0 or last > now + self.seconds:
            return Upcoming(now + self.seconds, is_begun=True)
        following = next_run(last, self.seconds, now)
        passed = round((following - last) / self.seconds) - 1
        latest = following - self.seconds
        if passed and now - latest <= min(LATE_SECONDS, self.seconds / 2):
            return Upcoming(latest, passed - 1)
        return Upcoming(following, passed)

    def following(self, first: float, moment: float, now: float) -> Upcoming:
        """Counted from the first, so that nothing adds up that is rounded."""
        following = next_run(first, self.seconds, now)
        return Upcoming(following, round((following - moment) / self.seconds) - 1)


class ByCron(NamedTuple):
    """At the moments of a cron expression.

    Example:
        >>> daily = ByCron(Cron("0 4 * * *"))
        >>> hour, day = 3600.0, 86400.0
        >>> daily.first(0.0, hour).moment / hour  # it begins at one o'clock
        4.0
        >>> daily.first(4 * hour, 3 * day).missed  # nobody was there for three days
        2
    """

    cron: Cron

    @property
    def is_steady(self) -> bool:
        """It goes by the clock on the wall."""
        return False

    def first(self, last: float, now: float) -> Upcoming:
        """See `Timetable.first`. A last moment hours ahead is of a clock that was wrong, and counts as none."""
        if last <= 0.0 or last > now + TURNED_BACK_SECONDS:
            return Upcoming(self.cron.after(now), is_begun=True)
        return self._after(last, now)

    def following(self, first: float, moment: float, now: float) -> Upcoming:
        """The next that has not run; one that passed a moment ago is run late."""
        del first
        return self.first(moment, now)

    def _after(self, last: float, now: float) -> Upcoming:
        upcoming, passed = self.cron.after(last), 0
        while upcoming <= now and passed <= MISSED_MAX:
            upcoming, passed = self.cron.after(upcoming), passed + 1
        if not passed:
            return Upcoming(upcoming)
        latest, upcoming = self.cron.until(now), self.cron.after(now)
        if now - latest <= min(LATE_SECONDS, (upcoming - latest) / 2):
            return Upcoming(latest, passed - 1)
        return Upcoming(upcoming, min(passed, MISSED_MAX))


def next_run(start: float, period: float, now: float) -> float:
    """The first moment after now that is `start` and a whole number of periods, at least one.

    Example:
        >>> next_run(100.0, 60.0, 100.0), next_run(100.0, 60.0, 160.0), next_run(100.0, 60.0, 285.5)
        (160.0, 220.0, 340.0)
    """
    following = start + (math.floor(max(0.0, now - start) / period) + 1) * period
    # Rounding may have put it on the moment that has just come.
    return following if following > now else following + period
