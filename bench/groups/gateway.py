"""A request to a gateway whose service is in another process, 64 of them in flight: what it costs all of them."""

from __future__ import annotations

from plan import Case, Column, Group
from process import python_case

PEER = "FastAPI, nats-py in a queue group, pydantic on both sides; no trace, identity, fault, breaker, limit"
HANSE = "hanse run on both sides: validation, deadline, identity, faults, breaker, limits"

GROUP = Group(
    "gateway",
    "A gateway and a service in two processes",
    "FastAPI, NATS",
    (
        Column("cpu_us", "CPU µs", 0),
        Column("gateway_us", "of the gateway", 0),
        Column("service_us", "of the service", 0),
        Column("broker_us", "of the NATS server", 0),
        Column("per_second", "a second", 0),
    ),
    (
        Case("FastAPI, NATS", python_case("gateway.py", "fastapi", "nats"), PEER),
        Case("Hanse, NATS", python_case("gateway.py", "hanse", "nats"), f"{HANSE}; over NATS"),
        Case("Hanse, unix", python_case("gateway.py", "hanse", "unix"), f"{HANSE}; over unix"),
    ),
    warm_up=True,
)
