"""What a start and a kill of an instance cost who calls it from another process."""

from __future__ import annotations

from plan import Case, Column, Figures, Group
from process import python_case

LIMITS: Figures = {"spawn_ms": 350.0, "ready_ms": 10.0, "failed": 1.0, "repeated": 0.0}
SCHEMES = ("unix", "tcp", "zmq", "nats", "redis", "amqp")
KILL = "; then a call every 10 ms while one of two is killed"

GROUP = Group(
    "fleet",
    "Starts and kills of an instance",
    SCHEMES[0],
    (
        Column("spawn_ms", "from its spawn to the first call, ms", 0),
        Column("cpu_ms", "CPU of the instance until then, ms", 0),
        Column("ready_ms", "from ready to the first call, ms", 1),
        Column("failed", "calls that fail at a kill", 0),
        Column("repeated", "idempotent calls that fail", 0),
    ),
    tuple(
        Case(scheme, python_case("fleet.py", scheme), f"hanse run, called by another process{KILL}", limits=LIMITS)
        for scheme in SCHEMES
    ),
    warm_up=True,
)
