"""What HAProxy shows, as a value: its maps, and who is in which slot; and the commands from one to the next. Pure.

All that comes from a table is hex digits or percent-encoded here, so no name, path or host of a table can end a line of
a file or a command and begin another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from urllib.parse import quote

import msgspec

from hanse.control.edge_table import WHOLE, EdgeRoute, Pool, Server, Table, Target
from hanse.deploy.edge.haproxy.layout import Layout, Placement, PoolKey, Slot, kind_of
from hanse.kernel.faults import Misconfigured

MAPS = ("routes", "plans", "others", "releases", "seats", "given", "carried", "trusted", "forcing")
"""Files of keys and values that rules ask."""


class Seat(msgspec.Struct, frozen=True):
    """Who is in a slot.

    Attributes:
        host: Its address.
        port: Its port.
        weight: Its share.
        takes: Whether it gets requests.
    """

    host: str
    port: int
    weight: int
    takes: bool


EMPTY = Seat("127.0.0.1", 1, 1, takes=False)
"""Nobody."""


class Shown(msgspec.Struct, frozen=True):
    """All that changes while HAProxy runs.

    Attributes:
        maps: By name.
        seats: By slot; the others are empty.
    """

    maps: Mapping[str, Mapping[str, str]] = {}
    seats: Mapping[Slot, Seat] = {}


def shown(table: Table, layout: Layout, placement: Placement) -> Shown:
    """A table, as HAProxy shows it.

    Args:
        table: Whose parts fit together.
        layout: That has room for it.
        placement: Where everything is.
    """
    pools = {key: f"b{number}" for key, number in placement.pools.items()}
    maps = {
        "routes": {route_key(route): _route(route) for route in table.routes},
        "plans": {_hex(target.service): _plan(target, layout, pools) for target in table.targets},
        "others": {_hex(target.service): _others(target, pools) for target in table.targets},
        "releases": {f"{_hex(service)}:{_hex(release)}": name for (service, release), name in pools.items()},
        "seats": dict(_seats(table, layout, placement)),
        "given": dict(_given(table, layout, placement)),
        "carried": {name: release for target in table.targets for name, release in _carried(target, pools)},
        "trusted": _networks("proxies", table.proxies),
        "forcing": _networks("forcing", table.forcing),
    }
    seats = {
        slot: Seat(server.host, server.port, max(server.weight, 1), _takes(server))
        for _, server, slot in _placed(table, placement)
    }
    return Shown(maps, seats)


def commands(before: Shown, after: Shown) -> list[str]:
    """What takes HAProxy from one to the other: who comes, then what rules ask, then who goes.

    So at no moment is a request sent to where nobody is yet, or is no more.
    """
    said = list[str]()
    slots = sorted(before.seats.keys() | after.seats.keys())
    changed = [(slot, before.seats.get(slot, EMPTY), after.seats.get(slot, EMPTY)) for slot in slots]
    for slot, old, new in changed:
        if new.takes:
            said += _enter(slot, old, new)
    for name in MAPS:
        said += _map_commands(name, before.maps.get(name, {}), after.maps.get(name, {}))
    said += [f"set server {slot_name(slot)} state maint" for slot, old, new in changed if old.takes and not new.takes]
    return said


def slot_name(slot: Slot) -> str:
    """A slot, as HAProxy calls it."""
    return f"b{slot[0]}/s{slot[1]}"


def slot_of(backend: str, server: str) -> Slot | None:
    """The slot that HAProxy calls so; None where it is none.

    Example:
        >>> slot_of("b3", "s0"), slot_of("edge", "<NOSRV>")
        ((3, 0), None)
    """
    if backend[:1] == "b" and server[:1] == "s" and backend[1:].isdecimal() and server[1:].isdecimal():
        return int(backend[1:]), int(server[1:])
    return None


def route_key(route: EdgeRoute) -> str:
    """What a route is found by: the longest key that what a request asks for begins with.

    Example:
        >>> route_key(EdgeRoute(service="users", path="/a"))
        'a2F612F'
    """
    path = route.path.rstrip("/") + "/"
    host = route.host.lower()
    if not host:
        return "a" + _hex(path)
    return "w" + _hex(host[1:] + path) if host.startswith("*.") else "h" + _hex(host + path)


def service_of(key: str) -> str:
    """The name that was made a key."""
    return bytes.fromhex(key).decode(errors="surrogateescape")


def encoded(text: str) -> str:
    """A text of letters, digits and percent signs, which `url_dec` takes back."""
    return "".join(
        chr(byte) if byte < _ASCII and chr(byte).isalnum() else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )


_ASCII = 128


def _hex(text: str) -> str:
    return text.encode(errors="surrogateescape").hex().upper()


def _route(route: EdgeRoute) -> str:
    segments = route.path.rstrip("/").count("/") if route.strip_prefix else 0
    return f"{_hex(route.service)}:{segments}:{encoded(route.path)}"


def _plan(target: Target, layout: Layout, pools: Mapping[PoolKey, str]) -> str:
    """Numbers of what is read, whether a hash is needed, and where each share ends, in basis points."""
    split = target.split
    hashed = any(0 < share.points < WHOLE for share in split.shares)
    kind, forced = layout.kinds.index(kind_of(target)), layout.forced_by.index(target.forced_by.lower())
    parts = [str(kind), str(forced), "1" if hashed else "0", encoded(split.salt)]
    end = 0
    for share in split.shares:
        end += share.points
        parts += [str(end), pools[target.service, share.release]]
    return ":".join(parts)


def _others(target: Target, pools: Mapping[PoolKey, str]) -> str:
    """Who answers where a release has nobody left."""
    shares = sorted(target.split.shares, key=lambda share: -share.points)
    return ":".join(pools[target.service, share.release] for share in shares if share.points)


def _carried(target: Target, pools: Mapping[PoolKey, str]) -> Iterator[tuple[str, str]]:
    """The release that a request tree is told to stay with, by pool, where there is another one."""
    for (service, release), name in pools.items():
        if service == target.service and release and len(target.split.shares) > 1:
            yield name, quote(release, safe="", errors="surrogateescape")


def _takes(server: Server) -> bool:
    return server.state == "up" and server.weight > 0


def _placed(table: Table, placement: Placement) -> Iterator[tuple[Pool, Server, Slot]]:
    for pool in table.pools:
        for server in pool.servers:
            slot = placement.servers.get(((pool.service, pool.release), server.id, server.host, server.port))
            if slot is not None:
                yield pool, server, slot


def _seats(table: Table, layout: Layout, placement: Placement) -> Iterator[tuple[str, str]]:
    """Where a visitor's cookie leads, of servers that take requests."""
    for pool, server, (backend, place) in _placed(table, placement):
        if pool.sticky and _takes(server):
            seat = layout.seats.index(pool.sticky)
            yield f"{_hex(pool.service)}:{seat}:{_hex(pool.seat(server))}", f"b{backend}:s{place}"


