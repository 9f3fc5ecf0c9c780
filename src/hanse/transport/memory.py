"""`memory:`: messages within one process, handed over at once.

A real transport, not a stand-in: everything is encoded as anywhere else, nothing is shared by reference but immutable
values. A request runs its handler in the task of the caller, so it costs no task, and cancelling one cancels the other.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Awaitable

from hanse.kernel.closing import closing
from hanse.kernel.faults import Conflict, Unavailable, UnknownOperation
from hanse.kernel.message import Message
from hanse.transport.base import Features, Receiver, service_of


class MemoryTransport:
    """Hands messages to receivers of the same process.

    Several nodes of one process may share one, each with services of its own: it is open until the last has closed it.
    """

    features: Features = Features(durable=False, balances=False, local=True)

    def __init__(self) -> None:
        self._receivers: dict[str, Receiver] = {}
        self._openings = 0
        self._closed = False

    async def open(self) -> None:
        """See `Transport.open`."""
        self._openings += 1
        self._closed = False

    async def close(self) -> None:
        """See `Transport.close`."""
        self._openings = max(0, self._openings - 1)
        self._closed = self._openings == 0

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return "the transport is closed" if self._closed else ""

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`.

        Raises:
            Conflict: Somebody else serves it here; one process has one instance of a service.
        """
        if self._receivers.setdefault(service, receiver) is not receiver:
            raise Conflict(f"another node of this process serves {service!r} already")

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self._receivers.pop(service, None)

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        # Written out, not `_receiver` and `service_of`: this is on the way of every call.
        receiver = self._receivers.get(message.address.rpartition(".")[0])
        if receiver is None or self._closed:
            raise self._nobody(message.address)
        return receiver.serve(message)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        async with closing(self._receiver(message).serve_stream(message)) as replies:
            async for reply in replies:
                yield reply

    def _receiver(self, message: Message) -> Receiver:
        receiver = self._receivers.get(service_of(message.address))
        if receiver is None or self._closed:
            raise self._nobody(message.address)
        return receiver

    def _nobody(self, address: str) -> Unavailable | UnknownOperation:
        if self._closed:
            return Unavailable("the transport is closed")
        service = service_of(address)
        # Names with a slash are of our own making, such as that of a collection's rows.
        there = sorted(name for name in self._receivers if "/" not in name)
        near = difflib.get_close_matches(service, there, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there) or 'none'}"
        return UnknownOperation(f"no service {service!r} runs here; {hint}")
