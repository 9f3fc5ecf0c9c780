"""What an edge shows, as one immutable value: routes, how each service's requests are shared, and who answers them.

Whatever changes makes a new `Table` with a higher revision; an engine swaps the whole of it. So nobody ever sees half
of a change, and two tables can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from hanse.kernel.faults import Misconfigured

WHOLE = 10_000
"""Basis points of all requests: 100 is one per cent."""

SERVERS_MAX = 1_000
"""Servers of one pool."""

Points = Annotated[int, Meta(ge=0, le=WHOLE, extra={"expected": f"basis points, from 0 to {WHOLE}"})]
Weight = Annotated[int, Meta(ge=0, le=256, extra={"expected": "a weight from 0 to 256"})]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, extra={"unit": "seconds"})]
Source = Annotated[
    str, Meta(pattern="^(address|(header|cookie)[.].+)$", extra={"expected": "address, header.NAME or cookie.NAME"})
]
"""Where something is read from a request: `header.NAME`, `cookie.NAME`, or `address` of the client."""

State = Literal["up", "draining", "down"]
"""Of a server: it gets requests; it gets no new one, and ends those that it has; it is not there."""

Balance = Literal["round_robin", "least_request", "source"]
"""Who is next: in turn by weight; the less busy of two drawn; the one that the client's address belongs to."""


