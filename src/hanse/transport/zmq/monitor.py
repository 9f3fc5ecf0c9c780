"""What ZeroMQ tells of the connections of a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import zmq
from zmq.utils.monitor import parse_monitor_message

from hanse.transport.zmq.driven import NOW, Driven, Raw


@final
class Monitor:
    """Tells of events of a socket, in the order in which they were."""

    def __init__(
        self, context: zmq.Context[Raw], socket: Raw, events: zmq.Event, told: Callable[[zmq.Event, int], None]
    ) -> None:
        """Tell from now on.

        Args:
            context: Of the socket.
            socket: To be told of; its owner closes it.
            events: Which.
            told: Given each event, and the number that comes with it: a descriptor, mostly.
        """
        endpoint = f"inproc://events-{socket.fileno()}"
        self._watched = socket
        self._told = told
        socket.monitor(endpoint, events)
        pair = context.socket(zmq.PAIR)
        # ZeroMQ's thread waits for room here, and whoever ends the monitor waits for that thread.
        pair.setsockopt(zmq.RCVHWM, 0)
        pair.connect(endpoint)
        self._driven = Driven(pair, self._take)

    def look(self) -> None:
        """Tell of what has happened."""
        self._driven.wake()

    def close(self) -> None:
        """Tell nothing more; to be called while the socket is open."""
        # While its other end is there, as ZeroMQ's thread would wait for one for ever.
        self._watched.disable_monitor()
        self._driven.close(0)

    def _take(self) -> None:
        told = parse_monitor_message(self._driven.socket.recv_multipart(NOW))
        self._told(zmq.Event(told["event"]), int(told["value"]))
