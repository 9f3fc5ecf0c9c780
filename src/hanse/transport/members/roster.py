"""Who is there, as one member knows it: a ring of members with their prints, and the tombs of those that have gone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from hanse.kernel.host import Host
from hanse.transport.members.datagram import Span
from hanse.transport.members.record import PLACES, Member, Tomb

MEMBERS_MAX = 4096
"""Members that are known at once; whoever comes beyond is passed over."""

TOMBS_MAX = 4096
"""Tombs that are kept; the oldest makes room."""

TOMB_SECONDS = 3600.0
"""How long it is remembered that a member has gone: longer than anybody goes on telling that it lives."""

WHOLE = Span(0, PLACES)
"""All of the ring."""


class Roster:
    """The members of a cluster, the own one among them.

    They stand on a ring, by the digest of their names. So everybody has another neighbour to watch, and two compare
    what they know by halves and quarters of it.

    Attributes:
        members: By instance.
        tombs: By instance, the oldest first.
        print: Of all members: where those of two are the same, they know the same.
    """

    __slots__ = ("_names", "_places", "members", "print", "tombs")

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.tombs: dict[str, Tomb] = {}
        self.print: int = 0
        self._places: list[int] = []
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self.members)

    def put(self, member: Member) -> None:
        """Take a member in, or what is newer of it; its tomb is opened."""
        instance = member.record.instance
        before = self.members.get(instance)
        if before is None:
            at = bisect_left(self._places, member.place)
            self._places.insert(at, member.place)
            self._names.insert(at, instance)
            self.tombs.pop(instance, None)
        self.print ^= member.print ^ (before.print if before else 0)
        self.members[instance] = member

    def remove(self, instance: str) -> Member | None:
        """Take a member out; None where there is none."""
        member = self.members.pop(instance, None)
        if member is not None:
            self.print ^= member.print
            at = self._names.index(instance, bisect_left(self._places, member.place))
            del self._places[at], self._names[at]
        return member

    def bury(self, tomb: Tomb) -> None:
        """Remember that somebody has gone."""
        self.tombs.pop(tomb.record.instance, None)
        if len(self.tombs) >= TOMBS_MAX:
            del self.tombs[next(iter(self.tombs))]
        self.tombs[tomb.record.instance] = tomb

    def forget(self, now: float) -> None:
        """Open the tombs that are old enough."""
        while self.tombs:
            oldest = next(iter(self.tombs.values()))
            if oldest.until > now:
                return
            del self.tombs[oldest.record.instance]

    def after(self, place: int) -> Iterator[Member]:
        """All members in the order of the ring, from behind a place on."""
        at = bisect_left(self._places, place + 1)
        for name in (*self._names[at:], *self._names[:at]):
            yield self.members[name]

    def some(self, count: int, host: Host, *but: str) -> list[Member]:
        """So many members by chance, at most, none of them one of `but`."""
        wanted = min(count + len(but), len(self._names))
        drawn = host.chance.sample(range(len(self._names)), wanted)
        names = [name for at in drawn if (name := self._names[at]) not in but]
        return [self.members[name] for name in names[:count]]

    def within(self, start: int, end: int) -> list[Member]:
        """The members that stand in a part of the ring, in order."""
        low, high = bisect_left(self._places, start), bisect_left(self._places, end)
        return [self.members[name] for name in self._names[low:high]]

    def span(self, start: int, end: int) -> Span:
        """A part of the ring, with the print and the number of those that stand there."""
        members = self.within(start, end)
        found = 0
        for member in members:
            found ^= member.print
        return Span(start, end, found, len(members))

    def split(self, span: Span, parts: int) -> tuple[Span, ...]:
        """A part of the ring in smaller parts."""
        step = max(1, (span.end - span.start) // parts)
        cuts = [*range(span.start, span.end, step)][:parts]
        return tuple(self.span(low, high) for low, high in zip(cuts, [*cuts[1:], span.end], strict=True))
