"""How much of an instance's slowness one stall would explain. Pure.

A process that is held up (its machine is busy, its garbage is collected, whoever it asks does not answer) answers
nothing for a while, and then all who have waited at once. Tens of answers are late, and have one cause: whoever takes
each of them for a witness of its own takes back a sound release that had the bad luck to be held up first.

So what a stall may explain counts as one late request, however many waited. What tells a slow release from a stall is
that it goes on answering, and answers late: once an instance has answered nobody in time for a while, and some time was
left for those who had waited, whatever is late is nobody's stall any more. It counts in full until the instance is well
again, and so does what was taken for a stall before, as then it was none.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

STALL_SECONDS = 2.0
"""How long an instance is taken to be held up at the most; from then on, it is slow."""

LEFT_SECONDS = 0.5
"""How long those who have waited are still answered, once anybody is."""

WELL_SECONDS = 1.0
"""How long nobody asks, until what is late then has another cause."""

COUNTED = 1.0
"""How many late requests a stall counts as."""


class Lateness(msgspec.Struct, frozen=True):
    """What is late at one instance without a break, be it held up or slow.

    Attributes:
        since: When that began, in seconds since the rollout began; below 0 for not at all.
        late_at: When something was late last.
        answered_at: When it answered, and nobody in time, for the first time since then; below 0 for not yet.
        is_mixed: Whether it has answered anybody in time meanwhile.
        counted: Late requests that have counted, beyond those that are usual.
        left_out: Those that have not.
    """

    since: float = -1.0
    late_at: float = -1.0
    answered_at: float = -1.0
    is_mixed: bool = False
    counted: float = 0.0
    left_out: float = 0.0

    def after(self, at: float, well: int, late: int, usual: float, *, answered: bool) -> tuple[Lateness, float]:
        """What is known after one more window, and how many late requests count.

        Args:
            at: Seconds since the rollout began.
            well: Requests that were not late.
            late: Requests that were.
            usual: How many of these nobody minds, of as many as there were.
            answered: Whether anybody was answered.

        Example:
            >>> held_up, counts = Lateness().after(1.0, 0, 5, 0.5, answered=False)
            >>> counts
            1.5
            >>> held_up, counts = held_up.after(1.25, 0, 5, 0.5, answered=True)
            >>> counts
            0.5
            >>> held_up.after(1.75, 0, 5, 0.5, answered=True)[1]  # it was slow, and is
            13.0
        """
        if late <= usual:
            over = well or at - self.late_at >= WELL_SECONDS
            return (Lateness() if over else self), late
        known = self if self.since >= 0.0 else Lateness(since=at)
        known = replace(known, late_at=at, is_mixed=known.is_mixed or well > 0)
        # Whoever was answered in time was so before it was held up, or after.
        if answered and not well and known.answered_at < 0.0:
            known = replace(known, answered_at=at)
        if not known.explains(at):
            return replace(known, left_out=0.0), late + (0.0 if known.is_mixed else known.left_out)
        more = min(late - usual, COUNTED - known.counted)
        left = known.left_out + late - usual - more
        return replace(known, counted=known.counted + more, left_out=left), usual + more

    def explains(self, at: float) -> bool:
        """Whether what is late now may be so for one stall."""
        if self.answered_at < 0.0:
            return at - self.since < STALL_SECONDS
        return at - self.answered_at < LEFT_SECONDS