def _given(table: Table, layout: Layout, placement: Placement) -> Iterator[tuple[str, str]]:
    """The cookie that a visitor of a server gets."""
    for pool, server, slot in _placed(table, placement):
        if pool.sticky and _takes(server):
            yield slot_name(slot), f"{layout.seats.index(pool.sticky)}:{pool.seat(server)}"


def _networks(what: str, texts: Iterable[str]) -> dict[str, str]:
    try:
        return {str(ip_network(text, strict=False)): "1" for text in texts}
    except ValueError as error:
        raise Misconfigured(f"{what}: expected addresses and networks such as 10.0.0.0/8: {error}") from None


def _enter(slot: Slot, old: Seat, new: Seat) -> Iterator[str]:
    name = slot_name(slot)
    # Whoever was in this slot before may have been another, of whom nothing is known any more.
    if not old.takes or (old.host, old.port) != (new.host, new.port):
        yield f"set server {name} addr {new.host} port {new.port}"
    if not old.takes or old.weight != new.weight:
        yield f"set server {name} weight {new.weight}"
    if not old.takes:
        yield f"set server {name} health up"
        yield f"set server {name} state ready"


def _map_commands(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for key, value in after.items():
        if key not in before:
            yield f"add map {name}.map {key} {value}"
        elif before[key] != value:
            yield f"set map {name}.map {key} {value}"
    yield from (f"del map {name}.map {key}" for key in before if key not in after)
