"""What is still to be told: each rumour so many times, those that were told least first."""

from __future__ import annotations

import math

from hanse.transport.members.datagram import ITEMS_MAX, encode
from hanse.transport.members.record import Rumour

TELLS = 4
"""Times that a rumour is told by each member, for each decimal digit of their number."""

_DIGITS_MAX = 8


def tells_for(members: int) -> int:
    """How often each of so many members tells a rumour, so that all hear it.

    Example:
        >>> tells_for(3), tells_for(1000)
        (4, 16)
    """
    return TELLS * min(_DIGITS_MAX, math.ceil(math.log10(members + 1)))


class Rumours:
    """The rumours that one member passes on: the last about each instance.

    They lie in heaps by how often they were told, so that taking some costs no more than those.
    """

    __slots__ = ("_heap_of", "_heaps")

    def __init__(self) -> None:
        self._heaps: list[dict[str, bytes]] = [{} for _ in range(TELLS * _DIGITS_MAX)]
        self._heap_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._heap_of)

    def add(self, rumour: Rumour) -> None:
        """Tell this from now on, in place of what was told of its instance."""
        self.drop(rumour.record.instance)
        self._put(rumour.record.instance, encode(rumour), 0)

    def drop(self, instance: str) -> None:
        """Say no more of an instance."""
        heap = self._heap_of.pop(instance, None)
        if heap is not None:
            del self._heaps[heap][instance]

    def take(self, room: int, members: int) -> list[bytes]:
        """Rumours to tell now, encoded.

        Args:
            room: Bytes that they may take.
            members: How many members there are.
        """
        if not self._heap_of:
            return []
        limit = tells_for(members)
        taken: list[tuple[str, bytes, int]] = []
        for told, heap in enumerate(self._heaps):
            for instance, rumour in heap.items():
                if len(rumour) > room or len(taken) == ITEMS_MAX:
                    break
                room -= len(rumour)
                taken.append((instance, rumour, told + 1))
        for instance, rumour, told in taken:
            self.drop(instance)
            if told < limit:
                self._put(instance, rumour, told)
        return [rumour for _, rumour, _ in taken]

    def _put(self, instance: str, rumour: bytes, told: int) -> None:
        self._heaps[told][instance] = rumour
        self._heap_of[instance] = told
