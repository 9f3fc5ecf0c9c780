"""What is set on every ZeroMQ socket between nodes, and why."""

from __future__ import annotations

from typing import Final

import zmq

from hanse.transport.stream.frame import frame_bytes_max
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.outbound import FLUSH_BYTES
from hanse.transport.zmq.driven import Raw

BEAT_MS: Final = 1_000
SILENT_MS: Final = 3_000
"""ZeroMQ's own heartbeats: what is left of a connection whose other end is gone is removed, whoever uses it."""

LINGER_MS: Final = 500
"""What a connection that is closed was given has so long to go out."""

AHEAD_MAX: Final = 16
"""Messages that ZeroMQ keeps for one peer, each way; a message is whatever was written in a turn of the loop."""

BACKLOG: Final = 1_024
"""Connections that wait until they are taken."""

SOCKETS_A_LINK: Final = 4
"""ZeroMQ sockets that belong to a connection which this node made, and one to spare."""

HEAD_BYTES_MAX: Final = 64


def message_bytes_max(limits: StreamLimits) -> int:
    """The largest message that a node sends: what was gathered, and one frame more."""
    return FLUSH_BYTES + frame_bytes_max(limits.bytes_max) + HEAD_BYTES_MAX


def new_context(limits: StreamLimits) -> zmq.Context[Raw]:
    """A context with room for all connections."""
    context = zmq.Context[Raw]()
    context.set(zmq.MAX_SOCKETS, SOCKETS_A_LINK * limits.connections_max + SOCKETS_A_LINK)
    return context


def set_options(socket: Raw, limits: StreamLimits, *, ipv6: bool) -> None:
    """Set what all sockets between nodes have in common."""
    # Without a limit, who does not read fills the memory of who sends; beyond it, it is told that there is no room.
    socket.setsockopt(zmq.SNDHWM, AHEAD_MAX)
    socket.setsockopt(zmq.RCVHWM, AHEAD_MAX)
    # The peer is cut off that sends more.
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max(limits))
    socket.setsockopt(zmq.HEARTBEAT_IVL, BEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENT_MS)
    # By default, half a minute for whoever connects and says nothing.
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(limits.connect_seconds * 1_000))
    # By default, a context waits for ever for what was not sent.
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.IPV6, ipv6)


def set_dialing(socket: Raw) -> None:
    """Set what those have that connect."""
    # What is sent before there is a connection would be kept for one that may never be.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    # Who lost a connection has to learn of it, and whoever made it decides when it is made again.
    socket.setsockopt(zmq.RECONNECT_IVL, -1)


def set_listening(socket: Raw) -> None:
    """Set what those have that take connections."""
    # Otherwise what is sent to who is gone, or does not read, is dropped without a word.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # Nobody takes over the name of another.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
