"""The socket that a server listens on: bound before anything starts, so that a taken address is known at once."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

from hanse.kernel.faults import CouldNotStart


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
