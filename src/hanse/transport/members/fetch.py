"""Announcements, asked for until they are known: gossip carries no more than their digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from hanse.kernel.host import Host
from hanse.transport.members.datagram import Have, Part, Want
from hanse.transport.members.outbox import Outbox
from hanse.transport.members.record import Member, digest_of
from hanse.transport.members.roster import Roster

ANNOUNCEMENT_BYTES_MAX = 16 * 1024
"""Largest announcement: some four hundred services with long names."""

PIECE_BYTES = 768
"""Of an announcement in one datagram."""

WANT_NAMES_MAX = 7
"""Announcements that one datagram asks for: that many fit, whatever the members are called."""

WANTS_MAX = 8
"""Datagrams that ask for announcements at each tick; what is left waits for the next."""

ANSWERS_MAX = 24
"""Datagrams that one question for announcements is answered with: that of a large one takes twenty-two."""

ASK_SECONDS = 0.2
"""Until an announcement is asked for again; half as long again each time that nothing of it has come."""

ASK_SECONDS_MAX = 1.6
"""Until it is asked for again, at most."""

ASSEMBLIES_MAX = 64
"""Large announcements that come in parts at once; the oldest makes room."""

_FRAME_BYTES = 8


class Wanted(msgspec.Struct):
    """An announcement that is not known yet.

    Attributes:
        teller: Address of whoever told of it, and so knows it.
        ask_at: When it is asked for again.
        tries: How often it was asked for.
        spread: Whether the member's record is passed on once it is known.
    """

    teller: str
    ask_at: float
    tries: int = 0
    spread: bool = False


class Assembly(msgspec.Struct):
    """The parts of an announcement that have come."""

    digest: bytes
    count: int
    pieces: dict[int, bytes]


class Fetching:
    """The announcements that one member asks for, and those that it is asked for.

    Attributes:
        wanted: By instance.
    """

    __slots__ = ("_assemblies", "_host", "_outbox", "_roster", "wanted")

    def __init__(self, roster: Roster, outbox: Outbox, host: Host) -> None:
        self.wanted: dict[str, Wanted] = {}
        self._roster = roster
        self._outbox = outbox
        self._host = host
        self._assemblies: dict[str, Assembly] = {}

    def want(self, instance: str, teller: str, *, spread: bool) -> None:
        """Have an announcement asked for: at once, by `ask`."""
        before = self.wanted.get(instance)
        self.wanted[instance] = Wanted(teller, 0.0, spread=spread or (before is not None and before.spread))

    def drop(self, instance: str) -> Wanted | None:
        """Ask for it no more; what was known of the wish."""
        self._assemblies.pop(instance, None)
        return self.wanted.pop(instance, None)

    def ask(self, now: float) -> None:
        """Ask for what is due: first whoever told of it, then the member itself, then somebody else."""
        if not self.wanted:
            return
        asked: dict[str, list[str]] = {}
        for instance, wanted in self.wanted.items():
            if wanted.ask_at <= now:
                to = self._whom(instance, wanted)
                names = asked.setdefault(to, [])
                if len(names) == WANT_NAMES_MAX or (not names and len(asked) > WANTS_MAX):
                    continue
                names.append(instance)
                wanted.ask_at = now + min(ASK_SECONDS_MAX, ASK_SECONDS * 1.5**wanted.tries)
                wanted.tries = min(wanted.tries + 1, 16)
        for to, names in asked.items():
            if names:
                self._outbox.send(to, Want(tuple(names)), gossip=False)

    def _whom(self, instance: str, wanted: Wanted) -> str:
        if wanted.tries == 0:
            return wanted.teller
        others = self._roster.some(1, self._host, instance)
        if wanted.tries % 2 and others:
            return others[0].record.address
        return self._roster.members[instance].record.address

    def answer(self, instances: Iterable[str], to: str) -> None:
        """Somebody asks for announcements: those that are known here go there."""
        known = [self._roster.members[name] for name in instances if name in self._roster.members]
        answers: list[Have | Part] = []
        small: list[bytes] = []
        for member in known:
            if len(member.blob) > PIECE_BYTES:
                answers += _parts(member)
            elif member.blob:
                small.append(member.blob)
        answers = [*self._packed(small), *answers]
        for answer in answers[:ANSWERS_MAX]:
            self._outbox.send(to, answer, gossip=False)

    def _packed(self, blobs: list[bytes]) -> Iterator[Have]:
        room, full = self._outbox.room() - _FRAME_BYTES, list[bytes]()
        left = room
        for blob in blobs:
            if len(blob) + _FRAME_BYTES > left and full:
                yield Have(tuple(full))
                full, left = [], room
            full.append(blob)
            left -= len(blob) + _FRAME_BYTES
        if full:
            yield Have(tuple(full))

    def assemble(self, part: Part) -> bytes | None:
        """The whole announcement, when its last part has come; None until then, and where nobody asked for it."""
        member = self._roster.members.get(part.instance)
        whole = -(-ANNOUNCEMENT_BYTES_MAX // PIECE_BYTES)
        if member is None or part.instance not in self.wanted or part.digest != member.record.digest:
            return None
        if not part.index < part.count <= whole or len(part.piece) > PIECE_BYTES:
            return None
        assembly = self._assembly(part)
        assembly.pieces[part.index] = part.piece
        self.wanted[part.instance].tries = 1
        if len(assembly.pieces) < assembly.count:
            return None
        del self._assemblies[part.instance]
        blob = b"".join(assembly.pieces[index] for index in range(assembly.count))
        return blob if digest_of(blob) == part.digest else None

    def _assembly(self, part: Part) -> Assembly:
        assembly = self._assemblies.get(part.instance)
        if assembly is None or assembly.digest != part.digest or assembly.count != part.count:
            if len(self._assemblies) >= ASSEMBLIES_MAX:
                del self._assemblies[next(iter(self._assemblies))]
            assembly = self._assemblies[part.instance] = Assembly(part.digest, part.count, {})
        return assembly


def _parts(member: Member) -> list[Part]:
    pieces = [member.blob[at : at + PIECE_BYTES] for at in range(0, len(member.blob), PIECE_BYTES)]
    name = member.record.instance
    return [Part(name, member.told, index, len(pieces), piece) for index, piece in enumerate(pieces)]
