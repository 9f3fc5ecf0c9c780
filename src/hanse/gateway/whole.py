"""Whole bodies and whole answers: what our server lends an application besides ASGI's events.

ASGI tells the head and the body of an answer one after the other, and uvicorn writes them so: two system calls, each
dearer than most handlers. And a body that has come already is handed over by way of an event that is waited for.
`answer` and `read_body` ask for these first, and go ASGI's way where they are not lent, or not taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

from hanse.gateway.asgi import Header, Receive, Send

_CONTROL = bytes(set(range(32)) - {9} | {127})
_WITH_CARE = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_WITHOUT_LENGTH = frozenset({204, 304})

LABELS_MAX = 512
"""Names of headers whose lines' beginnings are kept."""

_labels: dict[bytes, bytes] = {}


def write_whole(send: Send, status: int, headers: Sequence[Header], body: bytes) -> bool:
    """Write an answer at once; whether that was possible, else nothing has been written.

    Args:
        send: As the server gave it: one that somebody has wrapped has to see what is sent.
        status: HTTP status.
        headers: All but the content's length.
        body: The whole body; of an answer to HEAD, that to GET.
    """
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle or not _is_free(cycle) or (body and status in _WITHOUT_LENGTH):
        return False
    lines = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        label = _labels.get(name) or _label(name)
        if not label:
            return False
        lines += (label, value, b"\r\n")
    if status not in _WITHOUT_LENGTH:
        lines.append(b"content-length: %d\r\n" % len(body))
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    head = b"".join(lines)
    ends = len(cycle.default_headers) + len(headers) + 2 + (status not in _WITHOUT_LENGTH) + (not cycle.keep_alive)
    if len(head) - len(head.translate(None, _CONTROL)) != 2 * ends:
        return False  # a value has a control character, or more than a line: uvicorn says so
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def take_whole(receive: Receive) -> bytes | None:
    """The whole body of a request, where all of it has come; None where it has to be waited for, as ASGI has it.

    Args:
        receive: As the server gave it.
    """
    cycle = getattr(receive, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.more_body or cycle.waiting_for_100_continue:
        return None
    if cycle.disconnected or cycle.response_complete:
        return None
    body = bytes(cycle.body)
    # As uvicorn leaves it: who receives once more waits for the client to leave.
    cycle.body = bytearray()
    cycle.flow.resume_reading()
    cycle.message_event.clear()
    return body


def _is_free(cycle: RequestResponseCycle) -> bool:
    """Whether a client is there that takes what is written, and nothing has been."""
    taken = cycle.response_started or cycle.disconnected or cycle.flow.write_paused
    return not taken and not cycle.access_log


def _label(name: bytes) -> bytes:
    """How a header's line begins; empty for names that mean more to the server, or are none."""
    lower = name.lower()
    label = b"" if lower in _WITH_CARE or HEADER_RE.search(lower) else lower + b": "
    if len(_labels) < LABELS_MAX:
        _labels[name] = label
    return label
