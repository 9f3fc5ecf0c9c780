"""What Envoy's rules ask of a table, as data of one route, and the few ways in which requests are sent. Pure.

Whatever names, paths and hosts are in a table, they are texts in JSON here: nothing of them is ever read as anything
else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from urllib.parse import quote

import msgspec

from hanse.control.edge_table import WHOLE, EdgeRoute, Pool, Server, Split, Table, Target
from hanse.deploy.edge.envoy.pools import Resource, Shape, takes
from hanse.deploy.edge.faults import NotRouted
from hanse.deploy.edge.foreign import problems_of
from hanse.gateway.problem import problem_response
from hanse.kernel.faults import Fault, Malformed, Misconfigured, Unavailable

ROUTES = "edge"
"""Name of the routes that all listeners share."""

ROUTES_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
LUA = "envoy.filters.http.lua"

UNSENT_BYTES = 1024 * 1024
"""Of a request that is kept until a server has taken its connection, where it is not kept to be sent again."""

BACK_OFF = {"base_interval": "0.005s", "max_interval": "0.1s"}
_PREDICATE = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    },
}
PROBLEMS: Mapping[str, Fault] = {
    "malformed": Malformed("expected a path without . and .. that begins with /, and the name of a host"),
    "not_routed": NotRouted(path="this path"),
    "unavailable": Unavailable("no server of the service is there at the moment; come back soon"),
}


class Manner(msgspec.Struct, frozen=True):
    """How requests of a service are sent; services share these.

    Attributes:
        head: Seconds of silence that are borne.
        idle: The same, of streams.
        tunnel: The same, of WebSockets.
        attempts: Of one request.
        body_bytes: Of a body that is kept to be sent again.
    """

    head: float
    idle: float
    tunnel: float
    attempts: int
    body_bytes: int


def manner_of(target: Target) -> Manner:
    """How requests of a service are sent."""
    times, retries = target.timeouts, target.retries
    return Manner(times.head, times.idle, times.tunnel, retries.attempts, retries.body_bytes)


def routes(table: Table, shapes: Mapping[tuple[str, str], Shape], *, scheme: str, access: bool) -> list[Resource]:
    """All that RDS tells.

    Args:
        table: Whose parts fit together.
        shapes: Of its pools.
        scheme: That clients use.
        access: Whether each request has a line of log.
    """
    manners = list(dict.fromkeys(manner_of(target) for target in table.targets))
    data = rules_data(table, shapes, manners, scheme=scheme, access=access)
    ways = [way for number, manner in enumerate(manners) for way in _ways(number, manner)]
    last = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 500},
        "metadata": {"filter_metadata": {LUA: {"revision": str(table.revision), "data": data}}},
    }
    everything = {"name": "all", "domains": ["*"], "routes": [*ways, last]}
    return [{"@type": ROUTES_TYPE, "name": ROUTES, "virtual_hosts": [everything]}]


def rules_data(
    table: Table, shapes: Mapping[tuple[str, str], Shape], manners: list[Manner], *, scheme: str, access: bool
) -> Resource:
    """What `rules.lua` asks."""
    pools = {(pool.service, pool.release): pool for pool in table.pools}
    targets = list(table.targets)
    numbers = {target.service: number for number, target in enumerate(targets, 1)}
    hosts = sorted({route.host.lower() for route in table.routes if route.host})
    below = sorted((host for host in hosts if host.startswith("*.")), key=lambda host: (-len(host), host))
    told = {host: _paths((one for one in table.routes if one.host.lower() == host), numbers) for host in ["", *hosts]}
    return {
        "empty": not table.revision,
        "scheme": scheme,
        "access": access,
        "trusted": _networks("proxies", table.proxies),
        "forcing": _networks("forcing", table.forcing),
        "exact": {host: told[host] for host in hosts if not host.startswith("*.")},
        "below": [[host[1:], told[host]] for host in below],
        "any": told[""],
        "services": [_service(target, pools, shapes, str(manners.index(manner_of(target)))) for target in targets],
        "problems": {name: list(_problem(fault)) for name, fault in PROBLEMS.items()},
    }


def _problem(fault: Fault) -> Iterator[str]:
    response = problem_response(fault)
    yield str(response.status)
    yield bytes(response.body).decode()


def _paths(found: Iterable[EdgeRoute], numbers: Mapping[str, int]) -> list[list[object]]:
    """Routes of one host, the longest path first: prefix, service, segments to strip, what is told of them, path."""
    told: list[list[object]] = [
        [
            route.path.rstrip("/"),
            numbers[route.service],
            route.path.rstrip("/").count("/") if route.strip_prefix else 0,
            quote(route.path.rstrip("/")),
            route.path,
        ]
        for route in found
    ]
    return sorted(told, key=lambda one: -len(str(one[0]).encode()))


def _service(
    target: Target, pools: Mapping[tuple[str, str], Pool], shapes: Mapping[tuple[str, str], Shape], manner: str
) -> Resource:
    split = target.split
    own = {release: pool for (service, release), pool in pools.items() if service == target.service}
    names = {release: shapes[target.service, release].name for release in own}
    return {
        "name": target.service,
        "manner": manner,
        "sticks": [_source(source) for source in split.sticks_to],
        "looks": bool(split.sticks_to),
        "marks": [_source(source) for source in _marks(split)],
        "cookie": split.cookie,
        "salt": split.salt,
        "shares": [[end, names[release]] for end, release in _shares(target, own)],
        "forced_by": target.forced_by.lower(),
        "forced": names,
        "carried": _carried(target, names),
        "seats": _seats(own, names),
        "sticky": {names[release]: pool.sticky for release, pool in own.items() if pool.sticky},
        "releases": {name: quote(release, safe="", errors="surrogateescape") for release, name in names.items()},
        "body_bytes": target.retries.body_bytes,
        "grpc": target.protocol == "h2c",
        # A server of HTTP/2 says which requests it has not begun, when it ends a connection.
        "reuse": target.retries.reuse_idle > 0 or target.protocol == "h2c",
    }


def _carried(target: Target, names: Mapping[str, str]) -> dict[str, str]:
    """The release that a request tree is told to stay with, by pool, where there is another one."""
    several = len(target.split.shares) > 1
    return {name: quote(release, safe="") for release, name in names.items() if release and several}


def _marks(split: Split) -> list[str]:
    """By what a visitor is known."""
    cookie = [f"cookie.{split.cookie}"] if split.cookie else []
    return [*(source for source in split.sticks_to if source != "address"), *cookie]


def _source(source: str) -> list[str]:
    kind, _, name = source.partition(".")
    return [kind, name.lower() if kind == "header" else name]


def _shares(target: Target, pools: Mapping[str, Pool]) -> list[tuple[int, str]]:
    """Where each share ends, and which release answers: another one, where it has nobody left."""
    shares = [share for share in target.split.shares if share.points]
    largest = sorted(shares, key=lambda share: -share.points)
    there = [share.release for share in largest if any(map(takes, pools[share.release].servers))]
    told, end = list[tuple[int, str]](), 0
    for share in shares:
        end += share.points
        told.append((end, share.release if share.release in there or not there else there[0]))
    return [(WHOLE, told[0][1])] if len({release for _, release in told}) == 1 else told


def _seats(pools: Mapping[str, Pool], names: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Where a visitor's cookie leads, of servers that take requests."""
    seats = dict[str, dict[str, list[str]]]()
    for release, pool in pools.items():
        for server in pool.servers:
            if pool.sticky and takes(server):
                seats.setdefault(pool.sticky, {})[pool.seat(server)] = [names[release], _address(server)]
    return seats


