"""A call where caller and service are two processes, 64 of them in flight: what it costs both together."""

from __future__ import annotations

from plan import Case, Column, Group
from process import python_case

RAW = "as little as an asyncio protocol can do: no deadline, trace, identity, fault, cancellation, limit, heartbeat"
HANSE = "typed client to service: validation, deadline, trace, identity, breaker, limit"
NATS_PY = "request and respond, and a queue group; typed bodies, a time limit, and nothing else"
AIO_PIKA = "a queue, one of the caller's for answers, nothing confirmed; typed bodies, a time limit, and nothing else"
FASTSTREAM = "typed handler, broker.request; a time limit"
MOLECULER = "Moleculer 0.14 on Node.js: parameters validated, a time limit, JSON"
ZMQ_ASYNCIO = "DEALER and ROUTER, a number, typed bodies, and nothing else"
SIZES = {"small": "100 bytes", "10k": "10 KiB"}


def _cases() -> tuple[Case, ...]:
    cases: list[Case] = []
    for size, told in SIZES.items():
        for scheme in ("tcp", "unix"):
            raw = f"raw, {scheme}, {told}"
            cases.append(Case(raw, python_case("calls.py", "raw", scheme, size), RAW, raw))
            about = f"{HANSE}; over {scheme}"
            cases.append(Case(f"Hanse, {scheme}, {told}", python_case("calls.py", "hanse", scheme, size), about, raw))
        raw = f"raw, tcp, {told}"
        for case, name, about in (("hanse", "Hanse", f"{HANSE}; over NATS"), ("nats-py", "nats-py", NATS_PY)):
            cases.append(Case(f"{name}, NATS, {told}", python_case("calls_nats.py", case, size), about, raw))
        for scheme, over in (("nats", "NATS"), ("tcp", "tcp")):
            command = python_case("calls_moleculer.py", scheme, size)
            cases.append(Case(f"Moleculer, {over}, {told}", command, f"{MOLECULER}; over {over}", raw))
        zmq = (("hanse", "Hanse", f"{HANSE}; over ZeroMQ"), ("zmq.asyncio", "zmq.asyncio", ZMQ_ASYNCIO))
        for case, name, about in zmq:
            cases.append(Case(f"{name}, ZeroMQ, {told}", python_case("calls.py", case, "zmq", size), about, raw))
    return tuple(cases)


def _over_rabbit() -> tuple[Case, ...]:
    cases: list[Case] = []
    for size, told in SIZES.items():
        raw = f"raw, tcp, {told}"
        cases.append(Case(raw, python_case("calls.py", "raw", "tcp", size), RAW, raw))
        rabbit = (
            ("hanse", "Hanse", f"{HANSE}; over RabbitMQ"),
            ("aio-pika", "aio-pika", AIO_PIKA),
            ("faststream", "FastStream", FASTSTREAM),
        )
        for case, name, about in rabbit:
            cases.append(Case(f"{name}, RabbitMQ, {told}", python_case("calls_rabbit.py", case, size), about, raw))
    return tuple(cases)


def _columns(broker: str) -> tuple[Column, ...]:
    return (
        Column("cpu_us", "CPU µs", 2),
        Column("caller_us", "of the caller", 2),
        Column("server_us", "of the server", 2),
        Column("broker_us", f"of {broker}", 2),
        Column("per_second", "a second", 0),
    )


GROUP = Group(
    "calls",
    "Calls between two processes",
    f"raw, tcp, {SIZES['small']}",
    _columns("the NATS server"),
    _cases(),
)

# On its own, as each of these cases waits for a RabbitMQ to start.
RABBIT = Group(
    "calls-rabbitmq", "Calls over RabbitMQ", f"raw, tcp, {SIZES['small']}", _columns("RabbitMQ"), _over_rabbit()
)
