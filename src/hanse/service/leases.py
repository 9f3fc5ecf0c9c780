"""Leases in a store: who has what, among all processes that share it.

A lease is a position that is moved when it changes hands, by who saw where it was. That its holder lives is told by
another, that grows. Neither costs an entry of the log. No two machines have to agree on the time: a holder takes its
lease for over so many seconds after it *began* to renew it, and whoever wants it waits as many after it *saw* the last
sign of life, each by its own clock; or not at all, where it is certain that the holder's process has ended. Should the
holder be paused in between, whatever it then commits rests on a position that has moved, and is refused: that is the
fence. Its `token` grows with each holder, for those who guard something else than a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import final

import msgspec

from hanse.kernel.context import Context, ambient, current
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, PreconditionFailed
from hanse.kernel.host import Host
from hanse.kernel.process import Process
from hanse.service.shadow import written
from hanse.service.unit import Unit
from hanse.store.base import Batch, Expect, Position, Store
from hanse.store.plan import POSITION

NOBODY = Process(machine=0, life=0)
"""Whose lease it is where a machine does not tell its processes apart."""

SEEN_MAX = 10_000
"""Leases of others that one process watches at once; past it, it forgets the oldest, and waits for that anew."""

LOOK_SECONDS = 0.2
"""How often whoever waits for a lease looks whether it is free; in one process, who gives it back tells."""


class LeaseLost(Conflict, detail="the lease {name!r} is over: somebody else may have it now"):
    """What is done under a lease came too late; its effects in the store of the lease are refused."""

    problem: str
    name: str


class LeaseTaken(Conflict, retryable=True, detail="somebody else has the lease {name!r}"):
    """The lease was not to be had in time."""

    problem: str
    name: str


class _Seen(msgspec.Struct, frozen=True):
    """A lease of somebody else: where it is, the sign of life, when this was first seen, and whose it is."""

    at: int
    beat: int
    since: float
    holder: Process


@final
class Grant:
    """A lease that this process has.

    Attributes:
        name: Of the lease.
        seconds: After which it is over.
        at: Its position in the store.
        token: Larger than that of any holder before: hand it to whatever else is guarded, to refuse smaller ones.
        until: Second of the host's monotonic clock at which it is over, unless it is renewed before.
    """

    def __init__(self, leases: StoredLeases, name: str, at: int, seconds: float, until: float) -> None:
        self.name: str = name
        self.token: int = at // 2
        self.until: float = until
        self.seconds: float = seconds
        self.at: int = at
        self._leases = leases

    @property
    def rests_on(self) -> Expect:
        """What a commit under the lease expects."""
        return Expect(_place(self.name), self.at)

    @property
    def given_back(self) -> Position:
        """What gives it back, committed by itself or with what was done under it."""
        return Position(_place(self.name), self.at - 1)

    def holds(self) -> bool:
        """Whether it still does, by this process's own clock."""
        return self._leases.host.monotonic() < self.until

    def check(self) -> None:
        """Make sure that it holds, before an effect that is no write.

        Raises:
            LeaseLost: It is over.
        """
        if not self.holds():
            raise LeaseLost("it came too late", self.name)

    @asynccontextmanager
    async def unit(self) -> AsyncGenerator[None]:
        """A unit of work: what is written in it commits at its end, together, if the lease is still this process's.

        Raises:
            LeaseLost: Somebody else has it; nothing was written.
        """
        around = current()
        context = Context(self._leases.host, around.headers, message_id=around.message_id, operation=around.operation)
        context.store = self._leases.store
        if around.rehearsal is not None:
            context.rehearsal, context.deadline = around.rehearsal, around.deadline
        token = ambient.set(context)
        try:
            yield
            if isinstance(context.work, Unit):
                await self.commit(context.work)
        finally:
            ambient.reset(token)
            context.store = None

    async def commit(self, unit: Unit) -> None:
        """Commit a unit of work, if the lease is still this process's; see `unit`."""
        self.check()
        unit.fences.append(self.rests_on)
        try:
            await unit.commit()
        except PreconditionFailed as fault:
            if (fault.kind, fault.id) != (POSITION, _place(self.name)):
                raise
            raise LeaseLost("somebody else has it", self.name) from None


