"""The supervisor's hold of the edge: keeps it running, shows it the newest table, and says what it has taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Engine
from hanse.kernel.faults import Fault, Misconfigured, Unavailable

AGAIN_SECONDS = 0.2
"""Between two tries to reach an edge, or to start one anew."""


@final
class EdgeSeat:
    """See the module.

    Args of the constructor:
        engine: What stands there; None for no edge, of which everything is taken at once.
        seen: Told of each revision that is in force.
        say: Told what is wrong.
        name: What it is called there.
    """

    def __init__(
        self, engine: Engine | None, seen: Callable[[int], None], say: Callable[[str], None], name: str = "edge"
    ) -> None:
        self._engine = engine
        self._seen = seen
        self._say = say
        self._name = name
        self._table: Table | None = None
        self._changed = asyncio.Event()
        self._said = ""
        self.url: str = ""

    @property
    def mirrors(self) -> bool:
        """Whether nothing is missed of copies of requests: the edge makes them, or there is none."""
        return self._engine is None or self._engine.features.mirrors

    async def start(self) -> None:
        """Start the edge, or take one over that runs.

        Raises:
            CouldNotStart: It cannot be started, such as where its port is taken.
        """
        if self._engine is not None:
            self.url = await self._engine.start()

    def show(self, table: Table) -> None:
        """Have it show a table; whatever was not shown yet is passed over."""
        self._table = table
        self._changed.set()

    def again(self) -> None:
        """Show the table once more: the edge may have been started anew."""
        self._changed.set()

    async def keep(self) -> None:
        """Show tables as they come, and start the edge anew where it has ended; never returns."""
        while True:
            _ = await self._changed.wait()
            self._changed.clear()
            table = self._table
            if table is not None and await self._shown(table):
                self._seen(table.revision)

    async def _shown(self, table: Table) -> bool:
        if self._engine is None:
            return True
        try:
            await self._engine.apply(table)
        except Misconfigured as fault:
            self._complain(str(fault))
            return False
        except Unavailable:
            await self._restart()
            return False
        self._said = ""
        return True

    async def _restart(self) -> None:
        assert self._engine is not None
        try:
            self.url = await self._engine.start()
        except Fault as fault:
            self._complain(str(fault))
            await asyncio.sleep(AGAIN_SECONDS)
        self._changed.set()

    async def idle(self, instance: str, seconds: float) -> bool:
        """Wait until nothing is in flight at an instance, at most so long; whether that is so."""
        if self._engine is None:
            return True
        try:
            return await self._engine.drained(instance, seconds)
        except Unavailable:
            # With an edge that has gone, all that was in flight there has gone.
            return True

    async def figures(self) -> Figures:
        """What the edge has counted; nothing, where there is none.

        Raises:
            Unavailable: It is away.
        """
        return Figures(since=0.0, revision=0) if self._engine is None else await self._engine.figures()

    async def pairs(self) -> Pairs:
        """Answers to copies of requests; none, where there is no edge.

        Raises:
            Unavailable: It is away.
        """
        return Pairs() if self._engine is None else await self._engine.pairs()

    async def stop(self, grace: float) -> None:
        """End the edge."""
        if self._engine is not None:
            await self._engine.stop(grace)

    def _complain(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            self._say(f"{self._name}: {problem}")
