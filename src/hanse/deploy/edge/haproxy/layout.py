"""What of HAProxy is fixed while it runs, and which pool is where in it. Pure.

Backends have numbers instead of names, and slots for servers: pools and servers are put into free ones by commands.
Only where no backend of the right shape is free, or a header or a cookie is asked for that no rule reads yet, does
HAProxy need a new configuration, which has twice as much room.

What has been in use stays where it is for as long as anything is under way there: a slot that is given to another
server too early would have its figures told of the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from hanse.control.edge_table import Balance, Pool, Protocol, Table, Target, Timeouts
from hanse.deploy.edge.foreign import problems_of
from hanse.kernel.faults import Misconfigured

SLOTS_MIN = 8
"""Room of a backend, in servers: twice what its pool has, and no less than this."""

BACKENDS_MIN = 4
"""Backends of one shape."""

SEGMENTS_MAX = 12
"""Of a prefix that is taken away from paths."""

SHARES_MAX = 8
"""Releases that share the requests of one service."""

T = TypeVar("T")

_PATH = re.compile(r"/[!-~]{0,1000}|")


class Shape(msgspec.Struct, frozen=True):
    """What a backend cannot change while HAProxy runs.

    Attributes:
        balance: Of its pool.
        health: Path that is asked when it was left alone; empty for a connection.
        timeouts: Of its service.
        attempts: Of one request.
        reuse: Whether what may not be repeated may use an idle connection.
        protocol: What its servers speak.
    """

    balance: Balance
    health: str
    timeouts: Timeouts
    attempts: int
    reuse: bool
    protocol: Protocol = "http"


class Backend(msgspec.Struct, frozen=True):
    """Room for a pool.

    Attributes:
        shape: What pools fit.
        slots: How many servers.
    """

    shape: Shape
    slots: int


class Kind(msgspec.Struct, frozen=True):
    """Where the requests of a service say what sticks.

    Attributes:
        sticks_to: Sources, the first that a request has.
        cookie: Set for whoever has none; empty to set none.
    """

    sticks_to: tuple[str, ...]
    cookie: str


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """All that is fixed; it only grows, so that what a number means is the same in all processes of HAProxy.

    Attributes:
        backends: By number.
        kinds: By number.
        forced_by: Headers that choose a release.
        seats: Cookies by which visitors stay with a server.
        below: Hosts that are meant with all below them, such as `.shop.example`, the longest first.
    """

    backends: tuple[Backend, ...] = ()
    kinds: tuple[Kind, ...] = ()
    forced_by: tuple[str, ...] = ()
    seats: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


Slot = tuple[int, int]
"""Numbers of a backend and of a server's place in it, both from 0."""

PoolKey = tuple[str, str]
"""Service and release."""


class Placement(msgspec.Struct, frozen=True):
    """Which pool and which server is where.

    Attributes:
        pools: Numbers of backends.
        servers: Slots by id, address and port: a server that moves is another one.
    """

    pools: Mapping[PoolKey, int] = {}
    servers: Mapping[tuple[PoolKey, str, str, int], Slot] = {}


def fitted(layout: Layout, before: Placement, table: Table, busy: Iterable[Slot] = ()) -> tuple[Layout, Placement]:
    """A layout that has room for a table, the same one if that will do, and where everything is in it.

    Args:
        layout: The one in force.
        before: What was where.
        table: To be shown.
        busy: Slots at which something is under way; nobody else is put there.

    Raises:
        Misconfigured: HAProxy cannot show it; says what.
    """
    check(table)
    held: dict[int, set[int]] = {}
    for backend, slot in [*busy, *before.servers.values()]:
        held.setdefault(backend, set()).add(slot)
    targets = {target.service: target for target in table.targets}
    backends = list(layout.backends)
    pools = dict[PoolKey, int]()
    taken = {number for number, slots in held.items() if slots}
    for pool in table.pools:
        if target := targets.get(pool.service):
            number = _stays(before, pool, shape_of(target, pool), backends, held)
            if number is not None:
                pools[pool.service, pool.release] = number
    for pool in table.pools:
        key = pool.service, pool.release
        if key not in pools and (target := targets.get(pool.service)):
            shape = shape_of(target, pool)
            pools[key] = _room(backends, shape, len(pool.servers), taken | set(pools.values()))
    servers = dict[tuple[PoolKey, str, str, int], Slot]()
    for pool in table.pools:
        key = pool.service, pool.release
        if key in pools:
            servers |= _seated(pool, pools[key], before, held.get(pools[key], set()))
    return _read_too(layout, table, tuple(backends)), Placement(pools, servers)


