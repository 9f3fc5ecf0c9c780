"""The publisher: what a relay delivers goes to a broker that keeps it, in the order in which it is given.

It stands where a relay's subscribers would. What comes while a piece is on its way is the next piece. One that may not
have been kept is published again, with nothing behind it going ahead; the broker knows by their ids what it has.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import NamedTuple, final

from hanse.delivery.relay import Relay
from hanse.delivery.retry import next_delay
from hanse.kernel.faults import Fault, TooLarge
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.transport.base import Keeps

PIECE_MAX = 500
"""Events that are published at once."""


class _Waiting(NamedTuple):
    """An event, and what tells whether it is kept, or that it is its turn to publish it and those behind it."""

    message: Message
    kept: asyncio.Future[bool]


@final
class Publisher:
    """Publishes what one relay takes from a log.

    Example:
        >>> def publishing(store: Store, keeps: Keeps, host: Host) -> Relay:
        ...     publisher = Publisher(keeps, host)
        ...     relay = publisher.relay = Relay(store, "published", [], publisher.publish, host=host)
        ...     return relay
    """

    def __init__(self, keeps: Keeps, host: Host) -> None:
        """Know where to.

        Args:
            keeps: The broker.
            host: Chance.
        """
        self.relay: Relay | None = None
        """Told when the broker does not keep anything."""
        self._keeps = keeps
        self._host = host
        self._waiting: deque[_Waiting] = deque()
        self._at_work = False

    async def publish(self, message: Message) -> None:
        """Have an event kept, behind those that were given before; tried until it is.

        Raises:
            TooLarge: The broker takes none so large; those behind it go on.
        """
        mine = _Waiting(message, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            if self._at_work:
                if await mine.kept:
                    return
            else:
                self._at_work = True
                await asyncio.sleep(0)  # what is given in this turn goes along
            await self._publish_piece(mine)
        except BaseException:
            # Whoever relays has to stop, or this one is too large: it is left out, and another goes on.
            self._leave(mine)
            raise

    async def _publish_piece(self, mine: _Waiting) -> None:
        piece = list(itertools.islice(self._waiting, PIECE_MAX))
        try:
            await self._insist(piece)
        except TooLarge:
            if len(piece) == 1:
                raise
            # Which one it is shows where each goes by itself: this one now, the others when it is their turn.
            piece = [mine]
            await self._insist(piece)
        for one in piece:
            _ = self._waiting.popleft()
            if not one.kept.done():
                one.kept.set_result(True)
        self._pass_on()

    async def _insist(self, piece: list[_Waiting]) -> None:
        tries = 0
        while True:
            try:
                await self._keeps.publish([one.message for one in piece])
            except TooLarge:
                raise
            except Fault as fault:
                tries += 1
                if self.relay is not None:
                    self.relay.courier.note(fault)
                await asyncio.sleep(next_delay(tries, fault, self._host.chance.random()))
            else:
                return

    def _leave(self, mine: _Waiting) -> None:
        led = self._at_work and bool(self._waiting) and self._waiting[0] is mine
        if mine in self._waiting:
            self._waiting.remove(mine)
        if led:
            self._pass_on()

    def _pass_on(self) -> None:
        """Have the next one publish what waits."""
        while self._waiting:
            if not self._waiting[0].kept.done():
                self._waiting[0].kept.set_result(False)
                return
            _ = self._waiting.popleft()
        self._at_work = False
