"""Whom a member speaks to unasked: seeds, the dead who may live, and some of all when it changes or goes."""

from __future__ import annotations

from collections.abc import Sequence

from hanse.kernel.host import Host
from hanse.transport.members.datagram import Hello, Tell
from hanse.transport.members.outbox import Outbox
from hanse.transport.members.own import Own
from hanse.transport.members.record import Rumour, State
from hanse.transport.members.rhythm import Rhythm
from hanse.transport.members.roster import Roster

ANSWERERS = 3
"""Members that answer a hello which all hear, on average."""

GOODBYES = 8
"""Members that are told goodbye directly; they tell the others."""

TOLD_AT_ONCE = 8
"""Members that are told of a change directly, as not every network lets all be told; they tell the others."""


class Greeting:
    """Says hello and goodbye for one member, and decides whose hello is answered."""

    __slots__ = ("_address", "_at", "_everybody", "_host", "_outbox", "_own", "_rhythm", "_roster", "_seeds")

    def __init__(self, address: str, own: Own, roster: Roster, outbox: Outbox, rhythm: Rhythm, host: Host) -> None:
        self._address = address
        self._own = own
        self._roster = roster
        self._outbox = outbox
        self._rhythm = rhythm
        self._host = host
        self._seeds: list[str] = []
        self._everybody: frozenset[str] = frozenset()
        self._at = 0.0

    def know(self, seeds: Sequence[str], everybody: Sequence[str], at: float) -> None:
        """These are addresses to find others at.

        Args:
            seeds: Of members, or of who may become one.
            everybody: Those of them at which all listen.
            at: When they are greeted next.
        """
        self._seeds = [seed for seed in seeds if seed != self._address]
        self._everybody = frozenset(everybody)
        self._at = at

    def greet(self, now: float) -> None:
        """Where it is time, say hello to a seed, and to one of the dead, who may live behind a broken wire."""
        if now < self._at:
            return
        chance = self._host.chance
        self._at = now + self._rhythm.hello_seconds(len(self._roster), chance.random())
        seeds = chance.sample(self._seeds, min(len(self._seeds), ANSWERERS if len(self._roster) == 1 else 1))
        lost = [tomb.record.address for tomb in self._roster.tombs.values() if not tomb.left]
        greeted = [*seeds, chance.choice(lost)] if lost else seeds
        for address in dict.fromkeys(greeted):
            self._hello(address)

    def changed(self) -> None:
        """Tell of what is new: at once, as somebody may be waiting for what is served from now on."""
        # Gossip sees to who did not hear it.
        for address in self._everybody:
            self._hello(address)
        for address in self._some(TOLD_AT_ONCE):
            self._outbox.send(address, Tell())

    def goodbye(self) -> None:
        """Tell that this member leaves."""
        rumour = Rumour(State.LEFT, self._own.record)
        for address in dict.fromkeys([*self._everybody, *self._some(GOODBYES)]):
            self._outbox.send(address, Tell(), [rumour])

    def answers(self, hello: Hello) -> bool:
        """Whether this member answers a hello: of those that all hear, only some do."""
        return not hello.everybody or self._host.chance.random() * len(self._roster) < ANSWERERS

    def _hello(self, address: str) -> None:
        everybody = address in self._everybody
        hello = Hello(everybody, self._roster.print, self._own.blob)
        self._outbox.send(address, hello, gossip=not everybody)

    def _some(self, count: int) -> list[str]:
        return [one.record.address for one in self._roster.some(count, self._host, self._own.record.instance)]
