"""Who else is there: a node asks all others of its app at once, and they say what they serve.

A node that drains asks so, and leaves what somebody else serves; what nobody does it goes on serving until it stops.
Who begins to serve something says so to those that drain, and to nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, final

from hanse.kernel.faults import Unavailable
from hanse.transport.brokered.frames import Here
from hanse.transport.discovery import Announcement

ANSWER_SECONDS = 0.5
"""For which answers are waited for: nodes answer at once, and who does not is busy, or on its way out."""

NODES_MAX = 10_000
"""Nodes whose answers are kept; more are not listed."""


class Says(Protocol):
    """What tells another node something: the pulse."""

    def say(self, peer: bytes, what: Here, /) -> None:
        """Tell it."""
        ...


@final
class Roll:
    """What one node says of itself, and hears of others.

    Attributes:
        here: What it says; its names are those that it serves.
        draining: Whether it wants no more than what nobody else serves.
    """

    def __init__(self, here: Announcement, node: bytes, pulse: Says, leave: Callable[[str], None]) -> None:
        """Serve nothing yet.

        Args:
            here: The node, as others are told of it.
            node: Its name among those who ask.
            pulse: Tells others.
            leave: Told what somebody else serves, once this node drains.
        """
        self.draining: bool = False
        self._here = here
        self._node = node
        self._pulse = pulse
        self._leave = leave
        self._names: dict[str, None] = {}
        self._heard: dict[str, Announcement] | None = None

    @property
    def here(self) -> Announcement:
        """What it says of itself."""
        said = self._here
        weight = 0 if self.draining else said.weight
        return Announcement(
            said.instance,
            said.address,
            tuple(self._names),
            said.app,
            said.release,
            said.zone,
            weight,
            since=said.since,
        )

    def serve(self, name: str) -> None:
        """Something is served here."""
        self._names[name] = None

    def leave(self, name: str) -> None:
        """It is served here no more."""
        self._names.pop(name, None)

    def asked(self, peer: bytes) -> None:
        """A node asks who is there."""
        if peer and peer != self._node:
            self._pulse.say(peer, Here(self._node, self.here))

    def told(self, said: Announcement) -> None:
        """A node says what it serves."""
        if self._heard is not None and len(self._heard) < NODES_MAX:
            self._heard[said.instance] = said
        if self.draining and said.weight > 0:
            self.others(said.names)

    def others(self, names: tuple[str, ...]) -> None:
        """Others serve these: a node that drains need not."""
        for name in names:
            if self.draining and name in self._names:
                self._leave(name)

    async def call(self, ask: Callable[[], Awaitable[bool]]) -> list[Announcement]:
        """All that answer in time, and this node.

        Args:
            ask: Asks them all; False where that cannot be.

        Raises:
            Unavailable: They cannot be asked.
        """
        heard = self._heard = {} if self._heard is None else self._heard
        if not await ask():
            raise Unavailable("the other nodes cannot be asked who is there: there is no connection to the broker")
        await asyncio.sleep(ANSWER_SECONDS)
        if self._heard is heard:
            self._heard = None
        return sorted((*heard.values(), self.here), key=lambda said: said.instance)
