"""Times of day and days of the week as `cron` writes them: `30 4 * * mon-fri`."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

import msgspec

from hanse.kernel.faults import Misdeclared


class Cron(msgspec.Struct, frozen=True):
    """The moments of a cron expression in a time zone, as Debian's cron has them.

    What falls into the hour that a clock skips in spring runs right after it; what falls into the hour that comes twice
    in autumn runs once, unless it runs in every hour.

    Attributes:
        expression: Five fields: minute, hour, day of the month, month, day of the week.
        zone: Name of the zone, of the IANA's time zone database.
    """

    expression: str
    zone: str = "UTC"

    def after(self, moment: float) -> float:
        """The first moment after one; both in seconds of the wall clock.

        Example:
            >>> at = datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp()
            >>> moment = Cron("30 2 * * *", "Europe/Berlin").after(at)
            >>> datetime.fromtimestamp(moment, UTC).isoformat()  # that night the clock goes from 2 to 3
            '2027-03-28T01:00:00+00:00'
        """
        return self._next(moment, backwards=False)

    def until(self, moment: float) -> float:
        """The last moment that is not after one."""
        # A search backwards begins before the second that it is given.
        return self._next(math.floor(moment) + 1.0, backwards=True)

    def shown(self, moment: float) -> datetime:
        """A moment as clocks in the zone show it.

        Example:
            >>> Cron("30 2 * * *", "Europe/Berlin").shown(1_700_000_000.0).isoformat()
            '2023-11-14T23:13:20+01:00'
        """
        return datetime.fromtimestamp(moment, _zone(self.zone))

    def _next(self, moment: float, *, backwards: bool) -> float:
        from cronsim import CronSim

        begin = datetime.fromtimestamp(moment, _zone(self.zone))
        return next(CronSim(self.expression, begin, reverse=backwards)).timestamp()


def checked_cron(expression: str, zone: str = "UTC") -> Cron:
    """The moments of an expression.

    Raises:
        Misdeclared: It is no cron expression, no moment fits it, or the zone is not known; or what reads it is not
            installed.

    Example:
        >>> checked_cron("0 9 * * mon-fri", "Europe/Berlin")
        Cron(expression='0 9 * * mon-fri', zone='Europe/Berlin')
    """
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise Misdeclared("a cron expression needs another package: pip install 'hanse[standard]'") from None
    try:
        begin = datetime(2024, 1, 1, tzinfo=_zone(zone))
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise Misdeclared(f"expected the name of a time zone such as 'Europe/Berlin', got {zone!r}") from None
    if len(expression.split()) != _FIELDS:
        raise Misdeclared(f"expected five fields such as '30 4 * * mon-fri', got {expression!r}")
    try:
        _ = next(CronSim(expression, begin))
    except CronSimError as error:
        raise Misdeclared(
            f"expected a cron expression such as '30 4 * * mon-fri', got {expression!r}: {error}"
        ) from None
    except StopIteration:
        raise Misdeclared(f"no moment fits the cron expression {expression!r}") from None
    return Cron(expression, zone)


_FIELDS = 5


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # here, as it reads how Python was built, and few apps need it

    return ZoneInfo(name)
