"""One node on a broker: what it serves, asks, tells and hears, whichever broker it is.

A transport hands it the connection and the verbs that its broker has words of its own for; the rest is the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, Protocol, final

from hanse.kernel.closing import closing
from hanse.kernel.faults import Conflict, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.transport.base import Receiver, service_of
from hanse.transport.brokered.asked import Asked
from hanse.transport.brokered.calls import Calls, Carrier, Send
from hanse.transport.brokered.frames import Cancel, NotTakenError
from hanse.transport.brokered.post import Subjects
from hanse.transport.brokered.pulse import NOBODY, Pulse
from hanse.transport.brokered.roll import Roll
from hanse.transport.brokered.served import Served
from hanse.transport.discovery import Announcement

NODE_BYTES = 8
"""Of chance in a node's name, so that nobody can listen to its answers who is not allowed to list what is there."""


class Verbs(NamedTuple):
    """What each broker has words of its own for.

    Attributes:
        call: Sends a request.
        serve: Has the broker give this node what is asked of a service.
        leave: Has it give no more of that; what is under way, and this node's own, is still served.
    """

    call: Send
    serve: Callable[[str], None]
    leave: Callable[[str], None]


class Asks(Protocol):
    """Who asks: the part of a transport's options that all have."""

    @property
    def app(self) -> str:
        """Name of the app."""
        ...

    @property
    def silence(self) -> float:
        """Seconds after which a node that says nothing is taken for dead."""
        ...


@final
class Station:
    """The node, as its transport uses it.

    Attributes:
        asked: What it waits for.
        served: What it works on for others.
        pulse: How it and others notice that one has gone.
        roll: Who else is there.
        calls: What it asks.
    """

    def __init__(
        self, carrier: Carrier, verbs: Verbs, names: Subjects, host: Host, options: Asks, here: Announcement | None
    ) -> None:
        """Serve and ask nothing yet.

        Args:
            carrier: The connection to the broker.
            verbs: What its transport does in its own words.
            names: What of the node's is where.
            host: Its clock.
            options: Who asks.
            here: What the node says of itself to whoever asks which nodes there are; None for no more than a name.
        """
        self._carrier = carrier
        self._verbs = verbs
        self._names = names
        self.pulse: Pulse = Pulse(carrier, names, host, options.silence)
        self.asked: Asked = self.pulse.asked
        self.served: Served = self.pulse.served
        here = here or Announcement(names.node.decode(), "", app=options.app, since=host.now())
        self.roll: Roll = Roll(here, names.node, self.pulse, self._stop)
        self.pulse.here, self.pulse.who = self.roll.told, self.roll.asked
        where = f"the app {options.app!r} on this {carrier.broker}"
        self.calls: Calls = Calls(carrier, verbs.call, self.pulse, host, where)

    @property
    def is_open(self) -> bool:
        """Whether it asks, and serves others."""
        return self.calls.open

    def open(self) -> None:
        """There is a broker."""
        self.calls.open = self.served.open = True

    def close(self) -> bool:
        """Ask no more, and serve no others; False where it was closed already. Call `end` after it."""
        was_open = self.is_open
        self.calls.open = self.served.open = self.roll.draining = False
        return was_open

    async def end(self) -> None:
        """Give up all that is under way, and say so to those who wait for it."""
        for peer, tokens in self.asked.by_peer().items():
            self.pulse.say(peer, Cancel(self._names.node, tokens))
        self.asked.fail_all(Unavailable("the transport is closed"))
        await self.calls.end()
        await self.served.end()
        self.pulse.close()

    async def flush(self) -> None:
        """Wait until the broker knows all that was said. Raises `Unavailable` where it goes away."""
        try:
            await self._carrier.flush()
        except ConnectionError as error:
            raise Unavailable(f"{self._carrier.broker} went away: {error}") from None

    def listen(self, service: str, receiver: Receiver) -> None:
        """See `Transport.listen`. Raises `Conflict`, and `UnknownOperation` for a name that is too long."""
        _ = self._names.service(service)  # raises before anything is noted
        if not self.served.listen(service, receiver):
            raise Conflict(f"another node of this process serves {service!r} already")
        self.calls.listened()
        self.roll.serve(service)
        self._verbs.serve(service)

    def leave(self, service: str) -> None:
        """See `Transport.leave`."""
        if self.served.leave(service):
            self._stop(service)

    def drain(self) -> bool:
        """Want no more than what nobody else serves, from now on; False where that is so already, or it is closed."""
        if self.roll.draining or not self.is_open:
            return False
        self.roll.draining = True
        return True

    def request(self, message: Message) -> Awaitable[Message]:
        """See `Transport.request`."""
        here = self.calls.here(message)
        return self.calls.request(message) if here is None else here

    async def stream(self, message: Message) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        receiver = self.served.receivers.get(service_of(message.address))
        local = receiver is not None and self.calls.open
        items = receiver.serve_stream(message) if receiver is not None and local else self.calls.read(message)
        async with closing(items) as replies:
            async for reply in replies:
                yield reply

    def nobody(self, token: bytes) -> None:
        """Nobody is there to hear what was said under a token: a request, or a word to another node."""
        if token.startswith(NOBODY):
            self.pulse.gone(token[len(NOBODY) :], f"is not connected to {self._carrier.broker} any more")
        else:
            self.calls.refused(token, NotTakenError())

    def lost(self, why: str) -> str:
        """The connection broke: what was asked may not have come. The same, as those are told who wait for it."""
        said = f"the connection to {self._carrier.broker} broke: {why}"
        self.calls.lost(said)
        return said

    def _stop(self, service: str) -> None:
        self.roll.leave(service)
        self._verbs.leave(service)
