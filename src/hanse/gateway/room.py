"""Who is in work at once, and whose body is still waited for: a client that sends slowly takes no place of others'."""

from __future__ import annotations

from collections.abc import Callable, Sized

from hanse.gateway.limits import Limits
from hanse.kernel.faults import Overloaded

Took = Callable[[int], None]
"""Told how many bytes of a body have come and are kept; raises `Overloaded` where there are too many."""


class Room:
    """The places of one gateway.

    A request is in work from its head to its answer, but while its body is waited for, which costs nothing but the
    bytes that have come: those who wait have a limit of their own, and so have their bytes. Streams stay for long, and
    have theirs elsewhere.

    Attributes:
        active: Requests that were not answered yet, those with a stream for an answer among them.
        reading: Bodies that are waited for.

    Example:
        >>> room = Room(Limits(requests=1), streams=())
        >>> room.active += 2
        >>> with room.body():
        ...     room.working
        1
        >>> room.check()
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Overloaded: the limit of 1 requests at once is reached
    """

    __slots__ = ("_bytes", "_limits", "_streams", "active", "reading")

    def __init__(self, limits: Limits, streams: Sized) -> None:
        """Nobody is there.

        Args:
            limits: How many may be.
            streams: Those that are open.
        """
        self._limits = limits
        self._streams = streams
        self._bytes = 0
        self.active: int = 0
        self.reading: int = 0

    @property
    def working(self) -> int:
        """Requests in work: neither streams nor waiting for their bodies."""
        return self.active - len(self._streams) - self.reading

    def check(self) -> None:
        """Refuse a request that is one too many.

        Raises:
            Overloaded: There are as many in work as there may be.
        """
        limit = self._limits.requests
        if self.active > limit and self.working > limit:
            raise Overloaded(f"the limit of {limit} requests at once")

    def body(self) -> Waiting:
        """Round the reading of a body; whoever has it whole is in work again, and has to `check`.

        Raises:
            Overloaded: There are as many that are waited for as there may be.
        """
        return Waiting(self)

    def come(self) -> None:
        """A body is waited for; see `body`."""
        if self.reading >= self._limits.bodies:
            raise Overloaded(f"the limit of {self._limits.bodies} bodies that are waited for")
        self.reading += 1

    def hold(self, size: int) -> None:
        """Keep bytes of a body; see `body`."""
        self._bytes += size
        # One body of the largest size has room in any case.
        limit = max(self._limits.bodies_bytes, self._limits.body_bytes)
        if self._bytes > limit:
            raise Overloaded(f"the limit of {limit} bytes of bodies that are waited for")

    def left(self, held: int) -> None:
        """A body is waited for no more."""
        self.reading -= 1
        self._bytes -= held


class Waiting:
    """A body that is waited for. A class, as this is on the way of every body under servers that lend none."""

    __slots__ = ("_held", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    def __enter__(self) -> Took:
        self._room.come()
        return self._took

    def __exit__(self, *_: object) -> None:
        self._room.left(self._held)

    def _took(self, size: int) -> None:
        self._held += size
        self._room.hold(size)
