"""`Lock` and `Leader`: one at a time, among all instances of a service that share its store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, final

from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Fault
from hanse.kernel.tasks import Tasks
from hanse.service.leases import Grant, LeaseLost, StoredLeases
from hanse.service.unit import unit_for

T = TypeVar("T")

_log = logging.getLogger("hanse.cluster")

LOCK_SECONDS = 30.0
"""How long a lock is held at most, unless one says otherwise."""

WAIT_SECONDS = 10.0
"""How long a lock is waited for, unless one says otherwise."""

LEADER_SECONDS = 5.0
"""How long a leader that died keeps its place."""

RENEWALS = 3
"""How often a leader shows that it lives in the time after which it would be taken for dead."""


@final
class Lock:
    """One at a time, by a key: a field of a service, shared by all its instances on one store.

    Example:
        >>> class Imports:
        ...     files: Lock
        ...     async def load(self, name: str) -> None:
        ...         async with self.files.hold(name, lease="1m") as held:
        ...             held.check()
    """

    def __init__(self, name: str, leases: StoredLeases) -> None:
        """A lock of a service; a node makes those of its fields.

        Args:
            name: Of the field.
            leases: Where it is kept.
        """
        self._name = name
        self._leases = leases

    @asynccontextmanager
    async def hold(
        self, key: str = "", /, *, lease: Duration = LOCK_SECONDS, wait: Duration = WAIT_SECONDS
    ) -> AsyncGenerator[Grant]:
        """Hold the lock of a key. In a handler it is given back with its commit, so that nobody comes in between.

        What the handler writes is refused where the lock was lost meanwhile. A handler that fails after the block
        keeps it until the lease is over.

        Args:
            key: What is locked.
            lease: How long the block may take at most; then it is cancelled.
            wait: How long to wait for it.

        Raises:
            LeaseTaken: Somebody else has it for longer than one waits.
            LeaseLost: The block took longer than the lease.
        """
        grant = await self._leases.wait(f"lock/{self._name}/{key}", seconds=seconds(lease), limit=seconds(wait))
        unit = unit_for(self._leases.store)
        if unit is not None:
            unit.fences.append(grant.rests_on)
        limit = asyncio.timeout(grant.until - self._leases.host.monotonic())
        try:
            async with limit:
                yield grant
        except BaseException as error:
            await self._leases.release(grant)
            if isinstance(error, TimeoutError) and limit.expired():
                raise LeaseLost("the block took too long", grant.name) from None
            raise
        if unit is None:
            await self._leases.release(grant)
        else:
            unit.positions.append(grant.given_back)


@final
class Leader:
    """One instance of a service leads: a field of the service, shared by all its instances on one store.

    Example:
        >>> class Poller:
        ...     poller: Leader
        ...     async def poll(self) -> None:
        ...         async def body(led: Grant) -> None:
        ...             async with led.unit():
        ...                 ...
        ...         await self.poller.lead(body)
    """

    def __init__(self, name: str, leases: StoredLeases, *, lease: float = LEADER_SECONDS) -> None:
        """A leadership of a service; a node makes those of its fields.

        Args:
            name: Of the field.
            leases: Where it is kept.
            lease: Seconds after which a leader that shows no sign of life is succeeded.
        """
        self._name = f"leader/{name}"
        self._leases = leases
        self._lease = lease
        self._grant: Grant | None = None

    @property
    def is_leading(self) -> bool:
        """Whether this instance leads at this moment, by its own clock."""
        return self._grant is not None and self._grant.holds()

    async def lead(self, body: Callable[[Grant], Awaitable[T]]) -> T:
        """Wait for one's turn, and run the body while one leads; where the lead is lost, the body is cancelled.

        Then it is one's turn again some time. Cancel the task that waits to give up.

        Args:
            body: Is given the grant: its `token` grows with each leader, and `unit()` refuses writes of one who was
                succeeded.

        Returns:
            What the body returns; with that the lead is given back.
        """
        while True:
            grant = await self._leases.wait(self._name, seconds=self._lease)
            _log.debug("leads %s, with the token %d", self._name, grant.token)
            try:
                return await self._led(grant, body)
            except LeaseLost as lost:
                if lost.name != grant.name:
                    raise
                _log.warning("lost the lead of %s; it is another's turn", self._name)

    async def _led(self, grant: Grant, body: Callable[[Grant], Awaitable[T]]) -> T:
        self._grant = grant
        limit = asyncio.timeout(self._left(grant))
        try:
            async with limit, Tasks(lambda error: _log.error("%s is not renewed", self._name, exc_info=error)) as tasks:
                _ = tasks.start(self._renew(grant, limit), name=f"{self._name} renews")
                return await body(grant)
        except TimeoutError:
            if not limit.expired():
                raise
            raise LeaseLost("no sign of life came through in time", grant.name) from None
        finally:
            self._grant = None
            await self._give_back(grant)

    async def _renew(self, grant: Grant, limit: asyncio.Timeout) -> None:
        """Show that one lives, and move the time at which the body is cancelled; now, where the lead is lost."""
        while True:
            await asyncio.sleep(self._lease / RENEWALS)
            try:
                await self._leases.renew(grant)
            except LeaseLost:
                _move(limit, 0.0)
                return
            except Fault as fault:
                _log.warning("the lead of %s could not be renewed: %s; it tries again", self._name, fault)
            else:
                _move(limit, self._left(grant))

    async def _give_back(self, grant: Grant) -> None:
        try:
            await self._leases.release(grant)
        except Fault as fault:
            _log.warning("the lead of %s could not be given back: %s; it will be over by itself", self._name, fault)

    def _left(self, grant: Grant) -> float:
        return max(0.0, grant.until - self._leases.host.monotonic())


def _move(limit: asyncio.Timeout, seconds: float) -> None:
    """Have it be so many seconds from now; one that has passed already, as after a pause, cannot be moved any more."""
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time() + seconds)
