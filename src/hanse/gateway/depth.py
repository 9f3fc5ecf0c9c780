"""How deep JSON from outside may be: what comes after the decoder recurses too, on a smaller stack."""

from __future__ import annotations

import re

from hanse.gateway.limits import DEPTH_MAX
from hanse.kernel.faults import Malformed

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def check_depth(body: bytes) -> bytes:
    """The body, if it is not nested deeper than `DEPTH_MAX`; only one that has so many brackets is looked into.

    Raises:
        Malformed: It is.

    Example:
        >>> check_depth(b'{"a": "[[["}')
        b'{"a": "[[["}'
    """
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return body
    depth = 0
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise Malformed(f"expected JSON that is at most {DEPTH_MAX} levels deep")
        elif mark in b"]}":
            depth -= 1
    return body
