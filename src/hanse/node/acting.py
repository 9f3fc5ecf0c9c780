"""Carries out what is asked for about dead letters: on one instance of a service, as a part of its duty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import final

from hanse.delivery.action import ACTIONS, LetterAction
from hanse.delivery.pause import pause
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.carrying import Carrying
from hanse.node.events import Subscription
from hanse.node.hosted import Hosted
from hanse.service.leases import Grant
from hanse.service.shape import shape_of
from hanse.store.query import Compare, Query

_log = logging.getLogger("hanse.delivery")

ACTIONS_MAX = 8
"""Actions of one service that are carried out side by side; the others wait for their turn."""

GRACE_SECONDS = 10.0
"""How long one that stops waits for the letters under way; then they are broken off, without effect."""

LOOK_SECONDS = 5.0
"""How often it goes on with actions that something was in the way of."""

IDLE_SECONDS = 60.0
"""How often it looks for actions that nobody told of, where none is to be carried out: the store tells of new ones."""

RUNNING = Query(Compare("eq", ("state",), "running"), limit=ACTIONS_MAX)
"""Those that are to be carried out; the oldest first."""


@final
class Actor:
    """Carries out the actions on the dead letters of one service.

    Args of the constructor:
        hosted: The service.
        subscriptions: Its own, by address.
        host: Clocks, chance and ids.
        duty: What commits rest on, where several share the store.
    """

    def __init__(
        self, hosted: Hosted, subscriptions: Mapping[str, Subscription], host: Host, duty: Grant | None
    ) -> None:
        self.name: str = f"dead letters of {hosted.part.name}"
        self._hosted = hosted
        self._subscriptions = subscriptions
        self._host = host
        self._duty = duty
        self._carried: set[str] = set()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._grace = GRACE_SECONDS

    @property
    def idle(self) -> bool:
        """Whether nothing is being carried out."""
        return not self._carried

    async def run(self) -> None:
        """Work until `stop`."""
        self._running = True
        unlisten = self._hosted.store.listen(self._wake.set, names=[ACTIONS])
        try:
            async with Tasks(_broke) as tasks:
                while not self._stopping.is_set():
                    self._wake.clear()
                    done = await self._look(tasks)
                    _ = await pause(self._wake, IDLE_SECONDS if done else LOOK_SECONDS)
                _ = await tasks.wait(self._grace)
        finally:
            unlisten()
            self._ended.set()

    async def stop(self, grace: float) -> None:
        """Begin with no more letters, and finish those under way within the grace; the rest is gone on with later."""
        self._grace = grace
        self._stopping.set()
        self._wake.set()
        if self._running:
            _ = await self._ended.wait()

    async def _look(self, tasks: Tasks) -> bool:
        """Begin with what is not under way; whether there is nothing to carry out."""
        try:
            found = await self._hosted.store.find(ACTIONS, RUNNING)
        except Fault as fault:
            _log.warning("the %s cannot be looked at: %s; it is tried again", self.name, fault)
            return False
        for row in found.rows:
            if row.id not in self._carried:
                self._carried.add(row.id)
                action = shape_of(LetterAction).read(row.value, row.id, row.rev)
                _ = tasks.start(self._carry(action), name=f"{self.name}: {row.id}")
        return not found.rows

    async def _carry(self, action: LetterAction) -> None:
        one = Carrying(action, self._hosted, self._subscriptions, self._host, self._duty, self._stopping)
        try:
            await one.run()
            self._wake.set()  # there may be one that has waited for its turn
        except Fault as fault:
            _log.warning("an action on the %s rests: %s; it is gone on with", self.name, fault)
        finally:
            self._carried.discard(action.id)


def _broke(error: BaseException) -> None:
    _log.error("an action on dead letters broke; it is gone on with", exc_info=error)
