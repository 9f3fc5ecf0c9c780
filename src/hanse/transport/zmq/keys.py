"""Who may connect: each node has a pair of keys, and a list of the public keys of all that it believes.

Both sides prove their keys (CURVE), and everything is encrypted. The list is read again when its file changes, so a key
that is taken from it makes no new connections.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, final

import zmq
from zmq.utils import z85

from hanse.kernel.faults import CouldNotStart
from hanse.transport.zmq.curve import Curve

KEY_LETTERS: Final = 40
KEY_BYTES: Final = 32
FILE_BYTES_MAX: Final = 1024 * 1024
"""Of a list of keys: some ten thousand nodes."""


def new_keys() -> tuple[str, str]:
    """A new pair of keys, public and secret."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


@final
class Keys:
    """The keys of a node, read from their files.

    Attributes:
        public, secret: Its own, as ZeroMQ writes them.
    """

    def __init__(self, curve: Curve) -> None:
        """Read them. Raises `CouldNotStart`, naming what cannot be used."""
        secret = _text(Path(curve.secret)).strip()
        if not is_key(secret):
            raise CouldNotStart(f"{curve.secret}: a secret key of {KEY_LETTERS} letters was expected, and nothing else")
        self.secret: bytes = secret.encode()
        self.public: bytes = zmq.curve_public(self.secret)
        self._path = Path(curve.allowed)
        self._stamp: tuple[int, int, int] | None = None
        self._allowed: frozenset[str] = frozenset()
        if not self.allows(self.public.decode()):
            raise CouldNotStart(f"{curve.allowed} has to name this node's own public key: {self.public.decode()}")

    def allows(self, key: str) -> bool:
        """Whether the list names a public key now. Raises `CouldNotStart` where it cannot be read."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise CouldNotStart(f"{self._path} cannot be read: {error.strerror}") from None
        stamp = found.st_mtime_ns, found.st_ino, found.st_size
        if stamp != self._stamp:
            self._allowed = listed(_text(self._path))
            self._stamp = stamp
        return key in self._allowed


def listed(text: str) -> frozenset[str]:
    """The public keys of a list. Raises `CouldNotStart`, naming the line that has none."""
    keys: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        key = line.partition(" ")[0].strip()
        if not key or (line.startswith("#") and not is_key(key)):
            continue
        if not is_key(key):
            raise CouldNotStart(f"line {number} of the list of keys: a key of {KEY_LETTERS} letters was expected")
        keys.add(key)
    return frozenset(keys)


def is_key(text: str) -> bool:
    """Whether a text is a key, as ZeroMQ writes them."""
    try:
        return len(text) == KEY_LETTERS and len(z85.decode(text.encode("ascii"))) == KEY_BYTES
    except (KeyError, ValueError, struct.error):
        return False  # no such letter; or a number that is too large


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CouldNotStart(f"{path} has more than {FILE_BYTES_MAX} bytes: is it a list of keys?")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CouldNotStart(f"{path} cannot be read: {error}") from None
