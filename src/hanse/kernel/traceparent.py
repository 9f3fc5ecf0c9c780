"""W3C trace context (https://www.w3.org/TR/trace-context/): reading, writing and minting `traceparent`."""

from __future__ import annotations

import re

import msgspec

from hanse.kernel.host import Host

SAMPLED = 1
"""The flag of a step that is recorded."""

_LOWEST = 1 << 128 | 1
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(msgspec.Struct, frozen=True):
    """Where in a trace something happens: W3C trace context, version 00.

    Attributes:
        trace_id: 32 hexadecimal digits, the same in the whole story.
        span_id: 16 hexadecimal digits, of the step that led here.
        flags: Bit 0 says that the step is recorded.
    """

    trace_id: str
    span_id: str
    flags: int = SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(text: str) -> Trace | None:
    """What a `traceparent` header says; None where it is not a valid one, which then is to be ignored.

    Example:
        >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").span_id
        '00f067aa0ba902b7'
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Later versions may append parts; the first four keep their meaning.
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Trace(trace_id, span_id, int(flags, 16))


def new_trace(host: Host) -> str:
    """The `traceparent` of a new story, marked as `SAMPLED` so that whoever records later in it does.

    Example:
        >>> new_trace(Host.fixed(wall=0.0, seed=1))
        '00-cd613e30d8f16adf91b7584a2265b1f5-1027c4d1c386bbc5-01'
    """
    # An id of zeros is invalid, so the lowest bit of each is always set. Bytes in hexadecimal cost a fifth of formats.
    drawn = (host.chance.getrandbits(192) | _LOWEST).to_bytes(24, "big").hex()
    return f"00-{drawn[16:]}-{drawn[:16]}-01"
