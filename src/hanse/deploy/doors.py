"""The doors of a system, as one: the edge, for those outside, and the egress, by which its programs find each other.

A revision is seen when both show it, and an instance idle when neither has anything under way there; so whoever stops
one needs to know of no second door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from hanse.control.edge_figures import Figures, merged
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Engine
from hanse.deploy.edge_seat import EdgeSeat
from hanse.kernel.faults import Fault


@final
class Doors:
    """See the module.

    Args of the constructor:
        edge: What stands at the edge; None for nothing.
        egress: What programs of the system ask for each other; None for nothing.
        seen: Told of each revision that is in force at both.
        say: Told what is wrong.
    """

    def __init__(
        self, edge: Engine | None, egress: Engine | None, seen: Callable[[int], None], say: Callable[[str], None]
    ) -> None:
        self._seen = seen
        self._shown = [0, 0]
        self.edge: EdgeSeat = EdgeSeat(edge, lambda revision: self._showed(0, revision), say)
        self.egress: EdgeSeat = EdgeSeat(egress, lambda revision: self._showed(1, revision), say, "egress")
        self._say = say

    def _showed(self, which: int, revision: int) -> None:
        before = min(self._shown)
        self._shown[which] = revision
        if min(self._shown) > before:
            self._seen(min(self._shown))

    @property
    def url(self) -> str:
        """Where those outside knock; empty where there is no edge."""
        return self.edge.url

    async def start(self, *, inside: bool) -> None:
        """Start both, or take those over that run.

        Args:
            inside: Whether anybody asks the egress.

        Raises:
            CouldNotStart: The edge cannot be started. An egress that cannot is tried again with each table.
        """
        await self.edge.start()
        if inside:
            try:
                await self.egress.start()
            except Fault as fault:
                self._say(f"egress: {fault}")

    def show(self, outer: Table, inner: Table | None) -> None:
        """Have both show tables of one revision.

        Args:
            outer: That of the edge.
            inner: That of the egress; None where nobody would ask it.
        """
        self.edge.show(outer)
        # One that nobody ever asked is not started.
        if inner is not None or self.egress.url:
            self.egress.show(inner or Table(revision=outer.revision))
        else:
            self._showed(1, outer.revision)

    def again(self) -> None:
        """Show the tables once more: one of them may have been started anew."""
        self.edge.again()
        self.egress.again()

    async def keep(self) -> None:
        """Keep both as they should be; never returns."""
        _ = await asyncio.gather(self.edge.keep(), self.egress.keep())

    async def idle(self, instance: str, seconds: float) -> bool:
        """Wait until nothing is in flight at an instance, at most so long; whether that is so."""
        return all(await asyncio.gather(self.edge.idle(instance, seconds), self.egress.idle(instance, seconds)))

    async def figures(self) -> Figures:
        """What both have counted.

        Raises:
            Unavailable: One is away.
        """
        outer = await self.edge.figures()
        return merged(outer, await self.egress.figures()) if self.egress.url else outer

    async def pairs(self) -> Pairs:
        """Answers to copies of requests at both.

        Raises:
            Unavailable: One is away.
        """
        outer = await self.edge.pairs()
        inner = await self.egress.pairs() if self.egress.url else Pairs()
        return Pairs(pairs=outer.pairs + inner.pairs, dropped=outer.dropped + inner.dropped)

    async def stop(self, grace: float) -> None:
        """End both: the edge first, as what it has under way may ask for neighbours."""
        await self.edge.stop(grace)
        await self.egress.stop(grace)
