"""The port of what balances: whatever stands at the edge is told tables, and tells figures."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What engines may differ in; the shared suite of tests reads it.

    Attributes:
        mirrors: It copies requests to another release.
        grpc: It speaks HTTP/2 without TLS to servers, as gRPC needs it.
        trailers: It hands on the trailers of bodies.
        cookies: It sets the cookie of a split for who has none.
        unknown_told: What it answers where nobody knows what became of a request says so.
        exact: It reads heads by the letter, where others bend: it refuses folded lines and lengths beside chunks, keeps
            back what `Connection` names, goes by the host of a whole URL, keeps its connections where a server ends
            its own, hands on answers that come before a body was read, and waits for a body by another time than for a
            head.
        waiting: It tells of requests that wait for an answer, and for how long.
        ejects: It leaves a server alone at once that goes away with a request, and no more than half of a pool.
    """

    mirrors: bool = False
    grpc: bool = False
    trailers: bool = False
    cookies: bool = False
    unknown_told: bool = False
    exact: bool = False
    waiting: bool = False
    ejects: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an edge is, and how it is reached.

    Attributes:
        folder: For its socket of control and what else it keeps; only its user may look in.
        host: Address that it listens on.
        port: Its port; 0 takes a free one.
        certificate: Path of its certificate, with those of whoever signed it (PEM); empty for plain HTTP.
        key: Path of the certificate's key (PEM).
        access_log: Whether each request has a line of log.
        pure: Whether our own engine reads HTTP by h11, also where httptools is installed.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    certificate: str = ""
    key: str = ""
    access_log: bool = False
    pure: bool = False


class Engine(Protocol):
    """An edge, driven from outside of its process.

    All verbs raise `Unavailable` where the engine's process cannot be reached.
    """

    @property
    def features(self) -> Features:
        """What it can do."""
        ...

    async def start(self) -> str:
        """Start it, or take over one that runs in this place already; the URL that it listens at.

        It answers 503 until it has a table; one that was taken over has the table that it had.

        Raises:
            CouldNotStart: Its address is taken, or its program is missing; says which.
        """
        ...

    async def apply(self, table: Table) -> None:
        """Show another table; when this returns, it is in force for every request whose head comes from then on.

        Requests under way, and tunnels, go on as they are.

        Raises:
            Misconfigured: The table's parts do not fit together, or its revision is below the one in force; the one in
                force stays.
        """
        ...

    async def figures(self) -> Figures:
        """What has been counted since it began."""
        ...

    async def pairs(self) -> Pairs:
        """What copies of requests came to since this was asked last; none of an engine that mirrors nothing."""
        ...

    async def drained(self, server: str, timeout: float) -> bool:
        """Wait until a server has nothing under way, at most so many seconds; whether it has nothing.

        A server that the table does not name any more counts until its last request is over.
        """
        ...

    async def cut(self, server: str) -> int:
        """Break off all that is under way at a server, tunnels among it; how many these were."""
        ...

    async def stop(self, grace: float) -> None:
        """End it: no new connections, then at most so many seconds for what is under way, then the end."""
        ...
