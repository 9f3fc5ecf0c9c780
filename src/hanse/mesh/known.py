"""Which nodes there are, as one of them knows: for whoever looks after a fleet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import msgspec

from hanse.kernel.faults import Unavailable
from hanse.mesh.instance import Instance
from hanse.transport.base import RELEASE, KnowsNodes, Transport
from hanse.transport.discovery import Announcement

DRAINS = "drains"
HERE = "in"


class Known(msgspec.Struct, frozen=True):
    """A node.

    Attributes:
        instance: Its name.
        services: What it serves that others may call by name.
        address: Where it is reached; empty where a broker lies between.
        release, zone: What it says of itself.
        since: Second of its clock at which it started; 0 where it does not say.
        state: `in` where it is given calls; `drains`; or why the mesh leaves it alone, as far as the transport knows.
    """

    instance: str
    services: tuple[str, ...] = ()
    address: str = ""
    release: str = ""
    zone: str = ""
    since: float = 0.0
    state: str = HERE


@runtime_checkable
class KnowsStates(Protocol):
    """A transport that chooses by itself whom it asks, and knows how these fare."""

    def known(self) -> list[Known]:
        """The nodes that it has heard of, this one among them."""
        ...


async def known_by(transport: Transport, here: Announcement) -> list[Known]:
    """The nodes that a transport knows, by their names.

    Args:
        transport: That of the node that is asked.
        here: What this node says of itself, for a transport that stays within its process.

    Raises:
        Unavailable: The transport cannot tell.
    """
    if isinstance(transport, KnowsStates):
        found = transport.known()
    elif isinstance(transport, KnowsNodes):
        found = [known_of(said) for said in await transport.nodes()]
    elif transport.features.local:
        found = [known_of(here)]
    else:
        raise Unavailable("this transport does not know which nodes there are; ask the broker's own tools")
    return sorted(found, key=lambda one: one.instance)


def known_of(said: Announcement, state: str = HERE) -> Known:
    """A node by what it says of itself.

    Example:
        >>> known_of(Announcement("a-1", "tcp://a:1", ("orders", "rows/orders", "orders@1.5"), weight=0)).state
        'drains'
        >>> known_of(Announcement("a-1", "tcp://a:1", ("orders", "rows/orders", "orders@1.5"))).services
        ('orders',)
    """
    state = DRAINS if said.weight <= 0 else state
    return Known(said.instance, services_in(said.names), said.address, said.release, said.zone, said.since, state)


def known_instance(instance: Instance) -> Known:
    """Another process, as the mesh knows it."""
    return known_of(instance.said, instance.standing.state.value)


def services_in(names: Iterable[str]) -> tuple[str, ...]:
    """The names that people call something by: not those of rows, events, groups and releases."""
    return tuple(sorted(name for name in names if "/" not in name and RELEASE not in name))
