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

from hanse.kernel.host import Host
from hanse.store.postgresql.link import Dialer, Link, hang_up
from hanse.store.sql import identifier, literal

_log = logging.getLogger("hanse.store.postgresql")

LOOK_SECONDS = 2.0
"""How often the newest position is looked at by who hears news."""

LOOK_SECONDS_DEAF = 0.2
"""How often by who does not."""

TELL_SECONDS = 0.005
"""Between two notifications of one process at least: one stands for all commits in between."""


@final
class News:
    """Tells and hears of commits to one store."""

    def __init__(self, dialer: Dialer, schema: str, host: Host, heard: Callable[[], None]) -> None:
        """Know nothing yet.

        Args:
            dialer: Makes the connection.
            schema: Of the store.
            host: Its clock, and an id for this process.
            heard: Told that others have committed.
        """
        self._dialer = dialer
        self._place = identifier(schema)
        self._channel = f"hanse_{blake2b(schema.encode(), digest_size=8).hexdigest()}"
        self._own = host.new_id()
        self._host = host
        self._heard = heard
        self._head = 0
        self._due = asyncio.Event()
        self._asked = False
        self._answered = False
        self._why = ""

    def tell(self, head: int) -> None:
        """This process has committed up to a position."""
        self._head = max(self._head, head)
        self._due.set()

    async def run(self) -> None:
        """Tell and hear, until cancelled."""
        while True:
            try:
                await self._on_one(await self._dialer.dial())
            except Exception as error:  # noqa: BLE001 - it is told once, and tried again
                if not self._why:
                    _log.warning("no news of the store %s: %s; looking again", self._dialer.place, error)
                self._why = str(error)
            await asyncio.sleep(max(self._dialer.pause(), LOOK_SECONDS_DEAF))

    async def _on_one(self, link: Link) -> None:
        try:
            if not self._dialer.pooled:
                # A pooler would have somebody else hear it, or nobody, though it may bring back what was told here.
                await link.add_listener(self._channel, self._hear)
            self._asked = self._answered = False
            # Whether it comes back tells whether anything would.
            await self._notify(link)
            await self._look(link)
            while True:
                await self._follow(link)
        finally:
            with suppress(Exception):
                await hang_up(link)

    async def _follow(self, link: Link) -> None:
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
        said = literal(f"{self._own} {self._head}")
        # Nothing is kept of it, so nothing has to be flushed to a disk.
        _ = await link.execute(
            f"BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify('{self._channel}', {said}); COMMIT"
        )
        self._asked = True

    async def _look(self, link: Link) -> None:
        found = await link.fetch(f"SELECT head FROM {self._place}.state")
        self._see(cast("int", found[0][0]))
        self._why = ""

    def _hear(self, _link: object, _process: int, _channel: str, said: object) -> None:
        self._answered = True
        own, _, head = str(said).partition(" ")
        if own != self._own and head.isdecimal():
            self._see(int(head))

    def _see(self, head: int) -> None:
        if head > self._head:
            self._head = head
            self._heard()
