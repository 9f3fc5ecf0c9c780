"""How one process hears that others have committed: a channel, on a connection of its own, and a look now and then.

Each commit tells of itself on the channel. News that get lost, while a connection is broken, are made up for by
looking at the newest position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import final

from hanse.store.redis.judge import absence, told_in
from hanse.store.redis.link import Dialer, Link
from hanse.store.remote.hearing import LOOK_SECONDS, Hearing

_log = logging.getLogger("hanse.store.redis")


@final
class News:
    """Hears of commits to one store."""

    def __init__(self, dialer: Dialer, own: str, heard: Callable[[], None]) -> None:
        """Know nothing yet.

        Args:
            dialer: Makes the connection.
            own: What this process calls itself in the news.
            heard: Told that others have committed.
        """
        self._dialer = dialer
        self._own = own.encode()
        self._hearing = Hearing(dialer.reach, _log, heard)

    def tell(self, head: int) -> None:
        """This process has committed up to a position; its own news say nothing new."""
        self._hearing.told(head)

    async def run(self) -> None:
        """Hear, until cancelled."""
        await self._hearing.run(self._follow)

    async def _follow(self) -> None:
        """Hear until the connection breaks. Raises what broke it."""
        link = await self._dialer.dial(self._pushed)
        try:
            _ = await link.ask(b"SUBSCRIBE", self._dialer.names.channel)
            while True:
                await self._look(link)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        _ = await link.wire.ended.wait()
        finally:
            link.give_up("no more news")

    async def _look(self, link: Link) -> None:
        head, info = await link.all((b"HGET", self._dialer.names.meta, b"head"), (b"INFO", b"replication"))
        # One that was set to follow another still answers who reads, with what it happens to have.
        if isinstance(info, bytes) and (why := absence(told_in(info, ""))):
            raise ConnectionError(why)
        if isinstance(head, bytes):
            self._hearing.see(int(head))
        self._hearing.well()

    def _pushed(self, push: list[object]) -> None:
        said = push[-1]
        if push[0] != b"message" or not isinstance(said, bytes):
            return
        own, _, head = said.partition(b" ")
        if own != self._own and head.isdigit():
            self._hearing.see(int(head))
