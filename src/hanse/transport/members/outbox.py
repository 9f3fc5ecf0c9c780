"""What is to be sent: acts become datagrams, and each takes along as many rumours as fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hanse.transport.members.datagram import Act, Envelope, encode
from hanse.transport.members.record import Record, Rumour
from hanse.transport.members.roster import Roster
from hanse.transport.members.rumours import Rumours

P = TypeVar("P", bound=Record | Rumour | str | bytes)

SENDS_MAX = 4096
"""Datagrams that wait to be taken at once; what would be one more is not sent, as if it were lost."""

Send = tuple[str, bytes]
"""An address, and a datagram for it."""


class Outbox:
    """Makes the datagrams of one member.

    Attributes:
        rumours: What they take along.
    """

    __slots__ = ("_envelope", "_roster", "_sender", "_sends", "rumours")

    def __init__(self, envelope: Envelope, roster: Roster) -> None:
        self.rumours: Rumours = Rumours()
        self._envelope = envelope
        self._roster = roster
        self._sender = b""
        self._sends: list[Send] = []

    def sign(self, sender: Record) -> None:
        """Send as this from now on."""
        self._sender = encode(sender)

    def send(self, to: str, act: Act, first: Iterable[Rumour] = (), *, gossip: bool = True) -> None:
        """Send an act.

        Args:
            to: The address.
            act: What for.
            first: Rumours that the receiver has to hear.
            gossip: Whether others are taken along.
        """
        if len(self._sends) >= SENDS_MAX:
            return
        encoded = encode(act)
        told = [encode(rumour) for rumour in first]
        if gossip and len(self.rumours):
            told += self.rumours.take(self.room(encoded, *told), len(self._roster))
        self._sends.append((to, self._envelope.pack(self._sender, encoded, told)))

    def room(self, *parts: bytes) -> int:
        """Bytes that are left in a datagram beside these parts."""
        return self._envelope.room(self._sender, *parts)

    def taken(self) -> list[Send]:
        """What is to be sent now."""
        sends, self._sends = self._sends, []
        return sends
