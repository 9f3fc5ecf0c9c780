"""What a member says of itself, and how it refutes what others say of it."""

from __future__ import annotations

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.transport.discovery import Announcement
from hanse.transport.members.datagram import Tell
from hanse.transport.members.fetch import ANNOUNCEMENT_BYTES_MAX, PIECE_BYTES
from hanse.transport.members.outbox import Outbox
from hanse.transport.members.record import (
    INSTANCE_BYTES_MAX,
    VERSION_MAX,
    Member,
    Record,
    Rumour,
    State,
    blob_of,
    digest_of,
)
from hanse.transport.members.roster import Roster


class Own:
    """The own place among the members; only this counts its version up.

    Attributes:
        leaving: Whether it has said goodbye, so that nothing is refuted any more.
        twin: What is wrong where another process bears the same name; empty where nothing is.
    """

    __slots__ = ("_address", "_instance", "_outbox", "_roster", "leaving", "twin")

    def __init__(self, instance: str, address: str, roster: Roster, outbox: Outbox) -> None:
        self.leaving: bool = False
        self.twin: str = ""
        self._instance = instance
        self._address = address
        self._roster = roster
        self._outbox = outbox

    @property
    def record(self) -> Record:
        """What is said of it to others."""
        return self._roster.members[self._instance].record

    @property
    def blob(self) -> bytes:
        """What it says of itself, where it fits beside a hello."""
        blob = self._roster.members[self._instance].blob
        return blob if len(blob) <= PIECE_BYTES else b""

    def say(self, here: Announcement, version: int) -> None:
        """Say this from now on.

        Raises:
            Misconfigured: The name of the instance, or the whole, is too long.
        """
        blob = blob_of(here)
        if not 0 < len(here.instance.encode()) <= INSTANCE_BYTES_MAX:
            raise Misconfigured(f"the instance is called {here.instance!r}; expected 1 to {INSTANCE_BYTES_MAX} bytes")
        if len(blob) > ANNOUNCEMENT_BYTES_MAX:
            raise Misconfigured(
                f"what this node says of itself takes {len(blob)} bytes, at most {ANNOUNCEMENT_BYTES_MAX} can be told: "
                f"it serves {len(here.names)} names; host fewer of them in one node"
            )
        record = Record(self._instance, version, self._address, digest_of(blob))
        self._become(msgspec.structs.replace(Member.of(record), told=record.digest, blob=blob))

    def heard(self, rumour: Rumour, source: str) -> bool:
        """Somebody says something of this member: what is wrong is refuted at once. Whether it was taken for dead."""
        own, told = self.record, rumour.record
        bad = rumour.state is not State.ALIVE
        if told.address != own.address and not bad:
            self.twin = (
                f"another process is called {self._instance!r} too, at {told.address}: give each a name of its own "
                "(node.instance), or leave it out"
            )
            return False
        current = own.version <= told.version < VERSION_MAX
        if self.leaving or not current or (not bad and told.version == own.version):
            return False
        record = msgspec.structs.replace(own, version=told.version + 1)
        self._become(Member.of(record, self._roster.members[self._instance]))
        self._outbox.send(source, Tell(), [Rumour(State.ALIVE, record)])
        # Whoever had the name before is the one that is dead; if not, that will be heard.
        self.twin = ""
        return bad

    def _become(self, own: Member) -> None:
        self._roster.put(own)
        self._outbox.sign(own.record)
        self._outbox.rumours.add(Rumour(State.ALIVE, own.record))
