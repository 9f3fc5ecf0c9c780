"""The port to discovery: how nodes learn of one another, and that one has gone.

What is found goes into the mesh's directory. A discovery tells each announcement at least once, and of one instance in
the order of their versions; it tells that an instance has gone when it said goodbye, or when it is certain enough that
it is dead. It never tells of the node itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a node says of itself.

    Attributes:
        instance: Name of the process; another one after each start.
        address: Where its `Direct` transport listens.
        names: What it serves: services, and what belongs to them, such as `rows/orders`.
        app: Name of the app: nodes of others are not listened to.
        release: Version of the code that runs.
        zone: Where it stands; calls prefer their own zone.
        weight: Share of calls beside its like; 0 for none, such as while it drains.
        version: Counts up whenever something of the above changes.
        since: Second of its machine's clock at which it started; 0 where it does not say.
    """

    instance: str
    address: str
    names: tuple[str, ...] = ()
    app: str = ""
    release: str = ""
    zone: str = ""
    weight: int = 100
    version: int = 1
    since: float = 0.0


class Discovery(Protocol):
    """Tells of nodes that come, change and go."""

    async def open(
        self, here: Announcement, told: Callable[[Announcement], None], gone: Callable[[str], None], /
    ) -> None:
        """Take part.

        Args:
            here: This node.
            told: Given what others say of themselves.
            gone: Given the instance of a node that left or is dead.

        Raises:
            CouldNotStart: The network cannot be used as it is asked to be.
        """
        ...

    def announce(self, here: Announcement, /) -> None:
        """Say something else of this node, of a higher version."""
        ...

    def suspect(self, instance: str, /) -> None:
        """Somebody's connection to it broke: make sure, soon, that it lives, or tell that it has gone."""
        ...

    async def close(self) -> None:
        """Say goodbye, and leave."""
        ...
