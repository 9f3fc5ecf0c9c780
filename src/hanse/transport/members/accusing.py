"""Whoever tells of a member that has been given up here is told so, and sees whether it lives.

To argue would never end, as both may be right about what they saw. So one accuses, and the other has the member pinged
with the accusation; if it lives, it refutes that by a higher version, and all believe it.
"""

from __future__ import annotations

from hanse.transport.members.datagram import Accuse
from hanse.transport.members.outbox import Outbox
from hanse.transport.members.record import Rumour, State, Tomb

ACCUSED = 4
"""Accusations in one datagram: that many fit, whatever the members are called."""


class Accusing:
    """Accusations that are to be sent to whoever is heard just now."""

    __slots__ = ("_outbox", "_waiting")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: list[Rumour] = []

    def of(self, tomb: Tomb) -> None:
        """A member that is buried here is said to live."""
        self._waiting.append(Rumour(State.LEFT if tomb.left else State.DEAD, tomb.record))

    def send(self, source: str) -> None:
        """Whoever told of these should see whether they live."""
        accusations, self._waiting = self._waiting, []
        for at in range(0, len(accusations), ACCUSED):
            self._outbox.send(source, Accuse(tuple(accusations[at : at + ACCUSED])), gossip=False)
