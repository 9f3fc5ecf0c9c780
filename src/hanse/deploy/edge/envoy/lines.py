"""What Envoy tells of a request that is over, read. Pure."""

from __future__ import annotations

import msgspec

from hanse.control.edge_figures import Counts

_ERROR = 500
_SWITCHED = 101
_BROKEN = frozenset({"UF", "UC", "UR", "UPE", "LR"})
"""What Envoy says where a server, and not an application, failed."""

_GONE = frozenset({"DC", "DR", "DPE"})
_UNKNOWN = frozenset({"UC", "UR", "LR"})


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A line of log.

    Attributes:
        probe: Path that a worker was asked for; empty for a request of a client.
        service: Who was asked; empty for nobody.
        route: Path of its route.
        who: Who asked, as a hash; empty where nobody looked.
        once: Whether it may not be repeated.
        pool: Cluster that was chosen.
        server: Who answered, or failed last.
        attempts: How often it was tried.
        status: What was answered; 0 for nothing.
        flags: What Envoy says of it.
        head: Milliseconds to the head of the answer; None where a server sent none.
        method: Of an access log, as all below.
        took: Milliseconds in all.
        id: Of the request.
        path: Without its query.
        address: Of whoever asked.
        trace: Of its story.
    """

    probe: str = ""
    service: str = ""
    route: str = ""
    who: str = ""
    once: str = ""
    pool: str = ""
    server: str = ""
    attempts: int = 0
    status: int = 0
    flags: str = ""
    head: int | None = None
    method: str = ""
    took: int = 0
    id: str = ""
    path: str = ""
    address: str = ""
    trace: str = ""

    @property
    def failures(self) -> frozenset[str]:
        """What Envoy says of it, apart."""
        return frozenset(self.flags.split(",")) if self.flags else frozenset()

    @property
    def broken(self) -> bool:
        """Whether the last server failed."""
        return bool(self.failures & _BROKEN) and bool(self.server)

    @property
    def halfway(self) -> bool:
        """Whether the server failed in the middle of its answer; a tunnel ends as it likes."""
        return self.broken and self.head is not None and self.status != _SWITCHED

    @property
    def gone(self) -> bool:
        """Whether the client left before it was answered."""
        return self.status == 0 or (bool(self.failures & _GONE) and self.head is None and not self.broken)

    @property
    def failed(self) -> bool:
        """Whether it came to nothing."""
        return not self.gone and (self.status >= _ERROR or self.halfway)

    @property
    def own_error(self) -> bool:
        """Whether the server, and not the edge, answered that something failed."""
        return self.status >= _ERROR and self.head is not None and not self.broken


_decoder = msgspec.json.Decoder(Told)


def read(line: bytes) -> Told | None:
    """A line of log; None for what is none.

    Example:
        >>> read(b'{"service":"users","status":200,"server":"users-1","attempts":1}').service
        'users'
    """
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None


def count(counts: Counts, told: Told) -> None:
    """Count a request that is over, among those of its key; attempts that failed before are counted elsewhere."""
    counts.requests += 1
    counts.retried += told.attempts > 1
    if told.gone:
        counts.gone += 1
        return
    counts.errors += told.failed
    counts.failed += told.halfway
    counts.unknown += bool(told.failures & _UNKNOWN) and told.head is None
    if told.head is not None:
        counts.took(told.head / 1000)
