"""The port to what moves messages straight from node to node: it goes where it is told, and decides nothing.

A `Transport` finds whoever serves a service. Without a broker nothing does that by itself: the mesh keeps a directory
of who serves what, chooses, and has a `Direct` carry the message to the address that was chosen. What
`hanse.transport.base` promises of requests and streams holds here too, and besides:
- A request that has certainly not reached the other node raises `NotSent`, at once or when the connection cannot be
  made; whoever chose the node may choose another. Once it may have reached it, a broken connection is `Unavailable`.
- A node that is killed, and one that has gone silent, are noticed: requests and streams under way there end with
  `Unavailable`, and `lost` is told.
- What is asked of an address first connects to it; connections are kept, and those that nobody uses are closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, runtime_checkable

from hanse.kernel.faults import Unavailable
from hanse.kernel.message import Message
from hanse.transport.base import Answer, Call, Features, Receiver


class NotSent(Unavailable, detail="{problem}"):
    """The message did not leave this node: it may be sent elsewhere, whatever it asks for."""


class Direct(Protocol):
    """Moves messages to nodes by their addresses."""

    @property
    def features(self) -> Features:
        """What it can do; it never balances."""
        ...

    @property
    def address(self) -> str:
        """Where other nodes reach this one, such as `tcp://10.0.0.7:7421`; known once it is open."""
        ...

    @property
    def native(self) -> object:
        """What is underneath, for whoever needs more than this port: nothing is hidden."""
        ...

    async def open(self, receiver: Receiver, lost: Callable[[str], None], /) -> None:
        """Listen.

        Args:
            receiver: Serves whatever comes.
            lost: Told the address of a node whose connection broke or which has gone silent.

        Raises:
            CouldNotStart: The address is taken, or is none of this machine's.
        """
        ...

    async def close(self) -> None:
        """Let go; requests under way end with `Unavailable`."""
        ...

    def request(self, message: Message, to: str, /) -> Awaitable[Message]:
        """Send to an address, and wait for the one answer."""
        ...

    def stream(self, message: Message, to: str, /) -> AsyncIterator[Message]:
        """Send to an address a call that is answered by items; ends with an END or FAULT message."""
        ...


@runtime_checkable
class AsksDirectly(Protocol):
    """A `Direct` that can be asked without a coroutine of its own: see `AsksAtOnce`."""

    def ask(self, message: Message, to: str, /) -> Awaitable[Answer]:
        """As `request`, but that whoever is cancelled while it waits has to say `given_up`."""
        ...

    def calling(self, address: str, to: str, /) -> Call:
        """How to call `service.operation` of one node, as by `ask`."""
        ...

    def given_up(self) -> None:
        """Somebody who waited was cancelled."""
        ...
