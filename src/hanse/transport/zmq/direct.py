"""`zmq://` as a `Direct`."""

from __future__ import annotations

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.stream.limits import DEFAULT_LIMITS, StreamLimits
from hanse.transport.zmq.curve import Curve


def zmq_direct(
    url: str,
    host: Host,
    *,
    instance: str = "",
    limits: StreamLimits = DEFAULT_LIMITS,
    curve: Curve | None = None,
) -> StreamDirect:
    """Moves messages to nodes by their addresses, over ZeroMQ.

    Args:
        url: Where to listen; see `hanse.transport.zmq.sockets`.
        host: Its clock and chance.
        instance: Name of this process; a new id by default.
        limits: What is allowed.
        curve: Who may connect; without, anybody who reaches the port may call everything.

    Raises:
        Misconfigured: The URL cannot be used, or ZeroMQ is not installed.
        CouldNotStart: The keys cannot be used.
    """
    try:
        from hanse.transport.zmq.sockets import ZmqSockets
    except ModuleNotFoundError as error:
        raise Misconfigured(f"zmq:// needs ZeroMQ ({error}): pip install 'hanse[zmq]'") from None
    return StreamDirect(ZmqSockets(url, limits, curve), host, instance=instance, limits=limits)
