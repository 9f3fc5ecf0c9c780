"""Which keys of a group have dead letters, as one process knows it; and what makes sure that this is so still.

Keys are spread over drawers. Each drawer has a position in the store that moves whenever something is parked in it or
taken out of it. Whoever decided something about a key commits on the condition that its drawer has not moved since: so
two instances that share a store, or a replay and a message that comes at the same moment, cannot both be right.
A drawer is read when its first key comes, not before: a group with many dead letters starts at once.
"""

from __future__ import annotations

from typing import final
from zlib import crc32

import msgspec

from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_in, spot_of
from hanse.kernel.faults import PreconditionFailed
from hanse.store.base import Expect, Position, Store
from hanse.store.query import PAGE_MAX, Compare, Order, Query

DRAWERS = 1_024
"""Drawers of one group. More of them refuse fewer handlers that only share a drawer; each has a position."""


def drawer_of(key: str) -> int:
    """The drawer of a key, the same in every process.

    Example:
        >>> drawer_of("order/42")
        688
    """
    return crc32(key.encode()) % DRAWERS


def place_of_drawer(group: str, key: str) -> str:
    """Names the position that moves with what is parked under a key, and those that share its drawer."""
    return f"parked/{group}/{drawer_of(key)}"


class Drawer(msgspec.Struct):
    """A drawer as it was read.

    Attributes:
        place: Names its position.
        at: Where that was.
        keys: Those that had dead letters.
    """

    place: str
    at: int
    keys: set[str]

    @property
    def rests_on(self) -> Expect:
        """What a commit expects that was decided by it."""
        return Expect(self.place, self.at)

    @property
    def moved(self) -> Position:
        """What tells others that something was parked in it, or taken out."""
        return Position(self.place, self.at + 1)


@final
class Drawers:
    """The drawers of one group.

    Args of the constructor:
        store: Where the dead letters are.
        group: Whose.
    """

    def __init__(self, store: Store, group: str) -> None:
        self._store = store
        self._group = group
        self._known: dict[int, Drawer] = {}

    async def look(self, key: str) -> Drawer:
        """The drawer of a key, read if it is not known."""
        number = drawer_of(key)
        known = self._known.get(number)
        if known is None:
            # First the position: what is parked after it was read moves it, and is noticed at the commit.
            place = place_of_drawer(self._group, key)
            at = await self._store.position(place)
            known = self._known[number] = Drawer(place, at, await self._keys_in(number))
        return known

    def forget(self, key: str) -> None:
        """Read the drawer of a key anew when it is wanted next."""
        _ = self._known.pop(drawer_of(key), None)

    def known(self, key: str) -> Drawer:
        """The drawer of a key as it was looked at last: what was decided by that a moment ago rests on it."""
        return self._known[drawer_of(key)]

    async def blocker(self, key: str) -> tuple[Drawer, DeadLetter | None]:
        """The drawer of a key, and by that the oldest dead letter of the key; None where there is none."""
        while key in (drawer := await self.look(key)).keys:
            found = await oldest_of(self._store, self._group, key)
            if found is not None:
                return drawer, found
            self.forget(key)  # somebody has taken it out
        return drawer, None

    async def _keys_in(self, number: int) -> set[str]:
        where = Compare("eq", ("drawer",), number)  # one condition: see `of_key`; other groups have a letter or two
        keys: set[str] = set()
        cursor: str | None = None
        while True:
            found = await self._store.find(DEAD_LETTERS, Query(where, limit=PAGE_MAX, cursor=cursor))
            letters = map(letter_in, found.rows)
            keys.update(letter.key for letter in letters if letter.group == self._group)
            cursor = found.next
            if cursor is None:
                return keys


def is_moved(fault: BaseException, group: str, key: str) -> bool:
    """Whether a commit was refused because the drawer of a key has moved."""
    return bool(key) and isinstance(fault, PreconditionFailed) and fault.id == place_of_drawer(group, key)


def of_key(group: str, key: str) -> Compare:
    """The dead letters of one key. One condition, which one index serves, however many letters there are."""
    return Compare("eq", ("spot",), spot_of(group, key))


IN_ORDER = (Order(("order",)),)
"""How the dead letters of one key came."""


async def oldest_of(store: Store, group: str, key: str) -> DeadLetter | None:
    """The dead letter of a key that the others wait for."""
    found = await store.find(DEAD_LETTERS, Query(of_key(group, key), IN_ORDER, limit=1))
    return letter_in(found.rows[0]) if found.rows else None
