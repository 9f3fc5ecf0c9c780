"""An event that a broker keeps, from one process to another, with one subscriber: what it costs all three."""

from __future__ import annotations

from plan import Case, Column, Group
from process import python_case

HANSE = "kept once per id, in order, one taker at a time, acknowledged one by one; trace, identity"
BY_HAND = "pieces of 64, acknowledged together; no ids, no order after a take-over"
AIO_PIKA = "64 published side by side, each confirmed, to a quorum queue; acknowledged one by one"
FASTSTREAM = "typed handler; 64 published side by side"
PIPELINED = "publish_async with 4,000 unacknowledged, fetch of 256, acknowledged one by one; no ids, no order"
EMITTED = "from a call that emits 64 in one commit to a handler with its mark: two nodes, stores in memory"

_REDIS = "redis-py, Redis"
_NATS = "nats-py, NATS"
_RABBIT = "aio-pika, RabbitMQ"


GROUP = Group(
    "events",
    "Durable events between two processes",
    _REDIS,
    (
        Column("cpu_us", "CPU µs", 2),
        Column("publisher_us", "of the publisher", 2),
        Column("subscriber_us", "of the subscriber", 2),
        Column("broker_us", "of the broker", 2),
        Column("per_second", "a second", 0),
    ),
    (
        Case(_REDIS, python_case("events_redis.py", "redis-py"), BY_HAND),
        Case("Hanse, Redis", python_case("events_redis.py", "hanse"), HANSE),
        Case("FastStream, Redis", python_case("events_redis.py", "faststream"), FASTSTREAM),
        Case("Hanse, Redis, emit to @on", python_case("events_redis.py", "node"), EMITTED),
        Case(_RABBIT, python_case("events_rabbit.py", "aio-pika"), AIO_PIKA, _RABBIT),
        Case("Hanse, RabbitMQ", python_case("events_rabbit.py", "hanse"), HANSE, _RABBIT),
        Case(
            "FastStream, RabbitMQ",
            python_case("events_rabbit.py", "faststream"),
            f"{FASTSTREAM}, to a quorum queue",
            _RABBIT,
        ),
        Case("Hanse, RabbitMQ, emit to @on", python_case("events_rabbit.py", "node"), EMITTED, _RABBIT),
        Case(_NATS, python_case("events_nats.py", "nats-py"), PIPELINED, _NATS),
        Case("Hanse, NATS", python_case("events_nats.py", "hanse"), HANSE, _NATS),
        Case("FastStream, NATS", python_case("events_nats.py", "faststream"), FASTSTREAM, _NATS),
        Case("Hanse, NATS, emit to @on", python_case("events_nats.py", "node"), EMITTED, _NATS),
    ),
)
