"""What the edge counts while it works: figures for others, and what its own decisions ask."""

from __future__ import annotations

import asyncio
from typing import final

from hanse.control.edge_figures import Counts, Figures, Key
from hanse.deploy.edge.counted import Counted


@final
class Tally:
    """Counts by service, release, server and route, and what is under way at each server.

    Attributes:
        busy: Requests and tunnels under way, by server; none of it for those that have nothing.
    """

    def __init__(self, since: float) -> None:
        """Nothing was counted.

        Args:
            since: Seconds since 1970.
        """
        self.busy: dict[str, int] = {}
        self._since = since
        self._counted = Counted()
        self._turns: dict[tuple[str, str], int] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def of(self, service: str, release: str, server: str, route: str) -> Counts:
        """The counts of one key."""
        return self._counted.of(Key(service, release, server, route))

    def turn(self, service: str, release: str) -> int:
        """How many requests a pool had before this one."""
        key = service, release
        turn = self._turns.get(key, 0)
        self._turns[key] = turn + 1
        return turn

    def enter(self, server: str) -> None:
        """Something more is under way."""
        self.busy[server] = self.busy.get(server, 0) + 1

    def leave(self, server: str) -> None:
        """It is over."""
        left = self.busy[server] - 1
        if left:
            self.busy[server] = left
            return
        del self.busy[server]
        for waiter in self._waiting.pop(server, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def drained(self, server: str) -> None:
        """Wait until nothing is under way at a server."""
        while server in self.busy:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(server, []).append(waiter)
            await waiter

    def figures(self, revision: int, ejected: tuple[str, ...], kept: tuple[str, ...]) -> Figures:
        """All that was counted.

        Args:
            revision: Of the table in force.
            ejected: Servers that get nothing.
            kept: Servers that get something only because too many fail.
        """
        return Figures(
            since=self._since,
            revision=revision,
            lines=self._counted.lines(),
            in_flight=dict(self.busy),
            ejected=ejected,
            kept=kept,
        )
