"""Which of several instances is asked, decided: the lighter of two drawn by chance, the one of a key, one nearby.

Two choices: to compare two that were drawn keeps the loads nearly as even as to compare all, and does not send all
callers to the one that looked best a moment ago. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load
Balancing", IEEE Transactions on Parallel and Distributed Systems, 2001.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Container, Iterable
from itertools import accumulate, permutations

from hanse.mesh.instance import Instance
from hanse.mesh.rendezvous import score

SPILL_IN_FLIGHT = 32
"""Calls under way to a near instance from which on those of other zones are compared with it."""

PAIRED_MAX = 16
"""Instances of which all pairs are kept, as one draw is faster than two."""

Draw = Callable[[], float]
"""Gives a number from 0 up to, not including, 1."""


class Pool:
    """Instances that share calls by their weights.

    Attributes:
        members: The instances, in order of their names.
    """

    __slots__ = ("_pairs", "_sums", "_total", "members")

    def __init__(self, members: Iterable[Instance]) -> None:
        """Take instances of a weight above 0."""
        self.members: tuple[Instance, ...] = tuple(sorted(members, key=_name))
        weights = [instance.said.weight for instance in self.members]
        # Where all weigh the same, which is usual, a draw needs no search.
        self._sums: list[int] | None = list(accumulate(weights)) if len(set(weights)) > 1 else None
        self._total = sum(weights)
        few = self._sums is None and len(weights) <= PAIRED_MAX
        # Two that differ, in one draw.
        self._pairs = tuple(permutations(self.members, 2)) if few else ()

    def __len__(self) -> int:
        return len(self.members)

    def lighter_of_two(self, now: float, draw: Draw) -> Instance:
        """Draw two, and take the lighter; the only one, where there are no two."""
        members = self.members
        size = len(members)
        if size == 1:
            return members[0]
        if self._pairs:
            one, other = self._pairs[int(draw() * len(self._pairs))]
        elif self._sums is None:
            # The second is drawn from the others.
            first = int(draw() * size)
            second = int(draw() * (size - 1))
            one, other = members[first], members[second + (second >= first)]
        else:
            # The same may be drawn twice: it has its share of calls even where it is never the lighter one.
            one = members[bisect(self._sums, draw() * self._total)]
            other = members[bisect(self._sums, draw() * self._total)]
        return other if other.cost(now) < one.cost(now) else one

    def of_key(self, key: str) -> Instance:
        """The one that a key belongs to: each has keys by its weight, and keeps them as others come and go.

        Example:
            >>> from hanse.transport.discovery import Announcement
            >>> pool = Pool(Instance(Announcement(name, "")) for name in "abc")
            >>> pool.of_key("42") is pool.of_key("42")
            True
        """
        return max(self.members, key=lambda one: score(key, one.name, one.said.weight))

    def without(self, avoided: Container[Instance]) -> Pool:
        """The same without some; perhaps nobody is left."""
        return Pool(instance for instance in self.members if instance not in avoided)


def nearest(near: Pool, far: Pool, now: float, draw: Draw) -> Instance:
    """One of the own zone; one of the others where there is none, or where the near one is busy and the other lighter.

    Args:
        near: Those of the own zone.
        far: All others; the two are not both empty.
        now: The moment.
        draw: Chance.
    """
    if not near:
        return far.lighter_of_two(now, draw)
    chosen = near.lighter_of_two(now, draw)
    if not far or chosen.in_flight < SPILL_IN_FLIGHT:
        return chosen
    other = far.lighter_of_two(now, draw)
    return other if other.cost(now) < chosen.cost(now) else chosen


def _name(instance: Instance) -> str:
    return instance.name
