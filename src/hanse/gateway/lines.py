"""JSON Lines (https://jsonlines.org): how a stream of values looks that ends; a fault amid it is a line of its own."""

from __future__ import annotations

from hanse.gateway.problem import problem_of
from hanse.gateway.streams import Form
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Unavailable

JSON_LINES = "application/jsonl"
STOPPING = problem_of(Unavailable("this node is stopping; ask again"))
_FAULT_LINE = b'{"error":%b}\n'

LINES = Form(
    JSON_LINES,
    lambda problem: _FAULT_LINE % encode_json(problem),
    farewell=_FAULT_LINE % encode_json(STOPPING),
)
