"""What members send one another: datagrams, small enough for any network, signed where there is a key.

A datagram is a head and a body. The head is three letters, the version of this format, the digest of the app's name and
of its group, and, where there is a key, a signature of all else. The body is MessagePack: who sends, one act, and as
many rumours as still fit. What is not of this format, app, group, version or key is told from what is by its head, and
never decoded.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta

from hanse.transport.members.record import Address, Digest, Instance, Place, Record, Rumour

DATAGRAM_BYTES_MAX = 1200
"""Longest datagram that is sent: it crosses any network in one piece."""

TAKEN_BYTES_MAX = 1500
"""Longest datagram that is read."""

ITEMS_MAX = 128
"""Of any list in a datagram."""

_MAGIC = b"HNS"
_VERSION = 1
_APP_BYTES = 4
_TAG_BYTES = 16
_HEAD_BYTES = len(_MAGIC) + 1 + _APP_BYTES
_LIST_BYTES = 4  # the frame's own mark, and that of its list of rumours

_Number = Annotated[int, Meta(ge=0, lt=2**53)]
_Count = Annotated[int, Meta(ge=0, lt=2**31)]


class _Act(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Hello(_Act, frozen=True, array_like=True, gc=False, tag=1):
    """I am here.

    Attributes:
        everybody: Whether it went to all at once, so that few need to answer.
        print: Of all that the sender knows.
        blob: The sender's announcement, where it fits.
    """

    everybody: bool
    print: Place
    blob: bytes = b""


class Ping(_Act, frozen=True, array_like=True, gc=False, tag=2):
    """Do you live? Only the instance that is meant answers: another process may have its address by now."""

    number: _Number
    to: Instance
    print: Place


class Ack(_Act, frozen=True, array_like=True, gc=False, tag=3):
    """Yes; or, from one who was asked to ask: yes, it does."""

    number: _Number
    print: Place


class Ask(_Act, frozen=True, array_like=True, gc=False, tag=4):
    """Ask somebody for me whether it lives: my own way to it may be broken."""

    number: _Number
    to: Instance
    address: Address


class Nack(_Act, frozen=True, array_like=True, gc=False, tag=5):
    """I asked, and have no answer: so at least your way to me works."""

    number: _Number


class Tell(_Act, frozen=True, array_like=True, gc=False, tag=6):
    """Rumours, and nothing else."""


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of the ring, from `start` until before `end`: the print and the number of those that stand there."""

    start: Place
    end: Place
    print: Place = 0
    count: _Count = 0


Spans = Annotated[tuple[Span, ...], Meta(max_length=ITEMS_MAX)]


class Compare(_Act, frozen=True, array_like=True, gc=False, tag=7):
    """This is what I know, in prints; say where yours differ."""

    spans: Spans


class Pull(_Act, frozen=True, array_like=True, gc=False, tag=8):
    """Tell me whom you know there, a page for each."""

    spans: Spans


class Page(_Act, frozen=True, array_like=True, gc=False, tag=9):
    """All whom I know from `start` until before `end`; the page that was asked for goes on until `until`."""

    start: Place
    end: Place
    until: Place
    records: Annotated[tuple[Record, ...], Meta(max_length=ITEMS_MAX)]


class Accuse(_Act, frozen=True, array_like=True, gc=False, tag=10):
    """You tell me of these; I had heard that they have gone. See whether they live: if so, they will say so."""

    rumours: Annotated[tuple[Rumour, ...], Meta(max_length=ITEMS_MAX)]


class Want(_Act, frozen=True, array_like=True, gc=False, tag=11):
    """Tell me the announcements of these."""

    instances: Annotated[tuple[Instance, ...], Meta(max_length=ITEMS_MAX)]


class Have(_Act, frozen=True, array_like=True, gc=False, tag=12):
    """Announcements."""

    blobs: Annotated[tuple[bytes, ...], Meta(max_length=ITEMS_MAX)]


class Part(_Act, frozen=True, array_like=True, gc=False, tag=13):
    """A part of an announcement that fits into no datagram."""

    instance: Instance
    digest: Digest
    index: _Count
    count: _Count
    piece: bytes


