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

_log = logging.getLogger("hanse.store.redis")

LOOK_SECONDS = 2.0
"""How often the newest position is looked at."""

AGAIN_SECONDS = 0.2
"""After which it is tried again to hear, at the least."""


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
        self._heard = heard
        self._head = 0
        self._why = ""

    def tell(self, head: int) -> None:
        """This process has committed up to a position; its own news say nothing new."""
        self._head = max(self._head, head)

    async def run(self) -> None:
        """Hear, until cancelled."""
        while True:
            link: Link | None = None
            try:
                link = await self._dialer.dial(self._pushed)
                await self._follow(link)
            except Exception as error:  # noqa: BLE001 - it is told once, and tried again
                if not self._why:
                    _log.warning("no news of the store %s: %s; looking again", self._dialer.place, error)
                self._why = str(error) or "it was too slow"
            finally:
                if link is not None:
                    link.give_up("no more news")
            await asyncio.sleep(max(self._dialer.pause(), AGAIN_SECONDS))

    async def _follow(self, link: Link) -> None:
        """Hear until the connection breaks. Raises what broke it."""
        names = self._dialer.names
        _ = await link.ask(b"SUBSCRIBE", names.channel)
        while True:
            head, info = await link.all((b"HGET", names.meta, b"head"), (b"INFO", b"replication"))
            # One that was set to follow another still answers who reads, with what it happens to have.
            if isinstance(info, bytes) and (why := absence(told_in(info, ""))):
                raise ConnectionError(why)
            if isinstance(head, bytes):
                self._see(int(head))
            self._why = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    _ = await link.wire.ended.wait()

    def _pushed(self, push: list[object]) -> None:
        said = push[-1]
        if push[0] != b"message" or not isinstance(said, bytes):
            return
        own, _, head = said.partition(b" ")
        if own != self._own and head.isdigit():
            self._see(int(head))

    def _see(self, head: int) -> None:
        if head > self._head:
            self._head = head
            self._heard()
