"""A row that a rule holds: its lease, and writes that are refused once the lease is over.

The table of leases is a pure machine over names, times and tokens. Each grant has a token larger than all before it
(a fencing token), so a holder that was paused past its lease can be told from the one that came after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from hanse.contract.model import Resource
from hanse.kernel.faults import Conflict
from hanse.service.collection import Collection

R = TypeVar("R", bound=Resource)

LEASES_MAX = 100_000
"""Leases that one table holds at once."""


class Lease(msgspec.Struct, frozen=True):
    """A grant: nobody else has it until `until` (on the table's clock); `token` grows with each grant."""

    name: str
    token: int
    until: float


class Leases:
    """Who holds what. Time comes in with each question.

    Example:
        >>> leases = Leases()
        >>> first = leases.acquire("order/42", now=0.0, seconds=30.0)
        >>> leases.acquire("order/42", now=10.0, seconds=30.0) is None
        True
        >>> second = leases.acquire("order/42", now=30.0, seconds=30.0)
        >>> leases.holds(first, now=31.0), leases.holds(second, now=31.0)
        (False, True)
    """

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        self._token = 0

    def acquire(self, name: str, *, now: float, seconds: float) -> Lease | None:
        """The lease, or None while somebody else has it (or the table is full)."""
        held = self._held.get(name)
        if (held is not None and held.until > now) or (held is None and len(self._held) >= LEASES_MAX):
            return None
        self._token += 1
        lease = self._held[name] = Lease(name, self._token, now + seconds)
        return lease

    def release(self, lease: Lease) -> None:
        """Give it back; one that is lost already stays with its new holder."""
        held = self._held.get(lease.name)
        if held is not None and held.token == lease.token:
            del self._held[lease.name]

    def holds(self, lease: Lease, *, now: float) -> bool:
        """Whether the lease still holds."""
        held = self._held.get(lease.name)
        return held is not None and held.token == lease.token and held.until > now


class Held(Generic[R]):
    """A row that a rule's method holds. Writes through it are fenced: by the lease, and by the row's revision.

    Attributes:
        value: The row as it was found, or as this run last wrote it.
    """

    def __init__(self, value: R, rows: Collection[R], holds: Callable[[], bool]) -> None:
        self.value: R = value
        self._rows = rows
        self._holds = holds

    async def put(self, value: R, /) -> R:
        """Write the row whole.

        Raises:
            Conflict: The lease is over, or somebody changed the row meanwhile.
        """
        self.check()
        self.value = await self._rows.put(value, if_match=self.value.rev)
        return self.value

    async def patch(self, **changes: object) -> R:
        """Change some fields of the row.

        Raises:
            Conflict: The lease is over.
            PreconditionFailed: Somebody changed the row meanwhile.
        """
        self.check()
        self.value = await self._rows.patch(self.value.id, if_match=self.value.rev, **changes)
        return self.value

    async def delete(self) -> None:
        """Remove the row.

        Raises:
            Conflict: The lease is over.
            PreconditionFailed: Somebody changed the row meanwhile.
        """
        self.check()
        await self._rows.delete(self.value.id, if_match=self.value.rev)

    def check(self) -> None:
        """Make sure that the lease still holds, before an effect that is not a write.

        Raises:
            Conflict: It is over: somebody else may be at work on the row.
        """
        if not self._holds():
            raise Conflict(f"the lease on {self.value.id!r} is over; another run may hold the row now")
