"""The events that sagas of one service may wait for, in memory: what came and is kept, in order, and who waits for it.

An event is decoded once, and shown once to each who waits for its topic; only those whom it fits are woken. So a
thousand sagas that wait for payments cost a thousand questions when one comes, and not a look at all that ever came.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Collection
from typing import Any, final

from hanse.contract.model import Event, topic_of
from hanse.delivery.saga_rows import SagaEvent
from hanse.kernel.codec import codec_for

Where = Callable[[Any], bool] | None
"""What an event has to fulfil; None for any of its topic."""


@final
class Letter:
    """An event that came: the how many-th of this process, and what it says."""

    __slots__ = ("_read", "event", "number")

    def __init__(self, event: SagaEvent, number: int) -> None:
        self.event: SagaEvent = event
        self.number: int = number
        self._read: dict[type[Event], Any] = {}

    def fits(self, kind: type[Event], where: Where) -> bool:
        """Whether it is what somebody waits for.

        Raises:
            Exception: It cannot be read as that, or whatever the test raises.
        """
        if where is None:
            return True
        if kind not in self._read:
            codec: Any = codec_for(kind)
            self._read[kind] = codec.decode_json(self.event.value.encode())
        return where(self._read[kind])


@final
class Wait:
    """One who waits for an event; to be closed.

    Attributes:
        saga: Its id.
        came: Set when there is something to look at.
    """

    __slots__ = ("_after", "_box", "_kind", "_since", "_where", "came", "saga")

    def __init__(self, box: Box, saga: str, kind: type[Event], where: Where, span: tuple[int, int]) -> None:
        self.saga: str = saga
        self.came: asyncio.Event = asyncio.Event()
        self._box = box
        self._kind = kind
        self._where = where
        self._since, self._after = span
        box.waits[self] = None

    def look(self, taken: Collection[str]) -> SagaEvent | None:
        """The first event that fits and is not taken; `came` is set when it is worth it to look again.

        Raises:
            Exception: What the test raises, or an event that cannot be read.
        """
        for letter in self._box.after(self._after):
            event = letter.event
            if event.rev > self._since and event.id not in taken and letter.fits(self._kind, self._where):
                return event
            self._after = letter.number
        self.came.clear()
        return None

    def show(self, letter: Letter) -> bool:
        """Whether a new event may be what it waits for."""
        if self.came.is_set():
            return False  # it looks anyway
        try:
            fits = letter.event.rev > self._since and letter.fits(self._kind, self._where)
        except Exception:  # noqa: BLE001 - it is for who waits: raised when that looks
            fits = True
        if fits:
            self.came.set()
        else:
            self._after = letter.number
        return fits

    def again(self) -> Wait:
        """Another one for the same, from where this one has looked to."""
        other = Wait(self._box, self.saga, self._kind, self._where, (self._since, self._after))
        if self.came.is_set():
            other.came.set()
        return other

    def close(self) -> None:
        """Wait no more."""
        _ = self._box.waits.pop(self, None)


@final
class Box:
    """What came of one topic, and who waits for more."""

    __slots__ = ("letters", "waits")

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        # In the order in which they began to wait.
        self.waits: dict[Wait, None] = {}

    def after(self, number: int) -> list[Letter]:
        """What came after a letter."""
        return self.letters[bisect_right(self.letters, number, key=lambda letter: letter.number) :]


@final
class Mail:
    """What has come.

    Example:
        >>> class Paid(Event):
        ...     order: str
        >>> mail = Mail()
        >>> wait = mail.wait("saga", Paid, lambda paid: paid.order == "7", since=3)
        >>> mail.add(SagaEvent(id="a", rev=5, topic="paid", value='{"order": "6"}'))
        []
        >>> mail.add(SagaEvent(id="b", rev=6, topic="paid", value='{"order": "7"}'))
        ['saga']
        >>> found = wait.look(())
        >>> None if found is None else found.id
        'b'
        >>> wait.close()
    """

    def __init__(self) -> None:
        self._boxes: dict[str, Box] = {}
        self._known: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, event: SagaEvent) -> list[str]:
        """An event has come; one that is there already changes nothing.

        Returns:
            The ids of the sagas that may have waited for it.
        """
        if event.id in self._known:
            return []
        self._known.add(event.id)
        self._count += 1
        letter, box = Letter(event, self._count), self._box(event.topic)
        box.letters.append(letter)
        return [wait.saga for wait in list(box.waits) if wait.show(letter)]

    def wait(self, saga: str, kind: type[Event], where: Where, *, since: int) -> Wait:
        """Have a saga wait for an event.

        Args:
            saga: Its id.
            kind: Of the event.
            where: What it has to fulfil; decides by the event alone, as it may be asked when the saga is not there.
            since: Position of the log; what came up to it is passed over.
        """
        return Wait(self._box(topic_of(kind)), saga, kind, where, (since, 0))

    def forget(self, before: int) -> list[str]:
        """Forget what came before a position of the log; its ids."""
        gone: list[str] = []
        for box in self._boxes.values():
            gone += [letter.event.id for letter in box.letters if letter.event.rev <= before]
            box.letters = [letter for letter in box.letters if letter.event.rev > before]
        self._known.difference_update(gone)
        return gone

    def _box(self, topic: str) -> Box:
        return self._boxes.setdefault(topic, Box())
