"""How many connections each address has open: one that takes them all would leave none for the others."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from hanse.gateway.limits import Limits
from hanse.gateway.problem import Problem
from hanse.kernel.codec import encode_json


def refusal(status: int, reason: str, code: str, detail: str, *more: bytes) -> bytes:
    """An answer that closes its connection, as bytes on the wire, for what never became a request."""
    body = encode_json(Problem(status, code, reason, detail))
    lines = b"".join(line + b"\r\n" for line in more)
    return b"HTTP/1.1 %d %b\r\nconnection: close\r\n%bcontent-type: application/problem+json\r\n" % (
        status,
        reason.encode(),
        lines,
    ) + (b"content-length: %d\r\n\r\n%b" % (len(body), body))


TOO_MANY = refusal(
    429,
    "Too Many Requests",
    "overloaded",
    "the limit of connections of one address is reached; close some, or use them again",
    b"retry-after: 1",
)
"""The answer to a connection too many of one address."""

NO_HTTP = refusal(400, "Bad Request", "malformed", "expected a request of HTTP/1.1, and got something else")
"""The answer to bytes that are no request."""

LOOKS_EACH = 256
"""Connections that may be looked at, for ones that have closed, for each that is refused: they are saved up. An address
that may have no more than these is looked at whole each time."""

Open = Callable[[], bool]
"""Whether a connection is still open."""


class Callers:
    """The open connections, by the address at their other end.

    Example:
        >>> callers = Callers(Limits(connections=2))
        >>> [callers.admits("192.0.2.1", lambda: True) for _ in range(3)]
        [True, True, False]
    """

    def __init__(self, limits: Limits, trusted: Callable[[str], bool] = lambda _: False) -> None:
        """Nobody is connected.

        Args:
            limits: How many may be.
            trusted: Whether an address is that of a proxy, which brings many.
        """
        self._limits = limits
        self._trusted = trusted
        self._open: dict[str, list[Open]] = {}
        self._looks = 0

    def __len__(self) -> int:
        return len(self._open)

    def admits(self, address: str, is_open: Open) -> bool:
        """Count one more connection, if the address may have it."""
        there = self._open.setdefault(address, [])
        limit = self._limit(address)
        if len(there) >= limit:
            # To look at all of 30,000 for each that is refused would let whoever is refused keep us busy.
            self._looks += LOOKS_EACH
            if self._looks >= len(there):
                self._looks = 0
                there[:] = [one for one in there if one()]
        if len(there) >= limit:
            return False
        there.append(is_open)
        return True

    def sweep(self) -> None:
        """Forget connections that are closed, and addresses that have none."""
        for address, there in list(self._open.items()):
            there[:] = [one for one in there if one()]
            if not there:
                del self._open[address]

    def _limit(self, address: str) -> int:
        many = not address or _is_here(address) or self._trusted(address)
        return self._limits.connections_local if many else self._limits.connections


def _is_here(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return True  # a socket of this machine that has no address, such as a unix one
