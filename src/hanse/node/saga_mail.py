"""The events that sagas of one service may wait for, in memory: what came and is kept, by topic, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import final

from hanse.delivery.saga_rows import SagaEvent


@final
class Mail:
    """What has come.

    Example:
        >>> mail = Mail()
        >>> mail.add(SagaEvent(id="7", rev=5, topic="paid", value="{}"))
        >>> found = mail.find("paid", 3, (), lambda value: True)
        >>> None if found is None else found.id
        '7'
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, SagaEvent]] = {}
        self._changed: dict[str, asyncio.Event] = {}

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def add(self, event: SagaEvent) -> None:
        """An event has come; one that is there already changes nothing."""
        known = self._kept.setdefault(event.topic, {})
        if event.id not in known:
            known[event.id] = event
            if (changed := self._changed.pop(event.topic, None)) is not None:
                changed.set()

    def changed(self, topic: str) -> asyncio.Event:
        """What is set when the next one of a topic comes."""
        return self._changed.setdefault(topic, asyncio.Event())

    def find(self, topic: str, since: int, taken: Collection[str], matches: Callable[[str], bool]) -> SagaEvent | None:
        """The first event of a topic, after a position of the log, that matches and is not taken."""
        for event in self._kept.get(topic, {}).values():
            if event.rev > since and event.id not in taken and matches(event.value):
                return event
        return None

    def forget(self, before: int) -> list[str]:
        """Forget what came before a position of the log; its ids."""
        gone = [event.id for kept in self._kept.values() for event in kept.values() if event.rev <= before]
        for kept in self._kept.values():
            for id in gone:
                _ = kept.pop(id, None)
        return gone
