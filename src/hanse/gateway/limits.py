"""Every limit of the gateway, by name, in one value: what is not limited is somebody's way to take it down."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway takes at most; past a limit the sender is told, and memory stays flat.

    Attributes:
        connections: Of one address, at once; 429 with Retry-After beyond, and the connection is closed.
        connections_local: Of this machine itself, where a proxy may stand that brings everybody, and of each trusted
            proxy; 429 beyond.
        head_seconds: For a request line and its headers to arrive; the connection is cut beyond.
        headers: Of one request; 431 beyond, as for `HEADER_BYTES_MAX`.
        url_bytes: Of path and query together; 414 beyond.
        body_bytes: Of one request's body; 413 beyond. The gateway's `body_max` or the settings replace it.
        body_seconds: For a body to arrive; 408 beyond.
        body_grace_seconds: For a body to begin, and to make up for pauses; 408 beyond, see `body_rate`.
        body_rate: Bytes a second that a body has to come at, after the grace; 408 beyond, 0 for any.
        bodies: That are waited for at once; 503 with Retry-After beyond. What has come whole with its head is none.
        bodies_bytes: Of them together; 503 beyond.
        compress_bytes: Of an answer from which on it is compressed, where the client takes that; 0 for never.
        inflate_ratio: How many times larger a compressed body may become, beyond 64 KiB; 413 beyond.
        callers: Whose rates are remembered; see `hanse.gateway.rates.Meters` for what comes beyond.
        depth: Levels of JSON; 400 beyond.
        items: Of one array of JSON, and members of one object; 413 beyond.
        text_bytes: Of one text in JSON, as it came; 413 beyond.
        requests: In work at once, from when their bodies are there; 503 with Retry-After beyond.
        streams: Open at once, SSE, JSON Lines and WebSocket together; 503 beyond.
        views: Different collections or topics, filters and fields that are followed at once; 503 beyond.
        view_changes: Of one view that are kept for who comes back; a reader that is further behind is cut, and resumes.
        view_bytes: Of them, about.
        views_bytes: Of all views together, about.
        heartbeat_seconds: Between two signs of life on a quiet SSE stream.
        stalled_seconds: That a client may leave a stream unread before it is cut.
        retry_seconds: After which a client that lost a stream is advised to come back.
        message_bytes: Of one WebSocket message; closed with 1009 beyond.
        subscriptions: Of one WebSocket.
        asks: Of one WebSocket, in work at once.
        threads: Plain `def` routes that run at once, each in a thread; the next ones wait for their turn.
        garbage: Senseless messages after which a WebSocket is closed.
    """

    connections: int = 100
    connections_local: int = 30_000
    head_seconds: float = 5.0
    headers: int = 100
    url_bytes: int = 8 * 1024
    body_bytes: int = 1024 * 1024
    body_seconds: float = 30.0
    body_grace_seconds: float = 5.0
    body_rate: int = 240
    bodies: int = 10_000
    bodies_bytes: int = 256 * 1024 * 1024
    compress_bytes: int = 1024
    inflate_ratio: int = 20
    callers: int = 100_000
    depth: int = 64
    items: int = 10_000
    text_bytes: int = 64 * 1024
    requests: int = 1_000
    streams: int = 20_000
    views: int = 10_000
    view_changes: int = 1_000
    view_bytes: int = 1024 * 1024
    views_bytes: int = 64 * 1024 * 1024
    heartbeat_seconds: float = 15.0
    stalled_seconds: float = 30.0
    retry_seconds: float = 1.0
    message_bytes: int = 256 * 1024
    subscriptions: int = 100
    asks: int = 100
    threads: int = 32
    garbage: int = 10


HEADER_BYTES_MAX = 32 * 1024
"""Of a request line and its headers together."""

KEEP_ALIVE_SECONDS = 5
"""That a connection without a request stays open."""

CONNECTIONS_MAX = 30_000
"""Connections of one gateway."""

FILTERS_MAX = 50
"""Filter parameters of one request."""

KEY_CHARACTERS_MAX = 255
"""Of an idempotency key, which is kept."""

VALUES_MAX = 100
"""Values of one `[in]` filter."""

NAMES_MAX = 100
"""Names in one `fields`."""

EXPANDS_MAX = 20
"""Names in one `expand`."""

EXPAND_DEPTH_MAX = 3
"""Links that one name of `expand` follows, one after the other."""

EXPANDED_MAX = 5_000
"""Rows that the links of one answer lead to."""

EXPANDED_BYTES_MAX = 16 * 1024 * 1024
"""Of the rows that links put into one answer: one row may be linked to by many."""

LINES_PAGE = 200
"""Rows that a list as JSON Lines reads at a time."""

TAGS_MAX = 64
"""Members of one `baggage` header (https://www.w3.org/TR/baggage/)."""

TAGS_BYTES_MAX = 8192
"""Bytes of one `baggage` header."""
