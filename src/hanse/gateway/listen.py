"""The socket that a server listens on: bound before anything starts, so that a taken address is known at once."""

from __future__ import annotations

import socket
import struct
import sys
from array import array
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import cast

from hanse.kernel.faults import CouldNotStart

HANDSHAKE_SECONDS = 0.005
"""How long a handshake that has begun may take to end, before a stop."""

_ATTACH_FILTER = 26
"""`SO_ATTACH_FILTER` of Linux, which Python does not name; see `man 7 socket`."""

_ONLY_WHO_KNOCKED = (
    (0x30, 0, 0, 13),  # the flags of TCP,
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # are SYN alone: a new client,
    (0x06, 0, 0, 0),  # who is not heard;
    (0x06, 0, 0, 0xFFFFFFFF),  # all others are.
)
"""A program for the system, in the words of `linux/filter.h`."""


def admit_no_more(listener: socket.socket) -> None:
    """Have the system hear nobody new at a listening socket, but end the handshakes that have begun.

    A socket that is closed resets whoever has come in and was not accepted. So nobody may come in while it is emptied;
    who is not heard knocks again after a second, and is refused then, or let in by whoever listens next. Where the
    system cannot do that, all is as if it had not been asked for.

    Args:
        listener: Of this process alone: others that share it would hear nobody either.
    """
    program = array("B", b"".join(struct.pack("HBBI", *step) for step in _ONLY_WHO_KNOCKED))
    address, _ = program.buffer_info()
    with suppress(OSError):
        if sys.platform == "linux" and listener.family in {socket.AF_INET, socket.AF_INET6}:
            listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(_ONLY_WHO_KNOCKED), address))


@contextmanager
def bound(host: str, port: int) -> Generator[socket.socket]:
    """A socket bound to an address, not yet listening; port 0 takes a free one.

    Raises:
        CouldNotStart: The address is taken, not this machine's, or not allowed; says which, and what to do.
    """
    listener = _bind(host, port)
    try:
        yield listener
    finally:
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _could_not(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except OSError as error:
        listener.close()
        raise _could_not(host, port, error) from None
    return listener


def _could_not(host: str, port: int, error: OSError | UnicodeError) -> CouldNotStart:
    reason = error.strerror if isinstance(error, OSError) else "no such host"
    return CouldNotStart(
        f"cannot listen on {url(host, port)}: {reason}; stop what listens there, or choose another address "
        f"with --host and --port (0 takes a free port)"
    )


def url_of(listener: socket.socket) -> str:
    """Where a bound socket is reached; one that listens everywhere is reached on this machine's loopback."""
    host, port = cast("tuple[str, int]", listener.getsockname()[:2])
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
    return url(everywhere.get(host, host), port)


def url(host: str, port: int) -> str:
    """An address as a URL.

    Example:
        >>> url("::1", 8000)
        'http://[::1]:8000'
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
