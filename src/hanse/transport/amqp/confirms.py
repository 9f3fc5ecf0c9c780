"""Messages that the server says it has: which of them belong together, and whether all are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from hanse.transport.amqp.channel import Channel
from hanse.transport.amqp.frames import KEPT
from hanse.transport.brokered.frames import MESSAGE


@final
class _Together:
    """Messages of which all have to be there.

    Attributes:
        left: How many are not.
        all: Done once none is, or why they never will.
    """

    __slots__ = ("all", "left")

    def __init__(self, left: int) -> None:
        self.left: int = left
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        if not self.all.done():
            self.all.set_exception(ConnectionError(why))
            _ = self.all.exception()  # whoever waited may have given up


@final
class Confirms:
    """A channel on which the server confirms each message.

    Attributes:
        broken: Why it cannot be used any more; empty if it can.
    """

    def __init__(self, channel: Channel, heard: Callable[[], None]) -> None:
        """Use a channel that was told to confirm.

        Args:
            channel: Nothing was published on it yet.
            heard: Told when the server confirms something.
        """
        self.broken: str = ""
        self._channel = channel
        self._heard = heard
        self._count = 0
        self._open: dict[int, _Together] = {}
        channel.confirmed = self._confirmed
        channel.returned = self._returned
        channel.ended = self._ended

    def publish(self, key: bytes, payloads: list[bytes]) -> asyncio.Future[None]:
        """Put messages into a queue, in order; done once all are there. `ConnectionError` where nobody knows."""
        together = _Together(len(payloads))
        if self.broken:
            together.fail(self.broken)
            return together.all
        if not payloads:
            together.all.set_result(None)
        for payload in payloads:
            self._count += 1
            self._open[self._count] = together
            self._channel.publish(key, KEPT, MESSAGE, payload, mandatory=True)
        return together.all

    def _confirmed(self, number: int, multiple: bool, well: bool) -> None:  # noqa: FBT001 - as it comes
        self._heard()
        numbers = [number]
        if multiple:
            numbers = [one for one in self._open if one <= number]
        for one in numbers:
            if (together := self._open.pop(one, None)) is None:
                continue
            together.left -= 1
            if not well:
                together.fail("the server could not keep an event")
            elif not together.left and not together.all.done():
                together.all.set_result(None)

    def _returned(self, properties: bytes, body: bytes) -> None:
        del properties, body
        self._ended("what keeps events is not there any more")

    def _ended(self, why: object) -> None:
        self.broken = self.broken or str(why)
        for together in self._open.values():
            together.fail(self.broken)
        self._open.clear()
