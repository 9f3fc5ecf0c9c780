"""Pools of a table as clusters of Envoy, and their servers as endpoints. Pure.

A cluster's name is made of all that it cannot change without losing its connections: so a pool whose timeouts change is
another cluster, and what is under way at the one before goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from hanse.control.edge_table import Balance, Pool, Server, Table, Target

IDLE_SECONDS = 30.0
"""That an idle connection to a server is kept."""

MANY = 1_000_000
"""No limit of Envoy's own to connections and requests: an edge that refuses requests by itself helps nobody."""

ENDPOINT_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_HTTP_TYPE = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

Resource = dict[str, Any]

_BALANCES: dict[Balance, tuple[str, str, Resource]] = {
    "round_robin": ("round_robin", "RoundRobin", {}),
    # Of all, not of two that are drawn: they may be the same one.
    "least_request": ("least_request", "LeastRequest", {"selection_method": "FULL_SCAN"}),
    "source": ("ring_hash", "RingHash", {"minimum_ring_size": 1024}),
}
Status = Literal["HEALTHY", "UNHEALTHY", "DRAINING"]
"""It gets requests; it was left alone; it ends what it has."""


class Shape(msgspec.Struct, frozen=True):
    """What a cluster cannot change.

    Attributes:
        service: Whose.
        release: Which of its releases.
        balance: How its servers are chosen.
        connect: Seconds that a connection may take.
        idle: Seconds that an idle connection is kept.
        protocol: That its servers speak.
    """

    service: str
    release: str
    balance: Balance
    connect: float
    idle: float
    protocol: str

    @property
    def name(self) -> str:
        """Of its cluster."""
        return hashlib.sha1(msgspec.json.encode(self), usedforsecurity=False).hexdigest()[:16]


class Endpoint(msgspec.Struct, frozen=True):
    """A server of a pool, as Envoy sees it.

    Attributes:
        id: Its name.
        host: Its address.
        port: Its port.
        weight: Its share.
        status: Whether it gets requests.
    """

    id: str
    host: str
    port: int
    weight: int
    status: Status = "HEALTHY"

    @property
    def place(self) -> tuple[str, int]:
        """Where it listens: Envoy knows it by that."""
        return self.host, self.port


Endpoints = tuple[Endpoint, ...]


def shape_of(target: Target, pool: Pool) -> Shape:
    """The shape of a pool's clusters."""
    idle = target.retries.reuse_idle or IDLE_SECONDS
    return Shape(pool.service, pool.release, pool.balance, target.timeouts.connect, idle, target.protocol)


def shapes_of(table: Table) -> dict[tuple[str, str], Shape]:
    """The shapes of all pools that a target leads to."""
    targets = {target.service: target for target in table.targets}
    return {
        (pool.service, pool.release): shape_of(targets[pool.service], pool)
        for pool in table.pools
        if pool.service in targets
    }


def takes(server: Server) -> bool:
    """Whether a server gets requests, by the table."""
    return server.state == "up" and server.weight > 0


def endpoints_of(pool: Pool) -> Endpoints:
    """The servers of a pool that get requests."""
    return tuple(Endpoint(one.id, one.host, one.port, one.weight) for one in pool.servers if takes(one))


def joined(before: Endpoints, after: Endpoints) -> Endpoints:
    """Endpoints while a table comes: those that will be there, and those that were."""
    there = {one.place for one in after}
    return (*after, *(one for one in before if one.place not in there))


def left(before: Endpoints, after: Endpoints) -> Endpoints:
    """Endpoints when a table is there: those of it, and those that still end what they have."""
    there = {one.place for one in after}
    gone = (msgspec.structs.replace(one, status="DRAINING") for one in before if one.place not in there)
    return (*after, *gone)


def clusters(shapes: Mapping[str, Shape]) -> list[Resource]:
    """All clusters of some shapes, as CDS tells them."""
    return [_cluster(name, shape) for name, shape in sorted(shapes.items())]


def assignments(name: str, endpoints: Endpoints) -> list[Resource]:
    """The endpoints of a pool, as EDS tells them."""
    told = [
        {
            "endpoint": {
                "hostname": quote(one.id, safe="", errors="surrogateescape"),
                "address": {"socket_address": {"address": one.host, "port_value": one.port}},
            },
            "health_status": one.status,
            "load_balancing_weight": one.weight,
        }
        for one in endpoints
    ]
    return [{"@type": ENDPOINT_TYPE, "cluster_name": name, "endpoints": [{"lb_endpoints": told}] if told else []}]


def _cluster(name: str, shape: Shape) -> Resource:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), MANY)
    speaks: Resource = {"http2_protocol_options": {}} if shape.protocol == "h2c" else {"http_protocol_options": _HTTP1}
    return {
        "@type": CLUSTER_TYPE,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": name,
            "eds_config": {"path_config_source": {"path": f"./eds-{name}.json"}},
        },
        "connect_timeout": f"{shape.connect:.3f}s",
        "load_balancing_policy": {"policies": [{"typed_extension_config": _balancing(shape.balance)}]},
        # Panic would send requests to who is known to be away.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP_TYPE,
                "common_http_protocol_options": {"idle_timeout": f"{shape.idle:.3f}s"},
                "explicit_http_config": speaks,
            }
        },
    }


def _balancing(balance: Balance) -> Resource:
    name, kind, more = _BALANCES[balance]
    type_ = f"type.googleapis.com/envoy.extensions.load_balancing_policies.{name}.v3.{kind}"
    return {"name": f"envoy.load_balancing_policies.{name}", "typed_config": {"@type": type_, **more}}


_HTTP1 = {"enable_trailers": True}
