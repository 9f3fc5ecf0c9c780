"""Unix sockets that a system is driven by: only its user may use them, and who is at the other end is asked."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Protocol, runtime_checkable

from hanse.gateway.peer_user import own_user, why_not_user

_CREDENTIALS = struct.Struct("3i")


@runtime_checkable
class HasOptions(Protocol):
    """A socket, as an event loop lends it."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes:
        """What the system tells of it."""
        ...


def own_socket(path: Path) -> socket.socket:
    """A socket at a path, which only this user may use; what was there before is removed."""
    path.unlink(missing_ok=True)
    own = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        own.bind(str(path))
    finally:
        _ = os.umask(before)
    return own


def user_of(peer: object) -> int | None:
    """The user at the other end of a unix socket; None where the system does not tell."""
    if not sys.platform.startswith("linux") or not isinstance(peer, HasOptions):
        return None
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def why_not(peer: object) -> str:
    """Why whoever is at the other end of a unix socket may not drive this process; empty where they may."""
    return why_not_user(user_of(peer), own_user())
