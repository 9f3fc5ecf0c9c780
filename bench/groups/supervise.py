"""What `hanse up` takes of a machine, and how quick it is, beside a supervisor of processes alone."""

from __future__ import annotations

from plan import Case, Column, Group
from process import python_case

GROUP = Group(
    "supervise",
    "A supervisor of services",
    "supervisord",
    (
        Column("start_ms", "from its spawn to the first answer of a server, ms", 0),
        Column("crash_ms", "from a kill to being out of rotation, ms", 1),
        Column("again_ms", "from a kill to being ready again, ms", 0),
        Column("route_ms", "from a changed route to its first answer, ms", 0),
        Column("cpu", "CPU with 50 servers at rest, % of one", 2),
        Column("memory_mb", "memory then, MB (PSS)", 1),
    ),
    (
        Case("supervisord", python_case("supervise.py", "supervisord"), "processes alone: no edge, no health checks"),
        Case(
            "hanse up",
            python_case("supervise.py", "hanse"),
            "with edge, egress and a health check of each server every 2 s; a kill is followed by a pause of 0.5 s",
        ),
    ),
)
