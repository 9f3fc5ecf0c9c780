"""Who is suspected, by whom, and until when they may refute it."""

from __future__ import annotations

import msgspec

from hanse.transport.members.rhythm import CONFIRMATIONS, Rhythm


class Suspicion(msgspec.Struct):
    """A member that is suspected.

    Attributes:
        since: When it was first heard.
        by: The places of those who suspect it.
        ends_at: When it is given up.
    """

    since: float
    by: set[int]
    ends_at: float


class Suspicions:
    """The suspicions that one member has heard of, its own among them.

    Example:
        >>> suspicions = Suspicions(Rhythm())
        >>> suspicions.heard("a", by=1, others=1, now=0.0), suspicions.heard("a", by=1, others=1, now=0.5)
        (True, False)
        >>> suspicions.due(1.5), suspicions.due(1.6)
        ([], ['a'])
    """

    __slots__ = ("_rhythm", "_suspicions")

    def __init__(self, rhythm: Rhythm) -> None:
        self._rhythm = rhythm
        self._suspicions: dict[str, Suspicion] = {}

    def __contains__(self, instance: object) -> bool:
        return instance in self._suspicions

    def __len__(self) -> int:
        return len(self._suspicions)

    def heard(self, instance: str, by: int, others: int, now: float) -> bool:
        """Somebody suspects a member; whether that is news.

        Args:
            instance: The member.
            by: Place of whoever does.
            others: Members that could suspect it, too.
            now: The time.
        """
        suspicion = self._suspicions.get(instance)
        if suspicion is None:
            suspicion = self._suspicions[instance] = Suspicion(now, set(), 0.0)
        elif by in suspicion.by or len(suspicion.by) > CONFIRMATIONS:
            return False
        suspicion.by.add(by)
        suspicion.ends_at = suspicion.since + self._rhythm.suspicion_seconds(others, len(suspicion.by) - 1)
        return True

    def named(self, instance: str) -> bool:
        """Whether somebody is known who suspects a member."""
        suspicion = self._suspicions.get(instance)
        return suspicion is not None and bool(suspicion.by)

    def warned(self, instance: str, now: float) -> bool:
        """Others have given up a member that nobody was heard to suspect; whether that is news.

        It may refute that for a moment: what is told so may be left from a partition that has healed.
        """
        if instance in self._suspicions:
            return False
        self._suspicions[instance] = Suspicion(now, set(), now + self._rhythm.suspicion_min / 2)
        return True

    def hurry(self, instance: str) -> None:
        """There is more than silence against a member, such as a connection that broke."""
        suspicion = self._suspicions[instance]
        suspicion.ends_at = min(suspicion.ends_at, suspicion.since + self._rhythm.suspicion_min)

    def clear(self, instance: str) -> None:
        """A member is suspected no more."""
        self._suspicions.pop(instance, None)

    def due(self, now: float) -> list[str]:
        """Those who have not refuted it in time."""
        return [instance for instance, suspicion in self._suspicions.items() if suspicion.ends_at <= now]

    def shift(self, seconds: float) -> None:
        """Time in which nothing could be heard does not count."""
        for suspicion in self._suspicions.values():
            suspicion.since += seconds
            suspicion.ends_at += seconds