Protocol = Literal["http", "h2c"]
"""What servers speak: HTTP/1.1; or HTTP/2 without TLS, as gRPC needs it."""


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Plain data that can be sent and stored as it is."""


class Server(Value, frozen=True, kw_only=True):
    """One process that answers requests.

    Attributes:
        id: Its name among all servers of the table, such as `users-1.5-2`.
        host: Its address.
        port: Its port.
        weight: Its share of what its pool gets; 0 is none, as while it warms up.
        state: See `State`.
    """

    id: str
    host: str = "127.0.0.1"
    port: Port
    weight: Weight = 100
    state: State = "up"


class Pool(Value, frozen=True, kw_only=True):
    """The servers of one release of a service.

    Attributes:
        service: Whose.
        release: Which of its releases.
        servers: Who they are.
        balance: How requests are spread over them.
        sticky: Name of a cookie by which a visitor stays with one server, as Socket.IO needs it; empty for none.
        health: Path by which a server that was ejected is asked whether it is back: any answer below 500 is yes; where
            it is empty, a connection that is taken.
    """

    service: str
    release: str = ""
    servers: tuple[Server, ...] = ()
    balance: Balance = "round_robin"
    sticky: str = ""
    health: str = ""

    def seat(self, server: Server) -> str:
        """What a visitor's cookie says of a server: its release, too, as a new one takes over names of the old one.

        Example:
            >>> Pool(service="web", release="../v2").seat(Server(id="web-1", port=8001))
            'web-1@..%2Fv2'
        """
        return "@".join(quote(part, safe="", errors="surrogateescape") for part in (server.id, self.release))


class Share(Value, frozen=True, kw_only=True):
    """What a release gets of a service's requests.

    Attributes:
        release: Which.
        points: Basis points of what sticks.
    """

    release: str
    points: Points


class Split(Value, frozen=True, kw_only=True):
    """How requests are shared among releases: by a hash, so that whoever got a release keeps it.

    What sticks is hashed to a number below 10,000, and shares are laid side by side in their order: whoever is in the
    first share stays in it while it grows. So the release that grows comes first.

    Attributes:
        shares: One for each release, which make `WHOLE` together.
        salt: Of the rollout: with another one, others come first.
        sticks_to: Where what sticks is read, the first that a request has.
        cookie: Set for whoever has none of these, so that they stick; empty to draw anew for each request.
    """

    shares: tuple[Share, ...]
    salt: str = ""
    sticks_to: tuple[Source, ...] = ()
    cookie: str = ""


class Timeouts(Value, frozen=True, kw_only=True):
    """How long an edge waits, in seconds.

    Attributes:
        connect: For a server to take a connection; another one is tried then.
        head: For the head of an answer, once the request is sent; 504 then.
        idle: Between two pieces of a body, either way; the request is broken off then.
        tunnel: For a word on a WebSocket, either way; it is closed then.
    """

    connect: Seconds = 1.0
    head: Seconds = 30.0
    idle: Seconds = 300.0
    tunnel: Seconds = 3_600.0


class Retries(Value, frozen=True, kw_only=True):
    """What is tried again, and never more than is safe: see `hanse.control.edge_retry`.

    Attributes:
        attempts: Of one request, at most; 1 is never again.
        body_bytes: Of a body that is kept to send it again; a longer one is sent once.
        reuse_idle: Seconds for which an idle connection may be used for a request that must not be repeated. A server
            may close it at that very moment, and nobody knows then what it has heard; at 0 such requests get new ones.
    """

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    body_bytes: Annotated[int, Meta(ge=0, le=16 * 1024 * 1024)] = 64 * 1024
    reuse_idle: Annotated[float, Meta(ge=0)] = 0.0


class Mirror(Value, frozen=True, kw_only=True):
    """Copies of requests to another release, whose answers no client sees.

    Attributes:
        release: Who gets them, beside whoever answers.
        points: Basis points of the requests.
        placebo: Basis points of the copies that go to the release which answers instead: by them it is known what
            differs between two answers of one release.
        methods: Those that are copied: what changes nothing, unless the service knows better.
    """

    release: str
    points: Points = WHOLE
    placebo: Points = 0
    methods: tuple[str, ...] = ("GET", "HEAD")


class Target(Value, frozen=True, kw_only=True):
    """A service, as the edge sends requests to it.

    Attributes:
        service: Its name.
        split: How its releases share requests.
        timeouts: How long is waited for it.
        retries: What is tried again.
        mirror: Who gets copies; None for nobody.
        forced_by: Header by which whoever the table trusts chooses a release, such as to try one that has no share yet.
        protocol: What its servers speak: `http`, or `h2c`, HTTP/2 without TLS, as gRPC needs it.
    """

    service: str
    split: Split
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    mirror: Mirror | None = None
    forced_by: str = "x-hanse-release"
    protocol: Protocol = "http"


class EdgeRoute(Value, frozen=True, kw_only=True):
    """What goes to a service.

    Attributes:
        service: Which.
        host: Name that it is for, `*.shop.example` for all below one, or empty for any.
        path: Prefix of paths, by whole segments: `/users` is for `/users/7` and not for `/users7`.
        strip_prefix: Whether the service gets paths without it, and is told of it by `X-Forwarded-Prefix`.
    """

    service: str
    host: str = ""
    path: Annotated[str, Meta(pattern="^/")] = "/"
    strip_prefix: bool = False


class Egress(Value, frozen=True, kw_only=True):
    """That an edge is for those inside: programs of the system ask it for their neighbours by name.

    Attributes:
        passing: Hosts that are no services, and that requests are passed on to: names, `*.shop.example` for all below
            one, or `*` for any.
    """

    passing: tuple[str, ...] = ()


class Table(Value, frozen=True, kw_only=True):
    """All that an edge shows.

    Attributes:
        revision: Grows with each change; an engine refuses one below its own.
        routes: The longest path of the most exact host wins.
        targets: The services that routes lead to.
        pools: Who answers.
        proxies: Addresses and networks that are believed about who asks, such as a load balancer before the edge.
        forcing: Those that may choose a release by header.
        egress: Set where it is for those inside; None for the door to the outside.

    Example:
        >>> pool = Pool(service="users", release="1.4", servers=(Server(id="users-1", port=4001),))
        >>> split = Split(shares=(Share(release="1.4", points=WHOLE),))
        >>> routes = (EdgeRoute(service="users", path="/api/users"),)
        >>> table = Table(revision=1, routes=routes, targets=(Target(service="users", split=split),), pools=(pool,))
        >>> checked(table) is table
        True
    """

    revision: Annotated[int, Meta(ge=0)] = 0
    routes: tuple[EdgeRoute, ...] = ()
    targets: tuple[Target, ...] = ()
    pools: tuple[Pool, ...] = ()
    proxies: tuple[str, ...] = ()
    forcing: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    egress: Egress | None = None


def checked(table: Table) -> Table:
    """The table, if its parts fit together.

    Raises:
        Misconfigured: They do not; lists everything that is wrong.
    """
    if problems := list(problems_of(table)):
        raise Misconfigured(f"the edge cannot show revision {table.revision}:\n  " + "\n  ".join(problems))
    return table


def problems_of(table: Table) -> Iterator[str]:
    """What does not fit together in a table, in words."""
    targets = {target.service for target in table.targets}
    pools = {(pool.service, pool.release) for pool in table.pools}
    yield from (
        f"the route {route.host}{route.path} leads to {route.service!r}, which is no target"
        for route in table.routes
        if route.service not in targets
    )
    yield from _twice("route", (f"{route.host.lower()}{route.path.rstrip('/')}/" for route in table.routes))
    yield from _twice("target", (target.service for target in table.targets))
    yield from _twice("pool", (f"{pool.service} {pool.release}" for pool in table.pools))
    yield from _twice("server", (server.id for pool in table.pools for server in pool.servers))
    yield from (
        f"the pool {pool.service} {pool.release} has {len(pool.servers)} servers, of {SERVERS_MAX} that it may have"
        for pool in table.pools
        if len(pool.servers) > SERVERS_MAX
    )
    for target in table.targets:
        yield from _problems_of_target(target, pools)


def _problems_of_target(target: Target, pools: set[tuple[str, str]]) -> Iterator[str]:
    shares = target.split.shares
    if (points := sum(share.points for share in shares)) != WHOLE:
        yield f"the shares of {target.service} make {points}; expected {WHOLE} basis points together"
    yield from _twice(f"share of {target.service}", (share.release for share in shares))
    named = [share.release for share in shares] + ([target.mirror.release] if target.mirror else [])
    yield from (
        f"{target.service} has no pool of its release {release!r}"
        for release in dict.fromkeys(named)
        if (target.service, release) not in pools
    )


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    return (f"the {what} {name!r} is there {count} times" for name, count in Counter(names).items() if count > 1)
