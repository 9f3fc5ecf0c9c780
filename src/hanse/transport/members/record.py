"""What members know of one another, as values: small records that travel, and what is kept of each member."""

from __future__ import annotations

import enum
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta

from hanse.transport.discovery import Announcement

INSTANCE_BYTES_MAX = 128
"""Longest name of an instance: two records have to fit into one datagram whatever they are called."""

ADDRESS_CHARACTERS_MAX = 64
"""Longest address: an IPv6 one with its scope and port is shorter."""

VERSION_MAX = 2**53
"""A version beyond this was made up: it would take a thousand refutations a second for ten thousand years."""

PLACES = 2**62
"""Places of the ring: each instance stands at the digest of its name."""

_DIGEST_BYTES = 8

Instance = Annotated[str, Meta(min_length=1, max_length=INSTANCE_BYTES_MAX)]
Address = Annotated[str, Meta(max_length=ADDRESS_CHARACTERS_MAX)]
Digest = Annotated[bytes, Meta(min_length=_DIGEST_BYTES, max_length=_DIGEST_BYTES)]
Place = Annotated[int, Meta(ge=0, le=PLACES)]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that gossip carries of a member.

    Attributes:
        instance: Name of the process.
        version: Of what it says of itself; it counts up when that changes, and to refute that it is dead.
        address: Where it takes datagrams, as `host:port`.
        digest: Of its announcement, which is asked for where it is not known.
    """

    instance: Instance
    version: Annotated[int, Meta(ge=1, le=VERSION_MAX)]
    address: Address
    digest: Digest


class State(enum.IntEnum):
    """What is said of a member."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Rumour(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that is said of a member; true until a higher version is heard of it.

    Attributes:
        state: What it is.
        record: Who.
        by: The place of whoever suspects it: suspicions of several weigh more than one of the same.
    """

    state: State
    record: Record
    by: Place = 0


class Member(msgspec.Struct, frozen=True, gc=False):
    """A member that is taken to live, as somebody knows it.

    Attributes:
        record: What was heard last.
        place: Its place on the ring.
        print: Stands for its instance, version and digest; prints of many are added up by exclusive or.
        told: Digest of the announcement that was told, which may be older than the record's; empty for none.
        blob: That announcement as bytes, to hand on.
    """

    record: Record
    place: int
    print: int
    told: bytes = b""
    blob: bytes = b""

    @classmethod
    def of(cls, record: Record, before: Member | None = None) -> Member:
        """The member of a record; the announcement that is known of it stays known."""
        told, blob = (before.told, before.blob) if before else (b"", b"")
        return cls(record, place_of(record.instance), print_of(record), told, blob)

    @property
    def whole(self) -> bool:
        """Whether the announcement of its record is known."""
        return self.told == self.record.digest


class Tomb(msgspec.Struct, frozen=True, gc=False):
    """A member that left or is dead, kept so that old news does not bring it back.

    Attributes:
        record: What was known last; what is not newer is not believed.
        left: Whether it said goodbye, so that nobody needs to look for it.
        until: When it is forgotten.
    """

    record: Record
    left: bool
    until: float


class Gone(msgspec.Struct, frozen=True):
    """Somebody who had been told of is a member no more.

    Attributes:
        instance: Who.
        why: In words, for the log.
    """

    instance: str
    why: str


News = Announcement | Gone
"""What a discovery tells: who has come or changed, and who has gone."""


def place_of(instance: str) -> int:
    """Where an instance stands on the ring: anybody reckons the same.

    Example:
        >>> place_of("a") == place_of("a"), 0 <= place_of("a") < PLACES
        (True, True)
    """
    return int.from_bytes(blake2b(instance.encode(), digest_size=8).digest()) >> 2


def print_of(record: Record) -> int:
    """What stands for a record when two compare what they know."""
    text = f"{record.version} {record.instance}".encode()
    return int.from_bytes(blake2b(text, digest_size=8, key=record.digest).digest()) >> 2


def digest_of(blob: bytes) -> bytes:
    """What stands for an announcement."""
    return blake2b(blob, digest_size=_DIGEST_BYTES).digest()


def blob_of(announcement: Announcement) -> bytes:
    """An announcement as bytes; its version is the record's, so that refuting a death changes no digest."""
    return _encoder.encode(msgspec.structs.replace(announcement, version=1))


def announcement_of(blob: bytes, version: int = 1) -> Announcement | None:
    """The announcement in such bytes, with the version of its record; None where they are none.

    Example:
        >>> announcement_of(blob_of(Announcement("a", "tcp://10.0.0.1:1")), 4).version
        4
    """
    try:
        found = _decoder.decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.structs.replace(found, version=version)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Announcement)
