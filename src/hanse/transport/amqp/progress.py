"""How far a group has come with the events of a stream: decisions without a connection.

A stream may lose its end: it is not flushed, and a power cut takes the last of it. What is published then is given
numbers that others had, and who goes by numbers alone takes it for handled. So the group knows its last event by its id
as well, and looks whether that still stands where it stood; where it does not, the group begins with the oldest.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import final

import msgspec

RECENT_MAX = 20_000
"""Events by whose ids those are known that were published again."""


class Word(msgspec.Struct, frozen=True, array_like=True):
    """How far a group has come, as its queue keeps it; all of it is facts, so that two words can be put together.

    Attributes:
        reached: The number of the last event that was handed out or was not wanted; -1 for none.
        undone: Numbers up to there that are not acknowledged, in order.
        last: The id of that last event; empty where it is not known.
        losses: How often the group has found that the stream is not the one that it knew.
    """

    reached: int = -1
    undone: list[int] = []
    last: str = ""
    losses: int = 0


def merged(one: Word, other: Word) -> Word:
    """What two words say together: what is done according to one of them is done.

    Of two that speak of different streams, the later one counts alone.

    Example:
        >>> merged(Word(7, [3, 5]), Word(9, [5, 6, 8]))
        Word(reached=9, undone=[5, 8], last='', losses=0)
        >>> merged(Word(7, [3, 5]), Word(2, losses=1))
        Word(reached=2, undone=[], last='', losses=1)
    """
    if one.losses != other.losses:
        return max(one, other, key=lambda word: word.losses)
    near, far = sorted((one, other), key=lambda word: (word.reached, word.last))
    behind = set(near.undone)
    undone = [number for number in far.undone if number > near.reached or number in behind]
    return Word(far.reached, undone, far.last, far.losses)


@final
class Progress:
    """What is to be handed out, and what is done.

    Attributes:
        changed: Whether something was acknowledged since it was last said.

    Example:
        >>> progress = Progress(Word(4, [2]))
        >>> progress.first, [progress.wants(number, f"id-{number}") for number in range(6)]
        (2, [False, False, True, False, False, True])
        >>> progress.handed(2, "id-2"), progress.handed(5, "id-5"), progress.done(5), progress.word()
        (None, None, None, Word(reached=5, undone=[2], last='id-5', losses=0))
    """

    def __init__(self, word: Word) -> None:
        """Go on from a word."""
        self._reached = word.reached
        self._last = word.last
        self._losses = word.losses
        self._known = word
        self._again = set(word.undone)
        self._open: set[int] = set()
        self._others = Word(losses=word.losses)
        self._recent: OrderedDict[str, int] = OrderedDict()
        self.changed: bool = False

    @property
    def first(self) -> int:
        """The number of the next event that is to be handed out, at least."""
        return min(self._again, default=self._reached + 1)

    @property
    def reached(self) -> int:
        """The number of the last event that came, handed out or not, as anybody said; -1 for none."""
        return max(self._reached, self._others.reached)

    def fits(self, number: int, id: str) -> bool:
        """Whether an event may stand where it does: not where the group has seen another."""
        return all(number != word.reached or word.last in ("", id) for word in (self._known, self._others))

    def wants(self, number: int, id: str) -> bool:
        """Whether an event is to be handed out: it was not yet, and was not published before."""
        place = self._recent.setdefault(id, number)
        if len(self._recent) > RECENT_MAX:
            _ = self._recent.popitem(last=False)
        if place != number or (number <= self._others.reached and number not in self._others.undone):
            return False
        return number > self._reached or number in self._again

    def handed(self, number: int, id: str) -> None:
        """It is handed out."""
        self._again.discard(number)
        self._open.add(number)
        self._come(number, id)

    def skipped(self, number: int, id: str) -> None:
        """It is not handed out."""
        if number in self._again:
            self._again.discard(number)
            self.changed = True
        self._come(number, id)

    def gone(self, number: int) -> int:
        """How many are not there any more that should have been handed out before this one, which is the first."""
        lost = [undone for undone in self._again if undone < number]
        self._again.difference_update(lost)
        behind = max(0, number - self._reached - 1) if self._reached >= 0 else 0
        return len(lost) + behind

    def done(self, number: int) -> None:
        """It is acknowledged."""
        if number in self._open:
            self._open.discard(number)
            self.changed = True

    def hear(self, word: Word) -> bool:
        """Somebody else has come so far, and did not say so before: what is done is done.

        Returns:
            Whether it speaks of the stream that this one knows, or of one before; otherwise one has to begin anew.
        """
        self.changed = True
        if word.losses == self._losses:
            self._others = merged(self._others, word)
            self._again = {number for number in self._again if number > word.reached or number in word.undone}
        return word.losses <= self._losses

    def lose(self) -> Progress:
        """The stream is not the one that the group knew: begin with the oldest event that is there."""
        anew = Progress(Word(losses=self._losses + 1))
        anew.changed = True
        return anew

    def word(self) -> Word:
        """How far the group has come."""
        mine = Word(self._reached, sorted(self._again | self._open), self._last, self._losses)
        return merged(mine, self._others)

    def _come(self, number: int, id: str) -> None:
        if number > self._reached:
            self._reached, self._last = number, id
