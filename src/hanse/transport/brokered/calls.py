"""What a node asks of others over a broker: a request and its answer, a stream and its items, and what else comes.

What nobody has begun is asked again at once, as somebody may just be arriving or leaving: so a rolling restart fails no
request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol, final

from hanse.kernel.closing import closing
from hanse.kernel.faults import Fault, Malformed, Overloaded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import FAULT, ITEM as ITEM_KIND, NO_HEADERS, REPLY as REPLY_KIND, Message
from hanse.transport.base import RELEASE, UNDONE, service_of
from hanse.transport.brokered.asked import Answer, Reading
from hanse.transport.brokered.frames import (
    BEGUN,
    INDEX_BYTES,
    ITEM,
    MESSAGE,
    REFUSED,
    REPLY,
    Cancel,
    More,
    NotTakenError,
    ask_of,
    fault_of,
    index_of,
    later,
    message_in,
)
from hanse.transport.brokered.post import Post, room
from hanse.transport.brokered.pulse import CONTROL_TOKEN, Pulse
from hanse.transport.brokered.served import TAKEN_TOLD
from hanse.transport.direct import NotSent
from hanse.transport.headers import LastHeaders

PAUSES_SECONDS = (0.02, 0.1, None)
"""Before it is asked again where nobody was there, as somebody may just be arriving; None after the last time."""

AT_ONCE = (None,)
"""The same for what is asked of one release: whoever asks has others to go to."""

AWAY_SECONDS = 2.0
"""For which a request waits for a broker to be there again, or to take what waits already."""

_ANSWERS = (REPLY, MESSAGE)

KNOWN_MAX = 10_000
"""Addresses that are remembered to have answered."""


class Carrier(Post, Protocol):
    """A connection to a broker, as far as something is asked through it."""

    @property
    def broker(self) -> str:
        """What people call it, such as NATS."""
        ...

    @property
    def trouble(self) -> str:
        """Why there is no broker at the moment; empty if there is."""
        ...

    async def up(self) -> None:
        """Wait until there is a broker."""
        ...

    async def flush(self) -> None:
        """Wait until it has taken all that was said. Raises `ConnectionError` where it goes away."""
        ...


Send = Callable[[str, bytes, bytes], bool]
"""Sends a request: what is called, the token under which the answer is to come, and the request. False if there is no
room for it while the broker does not take it. Raises `UnknownOperation` for what nobody can be called."""


@final
class Calls:
    """All that one node asks.

    Attributes:
        open: Whether something may be asked.
    """

    def __init__(self, carrier: Carrier, send: Send, pulse: Pulse, host: Host, where: str) -> None:
        """Ask nothing yet.

        Args:
            carrier: The connection to the broker.
            send: Sends a request through it.
            pulse: Knows what is under way.
            host: Its clock.
            where: Among whom somebody is looked for, such as "the app 'shop' on this Redis".
        """
        self._carrier = carrier
        self._send_now = send
        self._where = where
        self._pulse = pulse
        self._asked = pulse.asked
        self._waiting = pulse.asked.waiting
        self._host = host
        self._headers = LastHeaders()
        self._met: set[str] = set()
        self.open: bool = False

    async def ask(self, message: Message) -> Message:
        """See `Transport.request`."""
        # One coroutine, though it could be several: this is on the way of every call.
        for pause in AT_ONCE if RELEASE in message.address else PAUSES_SECONDS:
            if not self.open or not self._carrier.is_up:
                message = await self._when_up(message)
            payload = self._encoded(message)
            token, answer = self._asked.answer(message)
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
                if reply.kind is not FAULT or pause is None or not _elsewhere(reply):
                    return reply
            finally:
                del self._waiting[token]
            await asyncio.sleep(pause)
            message = later(message, self._host.monotonic() - answer.since)
        raise AssertionError("the last pause is none")

    async def read(self, message: Message) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        since = self._host.monotonic()
        for pause in AT_ONCE if RELEASE in message.address else PAUSES_SECONDS:
            try:
                async with closing(self._read_once(message)) as replies:
                    async for reply in replies:
                        yield reply
            except NotTakenError as error:
                if pause is None:
                    raise self._nobody(message.address, error) from None
                await asyncio.sleep(pause)
                message = later(message, self._host.monotonic() - since)
            else:
                return

    def lost(self, why: str) -> None:
        """The connection broke: what was asked may not have come, and no more of what is read will."""
        self._asked.fail(Unavailable(why))
        self._pulse.served.drop(lambda work: work.pace is not None)

    def refused(self, token: bytes, fault: Exception) -> None:
        """The broker did not take a request; `NotTakenError` where nobody is there to serve it."""
        if (waiting := self._waiting.get(token)) is not None:
            waiting.fail(fault)

    def told(self, token: bytes, payload: bytes) -> None:
        """An answer, or what else others tell this node."""
        waiting = self._waiting.get(token)
        try:
            if type(waiting) is Answer and payload.startswith(_ANSWERS):
                if not waiting.reply.done():
                    if payload.startswith(REPLY):
                        reply = Message(REPLY_KIND, waiting.id, "", 0.0, NO_HEADERS, payload[1:])
                    else:
                        reply = message_in(payload)
                    waiting.reply.set_result(reply)
            elif waiting is not None:
                _answered(waiting, payload)
            elif token == CONTROL_TOKEN:
                self._pulse.take(payload)
        except Malformed as fault:
            if waiting is not None:
                waiting.fail(Unavailable(f"the answer of {waiting.address} cannot be read: {fault.detail}"))

    async def _read_once(self, message: Message) -> AsyncIterator[Message]:
        if not self.open or not self._carrier.is_up:
            message = await self._when_up(message)
        payload = self._encoded(message)
        token, reading = self._asked.reading(message)
        ended, taken = False, 0
        try:
            if not self._send(message.address, token, payload):
                await self._send_patiently(message, token, payload)
            while not ended:
                reply = await reading.take()
                ended, taken = reply.kind is not ITEM_KIND, taken + 1
                if taken % TAKEN_TOLD == 0 and not ended:
                    self._pulse.say(reading.peer, More(self._pulse.node, token, TAKEN_TOLD))
                yield reply
            self._meet(message.address)
        finally:
            del self._waiting[token]
            if not ended:
                self._give_up(token, reading)

    def _encoded(self, message: Message) -> bytes:
        """What is sent for a message. Raises `TooLarge`."""
        last, headers = self._headers, message.headers
        encoded = last.encoded if headers is last.headers else last.encode(headers)
        payload = ask_of(message, encoded)
        if len(payload) > self._carrier.body_bytes_max and (limit := self._carrier.over(message, payload)):
            raise TooLarge(f"the message to {message.address}", limit)
        return payload

    def _send(self, address: str, token: bytes, payload: bytes) -> bool:
        """Say it; False if there is no room."""
        if not self._pulse.beats:
            self._pulse.asking()
        return self._send_now(address, token, payload)

    async def _send_patiently(self, message: Message, token: bytes, payload: bytes) -> None:
        """Say it once there is room. Raises `Overloaded` and `Unavailable`."""
        try:
            async with asyncio.timeout(_patience(message)):
                while self._carrier.is_up:
                    await room(self._carrier, message.body)
                    if self._send(message.address, token, payload):
                        return
        except TimeoutError:
            raise Overloaded("the limit of bytes that wait for the broker to take them") from None
        raise Unavailable(self._carrier.trouble)

    def _give_up(self, token: bytes, waiting: Answer | Reading) -> None:
        """Tell whoever works on it; where that is not known yet, it is told when it tells."""
        if waiting.peer and self.open:
            self._pulse.say(waiting.peer, Cancel(self._pulse.node, [token]))

    async def _when_up(self, message: Message) -> Message:
        """Wait for a broker; the message with the time that is left. Raises `Unavailable`."""
        if not self.open:
            raise Unavailable("the transport is closed")
        since = self._host.monotonic()
        try:
            async with asyncio.timeout(_patience(message)):
                await self._carrier.up()
        except TimeoutError:
            raise Unavailable(self._carrier.trouble or "there was no connection to the broker in time") from None
        return later(message, self._host.monotonic() - since)

    def _meet(self, address: str) -> None:
        """Somebody serves it: who does not find anybody later knows that they are away, not unheard of."""
        if address not in self._met and len(self._met) < KNOWN_MAX:
            self._met.add(address)

    def _nobody(self, address: str, error: NotTakenError) -> Fault:
        service = service_of(address)
        if RELEASE in service:
            return NotSent(f"nobody serves {service!r} at the moment")
        if str(error) or any(service_of(met) == service for met in self._met):
            return Unavailable(f"nobody serves {service!r} at the moment")
        return UnknownOperation(f"nobody serves {service!r} of {self._where}")


def _answered(waiting: Answer | Reading, payload: bytes) -> None:
    lead = payload[:1]
    if lead == ITEM and isinstance(waiting, Reading):
        waiting.put(index_of(payload), message_in(payload, 1 + INDEX_BYTES))
    elif lead == BEGUN:
        waiting.peer = payload[1:]
    elif lead == REFUSED:
        waiting.fail(fault_of(payload, waiting.address))
    else:
        raise Malformed(f"expected a frame of Hanse's, got one that begins with {lead!r}")


def _patience(message: Message) -> float:
    """Seconds for which a message waits until it can be sent."""
    return min(AWAY_SECONDS, message.timeout or AWAY_SECONDS)


def _elsewhere(reply: Message) -> bool:
    """Whether a node that stops refuses what others may still take."""
    return UNDONE in reply.headers.extra and reply.headers.type == Unavailable.code
