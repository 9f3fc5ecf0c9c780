"""The transport: what is served here is handed over at once, all else goes through NATS, which balances by itself.

Instances of a service are one queue group. Where nobody listens, the server says so at once. A node that leaves
refuses what is still under way to it, and its callers ask again: so a rolling restart fails no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import Conflict, Fault, Malformed, Overloaded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.transport.base import UNDONE, Features, Receiver, service_of
from hanse.transport.brokered.asked import Answer, Reading
from hanse.transport.brokered.frames import (
    BEGUN,
    INDEX_BYTES,
    ITEM,
    MESSAGE,
    REFUSED,
    Cancel,
    More,
    NotTakenError,
    encode,
    fault_of,
    index_of,
    message_in,
)
from hanse.transport.brokered.post import room
from hanse.transport.brokered.pulse import CONTROL_TOKEN, NOBODY, Pulse
from hanse.transport.brokered.served import TAKEN_TOLD
from hanse.transport.brokered.servers import servers_in
from hanse.transport.described import DescribedService
from hanse.transport.nats.connection import PENDING_BYTES_MAX, Connection, Subscription
from hanse.transport.nats.login import SCHEME, Options
from hanse.transport.nats.names import GROUP, KNOWN_MAX, Names
from hanse.transport.nats.parse import status_of
from hanse.transport.nats.services import Services

PAUSES_SECONDS = (0.02, 0.1, None)
"""Before it is asked again where nobody was there, as somebody may just be arriving; None after the last time."""

AWAY_SECONDS = 2.0
"""For which a request waits for a server to be there again, or to take what waits already."""

NODE_BYTES = 8
"""Of chance in a node's name, so that nobody can listen to its answers who is not allowed to list subjects."""

_ITEM, _FAULT = Kind.ITEM, Kind.FAULT  # to ask the enumeration costs more than the comparison (CPython 3.11)


