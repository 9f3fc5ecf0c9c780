"""Another process, as this one knows it: what it says of itself, and how the calls to it go."""

from __future__ import annotations

from math import exp2

from hanse.mesh.standing import Standing, State, Tally
from hanse.transport.discovery import Announcement

LATENCY_SECONDS_MIN = 0.0005
"""Latencies below are all the same: they differ by chance."""

LATENCY_SHARE = 0.2
"""How much of the latency that is remembered each answer replaces."""

FORGET_SECONDS = 5.0
"""How long after its last answer a latency counts half, and so on, so that who was slow once is soon asked again."""

BURDENED_SECONDS = 0.1
"""The latency that one which refuses calls is thought to have at least: who refuses fast must not look fast."""

HEAVY = 1e9
"""What a call to one on trial costs while another is under way: more than any latency."""


class Instance:
    """One instance: it serves names at an address; here stand the calls to it that are under way, and their pace.

    Example:
        >>> one = Instance(Announcement("orders-1", "tcp://10.0.0.7:7421", ("orders",)))
        >>> one.in_flight += 1
        >>> one.cost(now=0.0)
        0.001
    """

    __slots__ = ("address", "in_flight", "latency", "measured", "name", "said", "standing")

    def __init__(self, said: Announcement, *, latency: float = 0.0) -> None:
        """Know of an instance.

        Args:
            said: What it says of itself.
            latency: Seconds that it is thought to take, before it has been asked: usually those of its like, lest
                everybody rushes to the newcomer.
        """
        self.name: str = said.instance
        self.said: Announcement = said
        self.address: str = said.address
        self.in_flight: int = 0
        """Calls and streams of this process to it that are under way."""
        self.latency: float = latency
        """Seconds, smoothed; as of `measured`."""
        self.measured: float = 0.0
        self.standing: Standing = Standing()

    def __repr__(self) -> str:
        return f"<instance {self.name} at {self.address}: {self.standing.state.value}>"

    def told(self, said: Announcement) -> None:
        """It says something else of itself."""
        self.said, self.address = said, said.address

    @property
    def tally(self) -> Tally:
        """What of it is compared with others."""
        standing = self.standing
        row = standing.row if standing.state is State.IN else 0
        return Tally(standing.calls, standing.failures, row)

    def answered(self, took: float, now: float) -> None:
        """A call went well, in so many seconds."""
        self.latency += (took - self.latency) * LATENCY_SHARE
        self.measured = now
        standing = self.standing
        if standing.clean:
            standing.calls += 1  # all that `answered` does then, without calling it
        else:
            standing.answered()

    def burdened(self, now: float) -> None:
        """It says that it works at its limit: the others are asked rather, for a while."""
        self.latency = max(2 * self.latency_at(now), BURDENED_SECONDS)
        self.measured = now
        self.standing.answered()

    def latency_at(self, now: float) -> float:
        """Seconds that it is thought to take: the longer nobody has asked it, the less its past counts."""
        return self.latency * exp2((self.measured - now) / FORGET_SECONDS)

    def cost(self, now: float) -> float:
        """What one more call to it costs: how long it would be busy with all that is under way."""
        # `latency_at`, on the way of each call.
        latency = self.latency * exp2((self.measured - now) / FORGET_SECONDS)
        if latency < LATENCY_SECONDS_MIN:  # noqa: PLR1730 - to call `max` costs as much as all of this
            latency = LATENCY_SECONDS_MIN
        cost = (self.in_flight + 1) * latency
        if self.in_flight and self.standing.state is State.TRIAL:
            return cost + HEAVY
        return cost