@final
class StoredLeases:
    """The leases of one store, as one process sees them.

    Example:
        >>> async def main(store: Store) -> None:
        ...     leases = StoredLeases(store, Host.system())
        ...     grant = await leases.acquire("import", seconds=30.0)
        ...     if grant is not None:
        ...         await leases.release(grant)
    """

    def __init__(self, store: Store, host: Host) -> None:
        """Know nothing yet.

        Args:
            store: Where they are.
            host: Clocks and ids.
        """
        self.store: Store = store
        self.host: Host = host
        self._seen: dict[str, _Seen] = {}
        self._waiting: dict[asyncio.Event, None] = {}

    async def acquire(self, name: str, *, seconds: float) -> Grant | None:
        """Take a lease that is free, or whose holder has ended, or showed no sign of life for as long as it said.

        Otherwise there is None.

        Who is to wait asks again: only somebody who keeps watching can tell that a holder has gone.
        """
        begun = self.host.monotonic()
        place = _place(name)
        at = await self.store.position(place)
        if at % 2 and not await self._is_over(name, at):
            return None
        # One further than any before, and odd: so somebody has it.
        taken = (at // 2 + 1) * 2 + 1
        own = self.host.processes.own or NOBODY
        positions = (
            Position(place, taken),
            Position(f"{place}/ms", int(seconds * 1000)),
            Position(f"{place}/machine", own.machine),
            Position(f"{place}/life", own.life),
        )
        fault_point("lease.before_grant")
        try:
            _ = await self._written(Batch(self.host.now(), positions=positions, expects=(Expect(place, at),)))
        except PreconditionFailed:
            return None
        fault_point("lease.after_grant")
        if current().shadow:
            # It is in no store: whoever wants it next has to find it as it is there.
            return Grant(self, name, taken, seconds, begun + seconds)
        # What this process has it need not watch to know when that is over.
        self._note(name, _Seen(taken, await self.store.position(f"{place}/beat"), begun, own))
        return Grant(self, name, taken, seconds, begun + seconds)

    async def renew(self, grant: Grant) -> None:
        """Show that its holder lives, for as long again from now.

        Raises:
            LeaseLost: It was over before, or somebody else has it.
        """
        begun = self.host.monotonic()
        grant.check()
        name = f"{_place(grant.name)}/beat"
        beat = Position(name, await self.store.position(name) + 1)
        batch = Batch(self.host.now(), positions=(beat,), expects=(grant.rests_on,))
        try:
            _ = await self._written(batch)
        except PreconditionFailed:
            grant.until = begun
            raise LeaseLost("somebody else has it", grant.name) from None
        grant.check()
        grant.until = begun + grant.seconds

    async def release(self, grant: Grant) -> None:
        """Give it back; one that is lost already stays with its new holder."""
        grant.until = self.host.monotonic()
        batch = Batch(self.host.now(), positions=(grant.given_back,), expects=(grant.rests_on,))
        with suppress(PreconditionFailed):
            _ = await self._written(batch)
        for wake in self._waiting:
            wake.set()

    async def wait(self, name: str, *, seconds: float, limit: float | None = None) -> Grant:
        """Take a lease as soon as it is to be had.

        Args:
            name: Of the lease.
            seconds: After which it is over, unless it is renewed.
            limit: Seconds to wait at most; None for as long as it takes.

        Raises:
            LeaseTaken: It was not to be had in time.
        """
        wake = asyncio.Event()
        self._waiting[wake] = None
        try:
            async with asyncio.timeout(limit):
                while True:
                    wake.clear()
                    if (grant := await self.acquire(name, seconds=seconds)) is not None:
                        return grant
                    await self._rest(name, wake)
        except TimeoutError:
            raise LeaseTaken("it was not given back in time", name) from None
        finally:
            del self._waiting[wake]

    async def _written(self, batch: Batch) -> tuple[int, ...]:
        return await written(self.store, batch, shadow=current().shadow)

    async def _rest(self, name: str, wake: asyncio.Event) -> None:
        """Wait until it changes hands, or may be over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS if name in self._seen else 0.0):
                _ = await wake.wait()

    async def _is_over(self, name: str, at: int) -> bool:
        place, now = _place(name), self.host.monotonic()
        beat = await self.store.position(f"{place}/beat")
        seen = self._seen.get(name)
        if seen is None or (seen.at, seen.beat) != (at, beat):
            holder = seen.holder if seen is not None and seen.at == at else await self._holder(place)
            seen = _Seen(at, beat, now, holder)
            self._note(name, seen)
        # A lone process that was killed and started again finds its own lease: nobody else would give it back.
        if self.host.processes.has_ended(seen.holder):
            return True
        return now - seen.since >= await self.store.position(f"{place}/ms") / 1000

    async def _holder(self, place: str) -> Process:
        """Whose it is; of two, where it changes hands meanwhile, but then it is not to be had where it was."""
        return Process(await self.store.position(f"{place}/machine"), await self.store.position(f"{place}/life"))

    def _note(self, name: str, seen: _Seen) -> None:
        _ = self._seen.pop(name, None)
        while len(self._seen) >= SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[name] = seen


def _place(name: str) -> str:
    """Where a lease is: twice its token, and one more while somebody has it."""
    return f"lease/{name}"
