"""Reads: all on one connection, which says what is asked as it comes and gives the answers in that order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import final

from hanse.kernel.faults import Overloaded
from hanse.kernel.resp import Script
from hanse.store.redis.failures import is_elsewhere, is_lost, raise_meaning
from hanse.store.redis.link import Dialer, Link
from hanse.store.waiting import closed

READS_MAX = 10_000
"""Reads under way at once; more are refused as `Overloaded`."""


@final
class Reader:
    """What reads of one process go through."""

    def __init__(self, dialer: Dialer) -> None:
        """Have no connection yet.

        Args:
            dialer: Makes it.
        """
        self._dialer = dialer
        self._link: Link | None = None
        self._dialing = asyncio.Lock()
        self._under_way = 0
        self._closed = False

    async def ask(self, *parts: bytes) -> object:
        """The reply to a command that changes nothing, as it may be asked again.

        Raises:
            Unavailable: The server is away.
            Malformed: It cannot take a value.
            Overloaded: `READS_MAX` are under way already.
        """
        return await self._tried(lambda link: link.ask(*parts))

    async def run(self, script: Script, keys: Sequence[bytes], *arguments: bytes) -> object:
        """What a script comes to that does no harm when it is run again. Raises as `ask`."""
        return await self._tried(lambda link: link.run(script, keys, *arguments))

    async def close(self) -> None:
        """End it; reads that are under way fail."""
        self._closed = True
        if self._link is not None:
            self._link.give_up("the store was closed")

    async def _tried(self, asked: Callable[[Link], Awaitable[object]]) -> object:
        if self._closed:
            raise closed()
        if self._under_way >= READS_MAX:
            raise Overloaded(f"the limit of {READS_MAX} reads under way in the store")
        self._under_way += 1
        try:
            worn = self._link
            try:
                return await asked(await self._ready())
            except Exception as error:  # noqa: BLE001 - it is raised as what it means
                self._look_at(error)
                # What was new is broken for another reason, and what took too long would again.
                if worn is None or isinstance(error, TimeoutError) or not (is_lost(error) or is_elsewhere(error)):
                    raise_meaning(error, self._dialer.place)
            try:
                return await asked(await self._ready())
            except Exception as error:  # noqa: BLE001 - it is raised as what it means
                raise_meaning(error, self._dialer.place)
        finally:
            self._under_way -= 1

    def _look_at(self, error: Exception) -> None:
        if is_elsewhere(error) and self._link is not None:
            self._link.give_up(str(error))

    async def _ready(self) -> Link:
        link = self._link
        if link is not None and self._is_good(link):
            return link
        async with self._dialing:
            if self._closed:
                raise closed()
            link = self._link
            if link is None or not self._is_good(link):
                if link is not None:
                    link.give_up("another server leads now")
                link = await self._dialer.dial()
                if self._closed:
                    link.give_up("the store was closed")
                    raise closed()
                self._link = link
            return link

    def _is_good(self, link: Link) -> bool:
        """Whether it is still there, and leads to the server that takes the writes."""
        return not link.is_closed and link.told.run == self._dialer.run
