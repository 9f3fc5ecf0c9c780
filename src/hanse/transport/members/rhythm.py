"""How fast members find, watch and forget one another."""

from __future__ import annotations

import math

import msgspec


class Rhythm(msgspec.Struct, frozen=True, kw_only=True):
    """Times and numbers of one cluster, all in seconds; the defaults are for a LAN.

    Whoever is killed is pinged within two ticks by its neighbour on the ring, suspected after `probe`, and given up
    after `suspicion_min` to `suspicion_max`, sooner the more members suspect it: 2.6 s at most where no datagram is
    lost. A process that does nothing else for as long, such as one that computes on its event loop, is given up too,
    and comes back as soon as it answers.

    Attributes:
        tick: Between two pings, and between two rounds of gossip.
        ack: For an answer to a ping, until others are asked to try.
        probe: For an answer by any way, until a member is suspected.
        suspicion_min: Until a member that all suspect is given up.
        suspicion_max: Until a member that one suspects is given up.
        hello: Between two hellos of a member; with more than ten, so that all of them together say ten in that time.
        sync: Between two comparisons of what two members know, while that differs.
        relays: Members that are asked to ping one that does not answer.
        fanout: Members that are told rumours at each tick.
    """

    tick: float = 0.2
    ack: float = 0.2
    probe: float = 0.6
    suspicion_min: float = 0.8
    suspicion_max: float = 1.6
    hello: float = 1.0
    sync: float = 0.4
    relays: int = 3
    fanout: int = 3

    def hello_seconds(self, members: int, draw: float) -> float:
        """Until the next hello, of one of so many members; who is alone is in a hurry.

        The more they are, the wider it is spread, so that those who started together do not fall silent together.

        Args:
            members: How many there are.
            draw: A number from 0 to 1, by chance.

        Example:
            >>> [round(Rhythm().hello_seconds(members, 1.0), 1) for members in (1, 3, 1000)]
            [0.6, 1.2, 190.0]
        """
        if members <= HELLOS:
            return self.hello * (0.75 + 0.5 * draw) / (2 if members == 1 else 1)
        return self.hello * members / HELLOS * (0.1 + 1.8 * draw)

    def suspicion_seconds(self, others: int, confirmed: int) -> float:
        """How long a member is suspected until it is given up.

        Source: "Lifeguard: Local Health Awareness for More Accurate Failure Detection", Dadgar et al., 2018.

        Args:
            others: Members beside the suspect and whoever asks, who could suspect it too.
            confirmed: How many do.

        Example:
            >>> [round(Rhythm().suspicion_seconds(100, confirmed), 1) for confirmed in range(4)]
            [1.6, 1.2, 1.0, 0.8]
        """
        wanted = min(CONFIRMATIONS, others)
        if confirmed >= wanted:
            return self.suspicion_min
        share = math.log(confirmed + 1) / math.log(wanted + 1)
        return self.suspicion_max - (self.suspicion_max - self.suspicion_min) * share


HELLOS = 10
"""Hellos in the time of one, of all members together."""

CONFIRMATIONS = 3
"""Members that have to suspect another besides the first, until it is given up as soon as can be."""
