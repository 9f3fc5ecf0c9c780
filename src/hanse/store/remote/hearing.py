"""How far one process knows the log of a store to have come, and who is told when others got it further."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import final

from hanse.store.remote.reach import Reach

LOOK_SECONDS = 2.0
"""How often the newest position is looked at by who hears news."""

LOOK_SECONDS_DEAF = 0.2
"""How often by who does not; and after which it is tried again to hear, at the least."""


@final
class Hearing:
    """Listens for as long as a store is open, whatever breaks.

    Attributes:
        head: The newest position that this process knows of.
    """

    def __init__(self, reach: Reach, log: logging.Logger, heard: Callable[[], None]) -> None:
        """Know of nothing yet.

        Args:
            reach: To the server.
            log: Told once when there are no news.
            heard: Told that others have committed.
        """
        self.head: int = 0
        self._reach = reach
        self._log = log
        self._heard = heard
        self._why = ""

    def told(self, head: int) -> None:
        """This process has committed up to a position."""
        self.head = max(self.head, head)

    def see(self, head: int) -> None:
        """The log has come to a position, whoever brought it there."""
        if head > self.head:
            self.head = head
            self._heard()

    def well(self) -> None:
        """News come through."""
        self._why = ""

    async def run(self, follow: Callable[[], Awaitable[None]]) -> None:
        """Hear, until cancelled.

        Args:
            follow: Hears until something breaks, which it raises.
        """
        while True:
            try:
                await follow()
            except Exception as error:  # noqa: BLE001 - it is told once, and tried again
                if not self._why:
                    self._log.warning("no news of the store %s: %s; looking again", self._reach.place, error)
                self._why = str(error) or type(error).__name__
            await asyncio.sleep(max(self._reach.pause(), LOOK_SECONDS_DEAF))
