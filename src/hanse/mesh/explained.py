"""Who would be asked, and why not the others: a decision of the chooser, told. For `hanse explain route`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.kernel.route import Route
from hanse.mesh.choice import Chooser, is_here, why_out
from hanse.mesh.instance import Instance
from hanse.mesh.routes import Way
from hanse.mesh.standing import State
from hanse.transport.base import Transport, service_of
from hanse.transport.discovery import Announcement


class Candidate(msgspec.Struct, frozen=True):
    """One that serves what is called.

    Attributes:
        instance, address, zone, release, weight: What it says of itself.
        in_flight: Calls of this node to it that are under way.
        latency_ms: How long it is thought to take.
        calls: Whether it is given calls.
        why: Why it would be asked, or not.
        taken: Whether it would be asked now.
    """

    instance: str
    address: str
    zone: str
    release: str
    weight: int
    in_flight: int = 0
    latency_ms: float = 0.0
    calls: bool = True
    why: str = ""
    taken: bool = False


class Explained(msgspec.Struct, frozen=True):
    """How a call finds its way.

    Attributes:
        address: What is called.
        summary: What is decided, in a sentence.
        release: The release that a route wants; empty for any.
        candidates: Who serves it: who would be asked first, then those who are given calls.
        route: The route that it follows, and where that was set; empty where none is for it.
    """

    address: str
    summary: str
    release: str = ""
    candidates: tuple[Candidate, ...] = ()
    route: str = ""


@runtime_checkable
class Explains(Protocol):
    """A transport that chooses by itself whom it asks, and can say why."""

    def explain(self, address: str, headers: Headers = NO_HEADERS) -> Explained:
        """Who would be asked now, and why not the others."""
        ...


def explained_by(transport: Transport, address: str, headers: Headers = NO_HEADERS) -> Explained:
    """What a transport says of how a call finds its way; in a sentence, where there is nothing to choose.

    Example:
        >>> from hanse.transport.memory import MemoryTransport
        >>> explained_by(MemoryTransport(), "orders.place").summary
        'messages stay within this process: whoever serves orders in it is asked'
    """
    if isinstance(transport, Explains):
        return transport.explain(address, headers)
    service = service_of(address)
    if transport.features.local:
        summary = f"messages stay within this process: whoever serves {service} in it is asked"
    else:
        summary = f"the transport chooses by itself among all that serve {service}"
    return Explained(address, summary)


def explained(
    chooser: Chooser, address: str, headers: Headers, host: Host, here: Announcement | None = None
) -> Explained:
    """What is decided about a call.

    Args:
        chooser: Decides.
        address: `service.operation`.
        headers: What the call carries.
        host: Clock and chance.
        here: What this process says of itself, where it serves the address.
    """
    service, now, draw = service_of(address), host.monotonic(), host.chance.random
    way = chooser.way(service, headers, draw, here.release if here else "")
    taken = chooser.choose(service, way, now, draw)
    local = here is not None and is_here(here, way, taken)
    found = [
        _candidate(chooser, service, one, way, now, None if local else taken)
        for one in chooser.directory.serving(service)
    ]
    if here is not None:
        found.append(_here(here, taken=local))
    found.sort(key=lambda one: (not one.taken, not one.calls, one.instance))
    summary = _summary(chooser, service, found)
    route = chooser.routes.get(service)
    return Explained(address, summary, way.release, tuple(found), route_name(service, route))


def route_name(service: str, route: Route | None) -> str:
    """A route as people find it; empty for none.

    Example:
        >>> route_name("orders", Route(source="routes.orders (hanse.toml)")), route_name("orders", Route())
        ('routes.orders (hanse.toml)', 'a route of orders')
    """
    return "" if route is None else route.source or f"a route of {service}"


def _summary(chooser: Chooser, service: str, found: list[Candidate]) -> str:
    if not found:
        gone = chooser.directory.knows(service)
        return f"whoever served {service} has gone" if gone else f"nobody serves {service}"
    if not found[0].taken:
        return f"nobody who serves {service} can be asked at the moment"
    open_to = sum(one.calls for one in found)
    return (
        f"{found[0].instance} would be asked, of {open_to} that are given calls and {len(found)} that serve {service}"
    )


def _candidate(
    chooser: Chooser, service: str, instance: Instance, way: Way, now: float, taken: Instance | None
) -> Candidate:
    said = instance.said
    why = why_out(instance) or _why_in(chooser, service, instance, way)
    return Candidate(
        instance.name,
        instance.address,
        said.zone,
        said.release,
        said.weight,
        instance.in_flight,
        round(1000 * instance.latency_at(now), 3),
        calls=not why_out(instance),
        why=f"taken: {why}" if instance is taken else why,
        taken=instance is taken,
    )


def _why_in(chooser: Chooser, service: str, instance: Instance, way: Way) -> str:
    if way.release and instance.said.release != way.release:
        return f"is of another release than {way.release}"
    if instance.standing.state is State.TRIAL:
        return "is on trial: one call at a time"
    if way.key:
        return "is asked for the keys that belong to it"
    if not chooser.is_near(service, instance):
        return "is of another zone: asked where no near one is, or the near ones are busy"
    return "is drawn by its weight, and asked if it is the lighter of two"


def _here(here: Announcement, *, taken: bool) -> Candidate:
    why = "taken: it runs in this process" if taken else "runs in this process, but a route wants another"
    return Candidate(here.instance, here.address, here.zone, here.release, here.weight, why=why, taken=taken)
