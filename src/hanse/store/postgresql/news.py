"""How one process hears that others have committed: `LISTEN`, on a connection of its own, and a look now and then.

Who commits tells so afterwards, from here: PostgreSQL lets one transaction of a whole database notify at a time, so
that a commit that did it itself would wait for those of other services. News that get lost, with a process that was
killed or in a pooler that swallows them, are made up for by looking at the newest position. How often, depends on
whether this process hears at least itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import cast, final

from hanse.store.postgresql.link import Dialer, Link, hang_up
from hanse.store.remote.hearing import LOOK_SECONDS, LOOK_SECONDS_DEAF, Hearing
from hanse.store.sql import identifier, literal

_log = logging.getLogger("hanse.store.postgresql")

TELL_SECONDS = 0.005
"""Between two notifications of one process at least: one stands for all commits in between."""


@final
class News:
    """Tells and hears of commits to one store."""

    def __init__(self, dialer: Dialer, schema: str, heard: Callable[[], None]) -> None:
        """Know nothing yet.

        Args:
            dialer: Makes the connection.
            schema: Of the store.
            heard: Told that others have committed.
        """
        self._dialer = dialer
        self._place = identifier(schema)
        self._channel = f"hanse_{blake2b(schema.encode(), digest_size=8).hexdigest()}"
        self._host = dialer.reach.host
        self._own = self._host.new_id()
        self._hearing = Hearing(dialer.reach, _log, heard)
        self._due = asyncio.Event()
        self._asked = False
        self._answered = False

    def tell(self, head: int) -> None:
        """This process has committed up to a position."""
        self._hearing.told(head)
        self._due.set()

    async def run(self) -> None:
        """Tell and hear, until cancelled."""
        await self._hearing.run(self._follow)

    async def _follow(self) -> None:
        link = await self._dialer.dial()
        try:
            if not self._dialer.pooled:
                # A pooler would have somebody else hear it, or nobody, though it may bring back what was told here.
                await link.add_listener(self._channel, self._hear)
            self._asked = self._answered = False
            # Whether it comes back tells whether anything would.
            await self._notify(link)
            await self._look(link)
            while True:
                await self._until_a_look(link)
        finally:
            with suppress(Exception):
                await hang_up(link)

    async def _until_a_look(self, link: Link) -> None:
        """Tell what there is to tell, until it is time for a look."""
        pooled = self._dialer.pooled
        deaf = pooled or (self._asked and not self._answered)
        until = self._host.monotonic() + (LOOK_SECONDS_DEAF if deaf else LOOK_SECONDS)
        self._asked = self._answered = False
        while (left := until - self._host.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    _ = await self._due.wait()
            if self._due.is_set():
                self._due.clear()
                await self._notify(link)
                await asyncio.sleep(TELL_SECONDS)
        if deaf and not pooled:
            await self._notify(link)
        await self._look(link)

    async def _notify(self, link: Link) -> None:
        said = literal(f"{self._own} {self._hearing.head}")
        # Nothing is kept of it, so nothing has to be flushed to a disk.
        _ = await link.execute(
            f"BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify('{self._channel}', {said}); COMMIT"
        )
        self._asked = True

    async def _look(self, link: Link) -> None:
        found = await link.fetch(f"SELECT head FROM {self._place}.state")
        self._hearing.see(cast("int", found[0][0]))
        self._hearing.well()

    def _hear(self, _link: object, _process: int, _channel: str, said: object) -> None:
        self._answered = True
        own, _, head = str(said).partition(" ")
        if own != self._own and head.isdecimal():
            self._hearing.see(int(head))