Act = Hello | Ping | Ack | Ask | Nack | Tell | Compare | Pull | Page | Accuse | Want | Have | Part


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The body of a datagram: who sends it, what for, and what it has heard lately."""

    sender: Record
    act: Act
    rumours: Annotated[tuple[Rumour, ...], Meta(max_length=ITEMS_MAX)] = ()


class Refused(msgspec.Struct, frozen=True):
    """Why a datagram is not read.

    Attributes:
        why: In words.
        ours: Whether somebody should know: it came from Hanse, of another version or with another key. Other apps and
            groups, and whatever else is sent to a group, are nobody's business.
    """

    why: str
    ours: bool


class Envelope:
    """Packs and opens the datagrams of one group of an app.

    Example:
        >>> from hanse.transport.members.record import digest_of
        >>> sender = Record("a", 1, "10.0.0.1:7420", digest_of(b""))
        >>> envelope = Envelope("shop", (b"secret",))
        >>> envelope.open(envelope.pack(encode(sender), encode(Nack(7)))).act
        Nack(number=7)
        >>> Envelope("shop", (b"other",)).open(envelope.pack(encode(sender), encode(Nack(7)))).why
        'it is signed with another key'
    """

    __slots__ = ("_head", "_keys", "overhead")

    def __init__(self, app: str, keys: Sequence[bytes] = (), *, group: str = "") -> None:
        """Take the app's name and its keys.

        Args:
            app: Datagrams of others are passed over.
            group: Those of other groups as well: a member's address may be another's by now, who is to stay apart.
            keys: The first signs, and any of them opens: so keys are changed with no gap. Empty for no signatures.
        """
        name = f"{app}@{group}".encode()
        self._head = _MAGIC + bytes([_VERSION]) + blake2b(name, digest_size=_APP_BYTES).digest()
        self._keys = tuple(keys)
        self.overhead: int = len(self._head) + (_TAG_BYTES if keys else 0) + _LIST_BYTES

    def room(self, *parts: bytes) -> int:
        """Bytes that are left for rumours beside these parts."""
        return DATAGRAM_BYTES_MAX - self.overhead - sum(map(len, parts))

    def pack(self, sender: bytes, act: bytes, rumours: Iterable[bytes] = ()) -> bytes:
        """A datagram of encoded parts."""
        told = list(rumours)
        mark = b"\xdc" + len(told).to_bytes(2)
        body = b"".join((b"\x93", sender, act, mark, *told))
        tag = self._tag(self._keys[0], body) if self._keys else b""
        return b"".join((self._head, tag, body))

    def open(self, datagram: bytes) -> Frame | Refused:
        """What a datagram says, or why it is not read. Whatever came, it raises nothing."""
        strange = self._strange(datagram)
        if strange is not None:
            return strange
        body = datagram[_HEAD_BYTES:]
        if self._keys:
            tag, body = body[:_TAG_BYTES], body[_TAG_BYTES:]
            if not any(hmac.compare_digest(tag, self._tag(key, body)) for key in self._keys):
                return Refused("it is signed with another key", ours=True)
        try:
            return _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Refused(f"it cannot be read: {error}", ours=not self._keys)

    def _strange(self, datagram: bytes) -> Refused | None:
        if len(datagram) > TAKEN_BYTES_MAX or datagram[:3] != _MAGIC:
            return Refused("it is of another program", ours=False)
        if datagram[3:4] != self._head[3:4]:
            return Refused(f"it is of format {datagram[3:4].hex()}, expected {_VERSION:02x}", ours=True)
        if datagram[4:_HEAD_BYTES] != self._head[4:]:
            return Refused("it is of another app or group", ours=False)
        return None

    def _tag(self, key: bytes, body: bytes) -> bytes:
        # A key of any length: the hash itself takes up to 64 bytes.
        key = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
        return blake2b(self._head + body, digest_size=_TAG_BYTES, key=key).digest()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(part: Act | Record | Rumour) -> bytes:
    """A part of a datagram, as bytes."""
    return _encoder.encode(part)
