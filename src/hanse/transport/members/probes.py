"""Pings: whom to ask next, who owes an answer, and how far to trust oneself.

    ping -> (no answer) -> others are asked to ping it -> (no answer by any way) -> it is suspected

Every second ping goes to the next neighbour on the ring, so that whoever dies is asked soon, for certain; the others go
to all in a shuffled order, so that two who cannot reach one another are not alone to judge.

A member that hears nothing from anybody is likely the one that is ill: each sign of it (own time that was lost, no word
from those who were asked to ping, having been suspected) makes it wait longer before it suspects others, and each
answer in time makes it wait less.
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from hanse.kernel.host import Host
from hanse.transport.members.rhythm import Rhythm
from hanse.transport.members.roster import MEMBERS_MAX, Roster

PROBES_MAX = 64
"""Pings of a member that wait for an answer at once; what would be one more is left for later."""

RELAYED_MAX = 256
"""Pings that a member has passed on for others and that wait for an answer at once; more are not passed on."""

DOUBTS_MAX = 3
"""Largest doubt: waits are four times as long then."""


class Probe(msgspec.Struct):
    """A ping that waits for an answer.

    Attributes:
        instance: Who was asked.
        asks_at: When others are asked to try.
        fails_at: When it has failed.
        asked, nacks: How many others were asked, and how many of them said that they have no answer either.
        witnessed: Whether somebody has seen a connection to it break.
    """

    instance: str
    asks_at: float
    fails_at: float
    asked: int = 0
    nacks: int = 0
    witnessed: bool = False


class Relayed(msgspec.Struct):
    """A ping that was passed on.

    Attributes:
        origin: Address of whoever wanted it.
        number: What they called it.
        ends_at: When they are told that there is no answer.
    """

    origin: str
    number: int
    ends_at: float


class Probes:
    """The pings of one member.

    Attributes:
        doubt: How far it doubts itself, from 0 to `DOUBTS_MAX`.
    """

    __slots__ = ("_number", "_order", "_pending", "_relayed", "_rhythm", "_turn", "doubt")

    def __init__(self, rhythm: Rhythm, host: Host) -> None:
        self.doubt: int = 0
        self._rhythm = rhythm
        # Somewhere, so that answers to an earlier process of this address are not taken for answers to this one.
        self._number = host.chance.getrandbits(32)
        self._turn = False
        self._order: list[str] = []
        self._pending: dict[int, Probe] = {}
        self._relayed: dict[int, Relayed] = {}

    def choose(self, roster: Roster, here: str, suspects: Container[str], host: Host) -> str | None:
        """Whom to ping now; None where there is nobody."""
        if len(roster) < 2:  # noqa: PLR2004 - the one is whoever asks
            return None
        self._turn = not self._turn
        if self._turn:
            place = roster.members[here].place
            names = (member.record.instance for member in roster.after(place))
            return next((name for name in names if name != here and name not in suspects), None)
        return self._shuffled(roster, here, host)

    def _shuffled(self, roster: Roster, here: str, host: Host) -> str:
        while True:
            if not self._order:
                self._order = [name for name in roster.members if name != here]
                host.chance.shuffle(self._order)
            name = self._order.pop()
            if name in roster.members:
                return name

    def met(self, instance: str, host: Host) -> None:
        """Have somebody who came pinged in this round already."""
        if len(self._order) < MEMBERS_MAX:
            self._order.insert(host.chance.randrange(len(self._order) + 1), instance)

    def begin(self, instance: str, now: float, *, witnessed: bool = False) -> int | None:
        """Count a ping that is sent now; None where too many wait already, or one to the same member."""
        if len(self._pending) >= PROBES_MAX:
            return None
        for probe in self._pending.values():
            if probe.instance == instance:
                probe.witnessed = probe.witnessed or witnessed
                return None
        patience = 1 + self.doubt
        number = self._fresh()
        self._pending[number] = Probe(
            instance,
            # A connection that broke is a first answer already.
            now if witnessed else now + self._rhythm.ack * patience,
            now + self._rhythm.probe * patience,
            witnessed=witnessed,
        )
        return number

    def relay(self, origin: str, number: int, now: float) -> int | None:
        """Count a ping that is passed on now; None where there are too many already."""
        if len(self._relayed) >= RELAYED_MAX:
            return None
        own = self._fresh()
        # They have to hear of it before they give up.
        self._relayed[own] = Relayed(origin, number, now + (self._rhythm.probe - self._rhythm.ack) * 0.75)
        return own

    def answered(self, number: int) -> Probe | Relayed | None:
        """An answer came: what it is for, which waits no more."""
        probe = self._pending.pop(number, None)
        if probe is None:
            return self._relayed.pop(number, None)
        self.trust()
        return probe

    def nack(self, number: int) -> None:
        """Somebody who was asked to ping has no answer either."""
        probe = self._pending.get(number)
        if probe is not None:
            probe.nacks += 1

    def asking(self, now: float) -> list[tuple[int, Probe]]:
        """The pings that others are to be asked for now."""
        return [(number, probe) for number, probe in self._pending.items() if not probe.asked and probe.asks_at <= now]

    def failed(self, now: float) -> list[Probe]:
        """The pings that have failed, which wait no more."""
        over = [number for number, probe in self._pending.items() if probe.fails_at <= now]
        found = [self._pending.pop(number) for number in over]
        for probe in found:
            if probe.nacks == 0:
                self.distrust()
        return found

    def unanswered(self, now: float) -> list[Relayed]:
        """The pings for others that have no answer, which wait no more."""
        over = [number for number, relayed in self._relayed.items() if relayed.ends_at <= now]
        return [self._relayed.pop(number) for number in over]

    def shift(self, seconds: float) -> None:
        """Time that this process has slept does not count against others."""
        for probe in self._pending.values():
            probe.asks_at += seconds
            probe.fails_at += seconds
        for relayed in self._relayed.values():
            relayed.ends_at += seconds

    def drop(self, instance: str) -> None:
        """No answer is awaited of a member any more."""
        for number in [number for number, probe in self._pending.items() if probe.instance == instance]:
            del self._pending[number]

    def distrust(self) -> None:
        """Something went wrong here, it seems."""
        self.doubt = min(DOUBTS_MAX, self.doubt + 1)

    def trust(self) -> None:
        """Something went as it should."""
        self.doubt = max(0, self.doubt - 1)

    def _fresh(self) -> int:
        self._number += 1
        return self._number
