"""Waits for requests, on a socket of its own: whoever has the time asks for some, so one that is slow takes fewer.

The server gives each request to the one that has waited for the longest. What is taken is not there any more: whoever
asked is told who works on it, and notices when that one dies; so no request is done twice by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast, final

from hanse.kernel.resp import Wire, command

_log = logging.getLogger("hanse.transport.redis")

TAKEN_MAX = 32
"""Requests that are taken at once: few, so that instances share them evenly."""

WAIT_SECONDS = 1
"""For which the server lets a node wait until it says that there is nothing."""

_WAIT = b"%d" % WAIT_SECONDS
_TAKEN = b"%d" % TAKEN_MAX
_TIME = command(b"TIME")


@final
class Pull:
    """Takes requests from some lists, as long as there is a connection.

    Attributes:
        keys: Of the lists.
        wire: The socket, while there is one.
    """

    def __init__(self, wake: bytes, took: Callable[[bytes, bytes, float], None]) -> None:
        """Take nothing yet.

        Args:
            wake: Key of a list of this node alone: what is put there has it ask anew.
            took: Given the key of a list, an entry of it, and the server's clock; it never raises.
        """
        self.keys: dict[bytes, None] = {}
        self.wire: Wire | None = None
        self._wake = wake
        self._took = took
        self._turn = 0
        self._reply: object = None
        self._stopping = False
        self._idle = asyncio.Event()

    def start(self, wire: Wire) -> None:
        """Take requests from now on."""
        self.wire = wire
        self._stopping = False
        self._idle.clear()
        self._ask()

    async def stop(self) -> None:
        """Take no more, once what is on its way has come; somebody has to wake it."""
        self._stopping = True
        if self.wire is not None:
            _ = await self._idle.wait()

    def _ask(self) -> None:
        assert self.wire is not None
        # The server takes from the first list that has something: so each has its turn to be the first.
        keys = list(self.keys)
        self._turn = (self._turn + 1) % max(1, len(keys))
        keys = [self._wake, *keys[self._turn :], *keys[: self._turn]]
        self.wire.say(command(b"BLMPOP", _WAIT, b"%d" % len(keys), *keys, b"LEFT", b"COUNT", _TAKEN), self._came)
        self.wire.say(_TIME, self._timed)

    def _came(self, reply: object) -> None:
        self._reply = reply

    def _timed(self, time: object) -> None:
        reply, self._reply = self._reply, None
        if isinstance(reply, Exception) or not isinstance(time, list):
            self._broke(reply if isinstance(reply, Exception) else time)
            return
        seconds, microseconds = cast("list[bytes]", time)
        now = int(seconds) + int(microseconds) / 1_000_000
        if self._stopping:
            self._idle.set()
        else:
            self._ask()
        if isinstance(reply, list):
            key, entries = cast("tuple[bytes, list[bytes]]", reply)
            if key != self._wake:
                for entry in entries:
                    self._took(key, entry, now)

    def _broke(self, why: object) -> None:
        self._idle.set()
        if self.wire is not None and not isinstance(why, ConnectionError):
            _log.error("Redis gives this node no requests: %s", why)
            self.wire.abort(str(why))
