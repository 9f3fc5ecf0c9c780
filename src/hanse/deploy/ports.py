"""Ports for instances: free ones, below those that the system gives to outgoing connections, and the same again."""

from __future__ import annotations

import random  # noqa: TID251 - the type of a host's chance
import socket
from contextlib import suppress

from hanse.kernel.faults import CouldNotStart

LOWEST, HIGHEST = 20_000, 32_767
"""Above these, an outgoing connection of anybody's could have taken a port between our look and its use."""

TRIES_MAX = 1_000


def free_port(host: str, chance: random.Random, taken: set[int]) -> int:
    """A port that nobody listens at.

    Args:
        host: Address that is to be listened on.
        chance: Draws.
        taken: Ports that somebody else is about to use.

    Raises:
        CouldNotStart: None was found.
    """
    for _ in range(TRIES_MAX):
        port = chance.randint(LOWEST, HIGHEST)
        if port not in taken and is_free(host, port):
            return port
    raise CouldNotStart(f"expected a free port from {LOWEST} to {HIGHEST} at {host}, found none in {TRIES_MAX} tries")


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens at a port now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections that have ended, and are still remembered, keep nobody out.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((host, port))
            probe.listen(1)
            return True
    return False
