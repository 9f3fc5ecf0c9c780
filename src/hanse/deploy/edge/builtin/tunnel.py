"""A connection on which both sides have agreed to another protocol, such as WebSocket: bytes, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from hanse.deploy.edge.builtin.asker import Asker
from hanse.deploy.edge.builtin.upstream import Upstream


@final
class Tunnel:
    """Hands on what each side says, until neither says anything more.

    Attributes:
        moved: When something last went either way, on the loop's clock.
    """

    def __init__(self, asker: Asker, upstream: Upstream, over: Callable[[], None]) -> None:
        """Nothing has gone through it.

        Args:
            asker: The client's side.
            upstream: The server's.
            over: Told when it is over, before its connections are closed.
        """
        self._asker = asker
        self._upstream = upstream
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._ended_up = self._ended_down = False
        self.moved: float = self._loop.time()

    def up(self, data: bytes) -> None:
        """The client says something."""
        self.moved = self._loop.time()
        if self._upstream.alive:
            self._upstream.write([data])

    def down(self, data: bytes) -> None:
        """See `Switched`."""
        self.moved = self._loop.time()
        self._asker.write(data)

    def asker_eof(self) -> bool:
        """The client sends nothing more; whether its connection stays open, as the server may still say something."""
        self._ended_up = True
        self._upstream.write_eof()
        return self._stays()

    def upstream_eof(self) -> bool:
        """See `Switched`."""
        self._ended_down = True
        self._asker.end_writing()
        return self._stays()

    def upstream_lost(self) -> None:
        """The server's connection is gone."""
        self._over()
        self._asker.over(keep=False)

    def _stays(self) -> bool:
        """Whether a side may say something yet; else it is over."""
        if not (self._ended_up and self._ended_down):
            return True
        self._over()
        self._upstream.close()
        self._asker.over(keep=False)
        return False