def _address(server: Server) -> str:
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _networks(what: str, texts: Iterable[str]) -> list[list[object]]:
    """Networks of IPv6, those of IPv4 within it."""
    told = list[list[object]]()
    try:
        for text in texts:
            network = ip_network(text, strict=False)
            more = 96 if network.version == _FOUR else 0
            told.append([str(network.network_address), network.prefixlen + more])
    except ValueError as error:
        raise Misconfigured(f"{what}: expected addresses and networks such as 10.0.0.0/8: {error}") from None
    return told


_FOUR = 4


def _ways(number: int, manner: Manner) -> Iterator[Resource]:
    for kind, silence in (("p", manner.head), ("e", manner.idle), ("t", manner.tunnel)):
        for again in "ao":
            yield _way(f"{number}{kind}{again}", manner, silence, again=again == "a")


def _way(name: str, manner: Manner, silence: float, *, again: bool) -> Resource:
    tried = {
        # What was not sent may always go elsewhere; what nobody has answered, only where it may be repeated.
        "retry_on": "connect-failure,refused-stream,reset-before-request" + (",reset" if again else ""),
        "num_retries": max(manner.attempts - 1, 0),
        "retry_host_predicate": [_PREDICATE],
        "host_selection_retry_max_attempts": 10,
        "retry_back_off": BACK_OFF,
    }
    return {
        "match": {"prefix": "/", "headers": [{"name": "x-hanse-manner", "string_match": {"exact": name}}]},
        "route": {
            "cluster_header": "x-hanse-pool",
            "timeout": "0s",
            "idle_timeout": f"{silence:.3f}s",
            "hash_policy": [{"filter_state": {"key": "hanse.address"}}],
            "retry_policy": tried,
        },
        "request_body_buffer_limit": manner.body_bytes if again else UNSENT_BYTES,
        "request_headers_to_remove": ["x-hanse-pool", "x-hanse-manner", "x-hanse-address", "x-hanse-once"],
        "response_headers_to_add": [
            {
                "header": {"key": "x-hanse-by", "value": "%UPSTREAM_HOST_NAME%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            },
            {
                "header": {"key": "x-request-id", "value": "%REQ(X-REQUEST-ID)%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            },
        ],
    }


def check(table: Table) -> None:
    """Refuse what cannot be said to Envoy.

    Raises:
        Misconfigured: A name, a path or an address of the table; lists all that are wrong.
    """
    problems = [
        *problems_of(table),
        *(f"{text!r}: expected a text of Unicode" for text in _texts(table) if not _is_unicode(text)),
    ]
    if problems:
        raise Misconfigured(f"Envoy cannot show revision {table.revision}:\n  " + "\n  ".join(problems))


def _texts(table: Table) -> Iterator[str]:
    yield from (text for route in table.routes for text in (route.host, route.path, route.service))
    yield from (text for pool in table.pools for text in (pool.service, pool.release))


def _is_unicode(text: str) -> bool:
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        return False
    return True
