"""What an edge answers by itself, where no service does."""

from __future__ import annotations

from hanse.kernel.faults import Fault


class NotRouted(Fault, status=404, detail="nothing of this system is at {path}"):
    """No route of the edge is for this host and path."""

    path: str


class OutcomeUnknown(
    Fault,
    status=502,
    detail="the server of {service} went away with the request, and nobody knows whether it was done; see whether it "
    "was before it is sent again, or send it with an Idempotency-Key",
):
    """A server went away after a request was sent to it, and it may have been handled: it is not sent again."""

    service: str


class BrokenAnswer(Fault, status=502, detail="{service} answered with something that is no HTTP"):
    """What came from a server cannot be read as an answer."""

    service: str


class NotANeighbour(
    Fault,
    status=403,
    detail="{host} is no service of this system; there are {services}; requests to hosts outside are passed on where "
    "edge.egress_hosts names them",
):
    """A program of the system asked its proxy for a host that is no service, and that is not passed on to."""

    host: str
    services: str


class NotForwarded(Fault, status=501, detail="the edge does not forward {what}"):
    """The request asks for something that cannot be handed on, such as a tunnel by CONNECT."""

    what: str
