"""Connections for reads: a few, shared by all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from hanse.kernel.faults import Overloaded
from hanse.kernel.tasks import Tasks
from hanse.store.postgresql.failures import LostError, is_lost, raise_meaning
from hanse.store.postgresql.link import Dialer, Link, Record, hang_up
from hanse.store.waiting import closed

READS_MAX = 10_000
"""Reads that wait for a connection at once; more are refused as `Overloaded`."""

LEAVING_MAX = 100
"""Connections over which a read was given up, and whose server is asked to stop; those beyond are cut."""


@final
class Pool:
    """Reads, each on one of the connections."""

    def __init__(self, dialer: Dialer, limit: int) -> None:
        """Have no connection yet.

        Args:
            dialer: Makes them.
            limit: Connections at most.
        """
        self._dialer = dialer
        self._idle: list[Link] = []
        self._free = asyncio.Semaphore(limit)
        self._busy: set[Link] = set()
        self._leaving = Tasks(lambda _: None, limit=LEAVING_MAX)
        self._waiting = 0
        self._closed = False

    async def fetch(
        self, statement: str, values: Sequence[object] = (), *, seconds: float | None = None
    ) -> Sequence[Record]:
        """Read.

        Args:
            statement: That changes nothing, as it may be run again.
            values: That it binds.
            seconds: For which it may take; None for the usual.

        Raises:
            Unavailable: The server is away.
            Malformed: It cannot take a value.
            Overloaded: `READS_MAX` wait already.
        """
        if self._closed:
            raise closed()
        if self._waiting >= READS_MAX:
            raise Overloaded(f"the limit of {READS_MAX} reads waiting for the store")
        self._waiting += 1
        try:
            async with self._free:
                return await self._tried(statement, values, seconds)
        finally:
            self._waiting -= 1

    async def _tried(self, statement: str, values: Sequence[object], seconds: float | None) -> Sequence[Record]:
        worn = bool(self._idle)
        try:
            return await self._once(statement, values, seconds)
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            # What was new is broken for another reason, and what took too long would again.
            if not worn or isinstance(error, TimeoutError) or not is_lost(error):
                raise_meaning(error, self._dialer.place)
        # Whatever broke one that had been idle, such as a restart of the server, broke the others too.
        while self._idle:
            self._idle.pop().terminate()
        try:
            return await self._once(statement, values, seconds)
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            raise_meaning(error, self._dialer.place)

    async def _once(self, statement: str, values: Sequence[object], seconds: float | None) -> Sequence[Record]:
        link = self._idle.pop() if self._idle else await self._dialer.dial()
        self._busy.add(link)
        try:
            return await link.fetch(statement, *values, timeout=seconds)
        except (asyncio.CancelledError, TimeoutError):
            self._busy.discard(link)
            self._leave(link)
            raise
        except Exception as error:
            if link.is_closed():
                raise LostError(str(error)) from error
            raise
        finally:
            if link in self._busy:
                self._busy.discard(link)
                self._keep(link)

    def _keep(self, link: Link) -> None:
        if self._closed:
            # It was made while the others were ended.
            link.terminate()
        elif not link.is_closed():
            self._idle.append(link)

    def _leave(self, link: Link) -> None:
        """Let go of it once the server was asked to stop, over another connection; at once, it would go on."""
        try:
            _ = self._leaving.start(hang_up(link), name="hanse-store-leaving")
        except Overloaded:
            link.terminate()

    async def close(self) -> None:
        """End all connections; reads that are under way fail."""
        self._closed = True
        for link in self._busy:
            link.terminate()
        while self._idle:
            with suppress(Exception):
                await hang_up(self._idle.pop())
        await self._leaving.cancel()