def shape_of(target: Target, pool: Pool) -> Shape:
    """What a pool needs of its backend."""
    retries = target.retries
    reuse = retries.reuse_idle > 0
    return Shape(pool.balance, pool.health, target.timeouts, retries.attempts, reuse, target.protocol)


def _stays(
    before: Placement, pool: Pool, shape: Shape, backends: list[Backend], held: Mapping[int, set[int]]
) -> int | None:
    """The backend that a pool has already, if it still fits there."""
    key = pool.service, pool.release
    number = before.pools.get(key)
    if number is None or backends[number].shape != shape:
        return None
    fresh = sum(1 for one in pool.servers if (key, one.id, one.host, one.port) not in before.servers)
    return number if len(held.get(number, ())) + fresh <= backends[number].slots else None


def _room(backends: list[Backend], shape: Shape, servers: int, taken: set[int]) -> int:
    """A free backend; where there is none, as many are added as there are."""
    for number, backend in enumerate(backends):
        if number not in taken and backend.shape == shape and backend.slots >= servers:
            return number
    number = len(backends)
    slots = max(SLOTS_MIN, 2 * servers)
    more = max(BACKENDS_MIN, sum(1 for backend in backends if backend.shape == shape and backend.slots >= servers))
    backends += [Backend(shape, slots)] * more
    return number


def _seated(pool: Pool, number: int, before: Placement, held: set[int]) -> dict[tuple[PoolKey, str, str, int], Slot]:
    key = pool.service, pool.release
    there = dict[tuple[PoolKey, str, str, int], Slot]()
    used = set(held)
    for server in pool.servers:
        name = key, server.id, server.host, server.port
        known = before.servers.get(name)
        if known is not None and known[0] == number:
            there[name] = known
            continue
        slot = next(place for place in range(len(used) + 1) if place not in used)
        used.add(slot)
        there[name] = number, slot
    return there


def _read_too(layout: Layout, table: Table, backends: tuple[Backend, ...]) -> Layout:
    """The layout with all that a table asks to be read of requests."""
    hosts = {route.host[1:].lower() for route in table.routes if route.host.startswith("*.")}
    below = sorted({*layout.below, *hosts}, key=lambda host: (-len(host), host))
    return Layout(
        backends=backends,
        kinds=_grown(layout.kinds, (kind_of(target) for target in table.targets)),
        forced_by=_grown(layout.forced_by, (target.forced_by.lower() for target in table.targets)),
        seats=_grown(layout.seats, (pool.sticky for pool in table.pools if pool.sticky)),
        below=tuple(below),
    )


def kind_of(target: Target) -> Kind:
    """Where the requests of a service say what sticks."""
    return Kind(target.split.sticks_to, target.split.cookie)


def _grown(known: tuple[T, ...], asked: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys([*known, *asked]))


def check(table: Table) -> None:
    """Refuse what cannot be said to HAProxy.

    Raises:
        Misconfigured: A name, a path or an address of the table; lists all that are wrong.
    """
    problems = [
        *problems_of(table),
        *(
            f"the health path {pool.health!r} of {pool.service}: expected / and printable ASCII, 1000 letters at most"
            for pool in table.pools
            if not _PATH.fullmatch(pool.health)
        ),
        *(
            f"the route {route.path!r}: expected a path without control characters"
            for route in table.routes
            if not route.path.isprintable()
        ),
        *(
            f"the route {route.path!r}: its prefix has more segments than the {SEGMENTS_MAX} that can be taken away"
            for route in table.routes
            if route.strip_prefix and route.path.rstrip("/").count("/") > SEGMENTS_MAX
        ),
        *(
            f"{target.service}: {len(target.split.shares)} releases share its requests, of {SHARES_MAX} that may"
            for target in table.targets
            if len(target.split.shares) > SHARES_MAX
        ),
    ]
    if problems:
        raise Misconfigured(f"HAProxy cannot show revision {table.revision}:\n  " + "\n  ".join(problems))
