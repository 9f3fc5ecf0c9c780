"""The door of a node that does not host the gateway: it answers those alone who ask how the node is.

It imports nothing of what builds a gateway, so that the many nodes that answer nobody else start without that.
"""

from __future__ import annotations

from hanse.gateway.asgi import Application, Request
from hanse.gateway.checks import checks_of, manners_of
from hanse.gateway.figures import Requests
from hanse.gateway.front_door import FrontDoor, Inside
from hanse.gateway.limits import Limits
from hanse.gateway.metrics import Metrics
from hanse.gateway.mount import Mounts
from hanse.gateway.problem import NoRoute
from hanse.gateway.room import Room
from hanse.gateway.routes import Routes
from hanse.gateway.streams import Streams
from hanse.node.node import Node


class SideDoor:
    """Answers health, figures, routes and nodes, and nothing else."""

    def asgi(self, node: Node, /) -> Application:
        """The ASGI application that answers for a node. Whoever calls it starts and stops the node."""
        streams = Streams(Limits(), node.host)
        requests, room = Requests(), Room(streams.limits, streams)
        checks = checks_of(node, Metrics(node, requests, streams, room))
        mounts = Mounts((), (), node, streams)
        inside = Inside(room, Routes(), checks, _no_socket, mounts, manners_of(node), requests=requests)
        return FrontDoor(node, streams, inside)

    async def drain(self, node: Node | None = None, /) -> None:
        """Do nothing: there are no streams to end."""


async def _no_socket(request: Request) -> None:
    raise NoRoute(request.path[:200])
