"""Memory of one instance over time, and whether it leaks: seen over a minute, and over the last few seconds. Pure.

A cache that fills and a leak look the same for as long as the cache fills. What tells them apart soon is how much it is
(a cache is seldom larger than all that the old release takes), whether it slows down (what is asked for again fills
nothing), and how soon it would end in disaster. So what grows fast is seen within seconds, and what grows slowly takes
a minute, which nobody is harmed by: see `docs/learn/judging.md` for what that comes to.
"""

from __future__ import annotations

from itertools import combinations

import msgspec

LEAK_POINTS = 24
"""Points of memory of an instance that are kept, so that a slope can be told; then every other one."""

LEAK_POINT_SECONDS = 2.0
"""How far they are apart at first."""

LEAK_SEEN_SECONDS = 60.0
"""How long an instance is looked at before its memory is judged by these; the first third of that it may warm up."""

SURE, SURER = 0.6, 2.0 / 3.0
"""What part of all pairs of points has to show the growth that is told, of a minute and of the last seconds: more than
half, as what only goes up and down shows it in every other pair."""

RISE_POINT_SECONDS = 0.5
"""How far the points of the last seconds are apart."""

RISE_SECONDS = 8.0
"""How many seconds these are."""

RISE_KEEPS = 0.85
"""What part of the growth of their first half their second half has to have: less, and it comes to an end by itself."""

WARM_SECONDS = 30.0
"""How long an instance may warm up, from when it was seen first."""

WARM_TIMES, WARM_BYTES = 2.0, 32 * 2**20
"""What it may come to until then: so many times what the old release ever took, and by so much more at least."""

COLD_TIMES, COLD_BYTES = 1.25, 16 * 2**20
"""The same from then on."""

Points = tuple[tuple[float, float], ...]
"""Seconds and bytes."""


class Memory(msgspec.Struct, frozen=True):
    """Memory of one instance over time.

    Attributes:
        points: Of all the time.
        every: How many seconds are between two of them at least.
        lately: Those of the last seconds.
        began: When it was seen first, in seconds since the rollout began.
        peak: The most that it ever took.
    """

    points: Points = ()
    every: float = LEAK_POINT_SECONDS
    lately: Points = ()
    began: float = 0.0
    peak: float = 0.0

    def after(self, at: float, used: float, peak: float = 0.0) -> Memory:
        """With one more point, where the last one is old enough.

        Args:
            at: Seconds since the rollout began.
            used: Bytes.
            peak: The most of any, where `used` is that of several on average.
        """
        began = self.began if self.points else at
        points, every = self.points, self.every
        if not points or at - points[-1][0] >= every:
            points = (*points, (at, used))
        if len(points) > LEAK_POINTS:
            points, every = points[::2], every * 2.0
        lately = self.lately
        if not lately or at - lately[-1][0] >= RISE_POINT_SECONDS:
            lately = (*(one for one in lately if at - one[0] <= RISE_SECONDS + RISE_POINT_SECONDS), (at, used))
        return Memory(points, every, lately, began, max(self.peak, used, peak))

    @property
    def slope(self) -> float:
        """Bytes a second that it grows by and goes on growing by; 0 for one that does not, or was not seen for long.

        It is that of most pairs of points: a few that stick out do not move it. Of a memory that fills and then stays,
        as a cache does, the later half is flat, and that counts.
        """
        if not self.points or self.points[-1][0] - self.points[0][0] < LEAK_SEEN_SECONDS:
            return 0.0
        warm = self.points[len(self.points) // 3 :]
        return max(0.0, min(_slope(warm, SURE), _slope(warm[len(warm) // 2 :], SURE)))

    @property
    def rise(self) -> float:
        """The same of the last seconds; 0 for one that does not grow, or less than it did.

        Example:
            >>> memory = Memory()
            >>> for second in range(10):
            ...     memory = memory.after(float(second), 1e8 + 4e6 * second)
            >>> memory.rise
            4000000.0
        """
        if not self.lately or self.lately[-1][0] - self.lately[0][0] < RISE_SECONDS:
            return 0.0
        half = len(self.lately) // 2
        before, after = _slope(self.lately[: half + 1], 0.5), _slope(self.lately[half:], SURER)
        return after if after > 0.0 and after >= RISE_KEEPS * before else 0.0

    def beyond(self, peak: float) -> bool:
        """Whether it takes more than a warm cache explains.

        Args:
            peak: The most that the old release ever took; 0 where nobody knows.
        """
        # What it is judged by has to have come after that, all of it.
        is_warming = self.lately[0][0] - self.began < WARM_SECONDS
        times, more = (WARM_TIMES, WARM_BYTES) if is_warming else (COLD_TIMES, COLD_BYTES)
        return not peak or self.lately[-1][1] > max(times * peak, peak + more)


def _slope(points: Points, part: float) -> float:
    """What such a part of all pairs of points grow by at least; of a half, that is the median (Theil, Sen)."""
    slopes = sorted((used - before) / (at - then) for (then, before), (at, used) in combinations(points, 2))
    return slopes[int(len(slopes) * (1.0 - part))] if slopes else 0.0
