"""An edge in front of a server: what it adds to a request."""

from __future__ import annotations

from plan import Case, Column, Group
from process import python_case

BUILTIN = "routes, trace, request id, figures, checks of the head"
DRIVEN = f"{BUILTIN}; with the process that drives it"

GROUP = Group(
    "edge",
    "An edge in front of one server",
    "HAProxy",
    (
        Column("cpu_us", "CPU µs of the edge", 0),
        Column("per_second", "a second, 64 at once", 0),
        Column("many_p99_ms", "99 % of them, ms", 2),
        Column("one_ms", "one at a time, ms", 3),
        Column("one_p99_ms", "99 % of them, ms", 3),
    ),
    (
        Case("no edge", python_case("edge.py", "alone"), "the server itself: an asyncio protocol; its own CPU"),
        Case("HAProxy", python_case("edge.py", "haproxy"), "one thread, by hand: a path, keep-alive, forwardfor"),
        Case("Envoy", python_case("edge.py", "envoy"), "one worker, by hand: a path, keep-alive, x-forwarded-for"),
        Case("built-in", python_case("edge.py", "our-builtin"), BUILTIN),
        Case("HAProxy, driven", python_case("edge.py", "our-haproxy"), f"{DRIVEN}; as many threads as cores"),
        Case("Envoy, driven", python_case("edge.py", "our-envoy"), f"{DRIVEN}; one worker, rules in Lua"),
    ),
)
"""One request at a time, and 64."""