@final
class NatsTransport:
    """Messages through NATS; see `hanse.transport.base.Transport` for what its verbs promise.

    Example:
        >>> transport = NatsTransport("nats://127.0.0.1:4222", Host.system(), Options(app="shop"))
        >>> transport.features.balances, transport.trouble()
        (True, 'there is no connection to NATS: it was not opened')
    """

    def __init__(self, url: str, host: Host, options: Options | None = None) -> None:
        """Know where to go.

        Args:
            url: Such as `nats://127.0.0.1:4222`, or several with commas: `nats://user:password@a,b,c`; `tls://` for
                servers under TLS.
            host: Clock, chance and names.
            options: The app's name, who asks, and how servers are verified.

        Raises:
            Misconfigured: The URL is none of NATS.
        """
        options = options or Options()
        self.names: Names = Names(options.app, host.entropy(NODE_BYTES).hex())
        self._host = host
        self._connection = Connection(servers_in(url, SCHEME), options, host, lost=self._lost)
        self._pulse = Pulse(self._connection, self.names, host, options.silence)
        self._asked, self._served = self._pulse.asked, self._pulse.served
        self._waiting = self._asked.waiting
        self._here_length = len(self.names.here)
        self._services = Services(self._connection, self.names, host, self._served)
        self._subscriptions: dict[str, Subscription] = {}
        self._inbox: Subscription | None = None
        self._met: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def features(self) -> Features:
        """See `Transport.features`; how large a message may be is the server's to say."""
        return Features(durable=False, balances=True, bytes_max=self._connection.body_bytes_max)

    @property
    def native(self) -> Connection:
        """The connection underneath: `publish` and `subscribe` to any subject; nothing is hidden."""
        return self._connection

    async def open(self) -> None:
        """See `Transport.open`. Raises `CouldNotStart`."""
        if self._inbox is None:
            self._inbox = self._connection.subscribe(self.names.here + b"*", self._told)
        await self._connection.open()
        self._loop = asyncio.get_running_loop()
        self._served.open = True

    async def close(self) -> None:
        """See `Transport.close`."""
        if self._loop is None:
            return
        self._loop, self._served.open = None, False
        self._asked.fail(Unavailable("the transport is closed"))
        for peer, tokens in self._asked.by_peer().items():
            self._pulse.say(peer, Cancel(self.names.node, tokens))
        await self._served.end()
        self._pulse.close()
        await self._connection.close()

    async def flush(self) -> None:
        """Wait until the server knows all that was said before, such as what is served here.

        Raises:
            Unavailable: It went away.
        """
        try:
            await self._connection.flush()
        except ConnectionError as error:
            raise Unavailable(f"NATS went away: {error}") from None

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return self._connection.trouble

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`.

        Raises:
            Conflict: Something else serves it here; one process has one instance of a service.
        """
        if self._served.receivers.setdefault(service, receiver) is not receiver:
            raise Conflict(f"another node of this process serves {service!r} already")
        if service not in self._subscriptions:
            subject = self.names.service(service)
            self._subscriptions[service] = self._connection.subscribe(subject, self._served.take, GROUP)
            self._services.listen(service)

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self._served.receivers.pop(service, None)
        if (subscription := self._subscriptions.pop(service, None)) is not None:
            self._connection.unsubscribe(subscription)
            self._services.leave(service)

    def drain(self) -> None:
        """See `Drains.drain`: NATS gives this node nothing more; what is under way, and its own, is still served."""
        for service in list(self._subscriptions):
            self._connection.unsubscribe(self._subscriptions.pop(service))
            self._services.leave(service)

    def describe(self, service: DescribedService, /) -> None:
        """See `TellsOthers.describe`: NATS's own tools list the service, and call it with JSON."""
        self._services.describe(service)

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        receiver = self._served.receivers.get(service_of(message.address))
        if receiver is None or self._loop is None:
            return self._ask(message)
        return receiver.serve(message)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        receiver = self._served.receivers.get(service_of(message.address))
        local = receiver is not None and self._loop is not None
        items = receiver.serve_stream(message) if receiver is not None and local else self._read(message)
        async with closing(items) as replies:
            async for reply in replies:
                yield reply

    # What is asked.

    async def _ask(self, message: Message) -> Message:
        # One coroutine, though it could be several: this is on the way of every call.
        for pause in PAUSES_SECONDS:
            loop = self._loop
            if loop is None or not self._connection.is_up:
                message = await self._when_up(message)
                loop = asyncio.get_running_loop()
            payload = self._encoded(message)
            token, answer = self._asked.answer(message, loop)
            try:
                if not self._send(message.address, token, payload):
                    await self._send_patiently(message, token, payload)
                reply = await answer.reply
            except NotTakenError as error:
                if pause is None:
                    raise self._nobody(message.address, error) from None
            except asyncio.CancelledError:
                self._give_up(token, answer)
                raise
            else:
                if message.address not in self._met:
                    self._meet(message.address)
                if reply.kind is not _FAULT or pause is None or not _elsewhere(reply):
                    return reply
            finally:
                del self._waiting[token]
            await asyncio.sleep(pause)
            message = self._later(message, answer.since)
        raise AssertionError("the last pause is none")

    async def _read(self, message: Message) -> AsyncIterator[Message]:
        since = self._host.monotonic()
        for pause in PAUSES_SECONDS:
            try:
                async with closing(self._read_once(message)) as replies:
                    async for reply in replies:
                        yield reply
            except NotTakenError as error:
                if pause is None:
                    raise self._nobody(message.address, error) from None
                await asyncio.sleep(pause)
                message = self._later(message, since)
            else:
                return

    async def _read_once(self, message: Message) -> AsyncIterator[Message]:
        if self._loop is None or not self._connection.is_up:
            message = await self._when_up(message)
        payload = self._encoded(message)
        token, reading = self._asked.reading(message)
        ended, taken = False, 0
        try:
            if not self._send(message.address, token, payload):
                await self._send_patiently(message, token, payload)
            while not ended:
                reply = await reading.take()
                ended, taken = reply.kind is not _ITEM, taken + 1
                if taken % TAKEN_TOLD == 0 and not ended:
                    self._pulse.say(reading.peer, More(self.names.node, token, TAKEN_TOLD))
                yield reply
            self._meet(message.address)
        finally:
            del self._waiting[token]
            if not ended:
                self._give_up(token, reading)

    def _encoded(self, message: Message) -> bytes:
        """What is sent for a message. Raises `TooLarge`."""
        payload = encode(message)
        if len(payload) > self._connection.body_bytes_max and (limit := self._connection.over(message, payload)):
            raise TooLarge(f"the message to {message.address}", limit)
        return payload

    def _send(self, address: str, token: bytes, payload: bytes) -> bool:
        """Say it; False if there is no room."""
        if not self._pulse.beats:
            self._pulse.asking()
        return self._connection.publish(self.names.call(address), self.names.here + token, payload, MESSAGE)

    async def _send_patiently(self, message: Message, token: bytes, payload: bytes) -> None:
        """Say it once there is room. Raises `Overloaded` and `Unavailable`."""
        try:
            async with asyncio.timeout(_patience(message)):
                while self._connection.is_up:
                    await room(self._connection, message.body)
                    if self._send(message.address, token, payload):
                        return
        except TimeoutError:
            waiting = self._waiting[token]
            if isinstance(waiting, Answer):
                waiting.leave()  # its time may have come to its end at the same moment
            raise Overloaded(f"the limit of {PENDING_BYTES_MAX} bytes that wait for NATS to take them") from None
        raise Unavailable(self.trouble())

    def _give_up(self, token: bytes, waiting: Answer | Reading) -> None:
        """Tell whoever works on it; where that is not known yet, it is told when it tells."""
        if waiting.peer and self._loop is not None:
            self._pulse.say(waiting.peer, Cancel(self.names.node, [token]))

    async def _when_up(self, message: Message) -> Message:
        """Wait for a server; the message with the time that is left. Raises `Unavailable`."""
        if self._loop is None:
            raise Unavailable("the transport is closed")
        since = self._host.monotonic()
        try:
            async with asyncio.timeout(_patience(message)):
                await self._connection.up()
        except TimeoutError:
            raise Unavailable(self.trouble() or "there was no connection to NATS in time") from None
        return self._later(message, since)

    def _later(self, message: Message, since: float) -> Message:
        """A message with the time that is left of it."""
        if not message.timeout:
            return message
        left = message.timeout - (self._host.monotonic() - since)
        return msgspec.structs.replace(message, timeout=max(0.001, left))

    def _meet(self, address: str) -> None:
        """Somebody serves it: who does not find anybody later knows that they are away, not unheard of."""
        if address not in self._met and len(self._met) < KNOWN_MAX:
            self._met.add(address)

    def _nobody(self, address: str, error: NotTakenError) -> Fault:
        service = service_of(address)
        if str(error) or any(service_of(met) == service for met in self._met):
            return Unavailable(f"nobody serves {service!r} at the moment")
        return UnknownOperation(f"nobody serves {service!r} of the app {self.names.app!r} on this NATS")

    # What comes.

    def _told(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """An answer, or what else others tell this node."""
        del reply
        token = subject[self._here_length :]
        waiting = self._waiting.get(token)
        try:
            if type(waiting) is Answer and payload[:1] == MESSAGE:
                if not waiting.reply.done():
                    waiting.reply.set_result(message_in(payload))
            elif waiting is not None:
                self._answered(waiting, payload, headers)
            elif token == CONTROL_TOKEN:
                self._pulse.take(payload)
            elif token.startswith(NOBODY) and status_of(headers) == "503":
                self._pulse.gone(token[len(NOBODY) :], "is not connected to NATS any more")
        except Malformed as fault:
            if waiting is not None:
                waiting.fail(Unavailable(f"the answer of {waiting.address} cannot be read: {fault.detail}"))

    def _answered(self, waiting: Answer | Reading, payload: bytes, headers: bytes) -> None:
        lead = payload[:1]
        if lead == ITEM and isinstance(waiting, Reading):
            waiting.put(index_of(payload), message_in(payload, 1 + INDEX_BYTES))
        elif lead == BEGUN:
            waiting.peer = payload[1:]
        elif lead == REFUSED:
            waiting.fail(fault_of(payload, waiting.address))
        elif not payload and status_of(headers) == "503":
            waiting.fail(NotTakenError())
        else:
            raise Malformed(f"expected a frame of Hanse's, got one that begins with {lead!r}")

    def _lost(self, why: str) -> None:
        """The connection broke: what was asked may not have come, and no more of what is read will."""
        self._asked.fail(Unavailable(f"the connection to NATS broke: {why}"))
        self._served.drop(lambda work: work.pace is not None)


def _patience(message: Message) -> float:
    """Seconds for which a message waits until it can be sent."""
    return min(AWAY_SECONDS, message.timeout or AWAY_SECONDS)


def _elsewhere(reply: Message) -> bool:
    """Whether a node that stops refuses what others may still take."""
    return UNDONE in reply.headers.extra and reply.headers.type == Unavailable.code
