"""The trace of a run: every effect that anybody could have seen, hashed in order, and kept where wanted.

Effects are what counts, not the schedule: packets with their bytes, commits, log lines, incidents, verdicts. Two runs
with one hash did the same.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import final

import msgspec

EFFECTS_MAX = 200_000
"""Effects that one trace keeps; the hash goes on beyond."""


class Effect(msgspec.Struct, frozen=True, gc=False):
    """Something that happened.

    Attributes:
        at: Second of the world's clock.
        machine: Where; empty for the world itself.
        kind: Such as `send`, `receive`, `lose`, `commit`, `log`, `kill`, `start`, `violation`.
        detail: In words.
        data: The bytes that were sent or written.
        peer: The machine at the other end, of a packet.
    """

    at: float
    machine: str
    kind: str
    detail: str = ""
    data: bytes = b""
    peer: str = ""


_pack = struct.Struct("<dII").pack


@final
class Trace:
    """Hashes what happens, in order.

    Example:
        >>> trace = Trace()
        >>> trace.add(0.5, "orders", "log", "hello")
        >>> len(trace.hash)
        32
    """

    def __init__(self, *, keep: bool = False) -> None:
        """Start an empty trace.

        Args:
            keep: Whether effects are kept, to be told and compared; without it only their hash is.
        """
        self.effects: list[Effect] = []
        self.count: int = 0
        self._keep = keep
        self._hash = blake2b(digest_size=16)

    @property
    def hash(self) -> str:
        """Of everything so far; 32 hexadecimal digits."""
        return self._hash.hexdigest()

    def add(self, at: float, machine: str, kind: str, detail: str = "", data: bytes = b"", peer: str = "") -> None:
        """Something happened."""
        self.count += 1
        text = f"{machine}\x00{kind}\x00{peer}\x00{detail}".encode()
        # With their lengths, so that no two sequences of effects come to the same bytes.
        self._hash.update(_pack(at, len(text), len(data)) + text + data)
        if self._keep and self.count <= EFFECTS_MAX:
            self.effects.append(Effect(at, machine, kind, detail, data, peer))
