"""The supervisor's end of what it says to the keeper, and hears of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import final

from hanse.deploy.keeper_words import News, Order, Words, encoded, news_of


@final
class KeeperLink(asyncio.Protocol):
    """See the module. Orders take effect in the order in which they are said.

    Args of the constructor:
        hear: Told of all news.
        lost: Told when the keeper has hung up.
    """

    def __init__(self, hear: Callable[[News], None], lost: Callable[[], None]) -> None:
        self._hear = hear
        self._lost = lost
        self._words = Words()
        self._transport: asyncio.WriteTransport | None = None

    async def open(self, end: socket.socket) -> None:
        """Talk over this end of a pair of sockets."""
        end.setblocking(False)  # noqa: FBT003 - its name says what it is
        _ = await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def say(self, *orders: Order) -> None:
        """Have the keeper do something; nobody hears it where it has gone."""
        if self._transport is not None:
            self._transport.write(b"".join(map(encoded, orders)))

    def close(self) -> None:
        """Hang up, once what was said is written."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        for line in self._words.feed(data):
            self._hear(news_of(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._transport = None
        self._lost()
