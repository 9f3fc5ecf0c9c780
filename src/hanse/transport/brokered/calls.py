"""What a node asks of others over a broker: a request and its answer, a stream and its items, and what else comes.

A request needs no coroutine, which would cost as much as the message: its answer wakes whoever waits. What nobody has
begun is asked again at once, as somebody may just be arriving or leaving: so a rolling restart fails no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol, final

from hanse.kernel.closing import closing
from hanse.kernel.faults import Fault, Malformed, Overloaded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import FAULT, ITEM as ITEM_KIND, NO_HEADERS, Headers, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import RELEASE, UNDONE, Answer, service_of, whole
from hanse.transport.brokered.asked import ASKED_MAX, Awaited, Reading
from hanse.transport.brokered.frames import (
    BEGUN,
    INDEX_BYTES,
    ITEM,
    MESSAGE,
    REFUSED,
    REPLIES,
    REPLY,
    TOGETHER_TOKEN,
    Cancel,
    More,
    NotTakenError,
    Reply,
    encode,
    fault_of,
    head_of,
    index_of,
    later,
    message_in,
    replies_in,
    rest_of,
)
from hanse.transport.brokered.post import Post, room
from hanse.transport.brokered.pulse import CONTROL_TOKEN, Pulse
from hanse.transport.brokered.served import TAKEN_TOLD
from hanse.transport.direct import NotSent
from hanse.transport.headers import LastHeaders

_log = logging.getLogger("hanse.transport.brokered")

PAUSES_SECONDS = (0.02, 0.1, None)
"""Before it is asked again where nobody was there, as somebody may just be arriving; None after the last time."""

AT_ONCE = (None,)
"""The same for what is asked of one release: whoever asks has others to go to."""

AWAY_SECONDS = 2.0
"""For which a request waits for a broker to be there again, or to take what waits already."""

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


Send = Callable[[str, bytes, bytes, bytes], bool]
"""Sends a request: what is called, the token under which the answer is to come, and the request in two parts. False if
there is no room for it while the broker does not take it. Raises `UnknownOperation` for what nobody can be called."""


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
        self._encode = LastHeaders().encode
        # How what was asked last began, and what that is made of.
        self._head = b""
        self._kind: Kind | None = None
        self._address = ""
        self._headers: Headers = NO_HEADERS
        self._met: set[str] = set()
        self._tasks = Tasks(_broken, limit=ASKED_MAX)
        self._forgetting = False
        self.open: bool = False

    async def end(self) -> None:
        """Ask nothing again."""
        await self._tasks.cancel()
        self._forgetting = False

    async def request(self, message: Message) -> Message:
        """See `Transport.request`."""
        try:
            return whole(await self.ask(message), message)
        except asyncio.CancelledError:
            self.given_up()
            raise

    def ask(self, message: Message) -> Awaitable[Answer]:
        """Ask, and wait for the answer; what is served here is handed over, whether there is a broker or not."""
        if not self.open or not self._carrier.is_up:
            return self._ask_later(message) if (here := self.here(message)) is None else here
        # As `_head_of` and `_send`, written out: this is on the way of every call. Who serves what was asked last is
        # known not to be here.
        if (
            message.headers is not self._headers
            or message.address is not self._address
            or message.kind is not self._kind
        ):
            if (here := self.here(message)) is not None:
                return here
            self._begin(message)
        head, rest, pulse = self._head, encode((message.id, message.timeout, message.body)), self._pulse
        if len(head) + len(rest) > self._carrier.body_bytes_max:
            self._check_size(message, len(head) + len(rest))
        token, reply = self._asked.ask(message)
        if not pulse.beats:
            pulse.asking()
        try:
            if not self._send_now(message.address, token, head, rest):
                return self._ask_patiently(message, token, reply, (head, rest))
        except UnknownOperation:
            self._asked.drop(token)
            raise
        return reply

    def listened(self) -> None:
        """Something is served here from now on."""
        self._kind = None

    def here(self, message: Message) -> Awaitable[Message] | None:
        """What handles a message, where that is here."""
        receiver = self._pulse.served.receivers.get(service_of(message.address)) if self.open else None
        return None if receiver is None else receiver.serve(message)

    async def _ask_later(self, message: Message) -> Answer:
        return await self.ask(await self._when_up(message))

    async def _ask_patiently(
        self, message: Message, token: bytes, reply: asyncio.Future[Answer], payload: tuple[bytes, bytes]
    ) -> Answer:
        try:
            await self._send_patiently(message, token, payload)
        except BaseException:
            self._asked.drop(token)
            raise
        return await reply

    def given_up(self) -> None:
        """See `AsksAtOnce.given_up`: whoever works on it is told, or, where that is not known yet, once it is."""
        if not self._forgetting and self._waiting:
            self._forgetting = True
            _ = asyncio.get_running_loop().call_soon(self._forget)

    def _forget(self) -> None:
        """One look for all of a turn, as many are given up together."""
        self._forgetting = False
        for peer, tokens in self._asked.given_up().items():
            if self.open:
                self._pulse.say(peer, Cancel(self._pulse.node, tokens))

    def _not_taken(self, token: bytes, fault: NotTakenError, answer: Message | None = None) -> None:
        """Nobody has done anything: ask again, or have whoever waits know.

        Args:
            token: Of what was asked.
            fault: What it came to in the end, where this was the last time.
            answer: The same, where somebody said so.
        """
        awaited = self._waiting.pop(token, None)
        if awaited is None or awaited.reply.done():
            return
        pauses = AT_ONCE if RELEASE in awaited.address else PAUSES_SECONDS
        pause = pauses[min(awaited.tries, len(pauses) - 1)]
        if pause is not None:
            try:
                task = self._tasks.start(self._ask_again(awaited, pause))
                task.add_done_callback(partial(_asked_again, awaited))
            except Overloaded as overloaded:
                awaited.fail(overloaded)
        elif answer is not None:
            awaited.reply.set_result(answer)
        else:
            awaited.fail(self._nobody(awaited.address, fault))

    async def _ask_again(self, awaited: Awaited, pause: float) -> None:
        token = b""
        try:
            await asyncio.sleep(pause)
            message = later(awaited.message, self._host.monotonic() - awaited.since)
            if not self.open or not self._carrier.is_up:
                message = await self._when_up(message)
            if awaited.reply.done():
                return  # nobody waits any more
            payload = self._head_of(message), rest_of(message)
            token, _ = self._asked.ask(message, awaited.reply, awaited.tries + 1)
            if not self._send(message.address, token, *payload):
                await self._send_patiently(message, token, payload)
        except Fault as fault:
            awaited.fail(fault)
            self._asked.drop(token)

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
        self._asked.fail_all(Unavailable(why))
        self._pulse.served.drop_streams()

    def refused(self, token: bytes, fault: Exception) -> None:
        """The broker did not take a request; `NotTakenError` where nobody is there to serve it."""
        if isinstance(fault, NotTakenError) and token in self._waiting:
            self._not_taken(token, fault)
        else:
            self._asked.fail(token, fault)

    def told(self, token: bytes, payload: bytes) -> None:
        """An answer, or what else others tell this node."""
        lead = payload[:1]
        try:
            if token == TOGETHER_TOKEN and lead == REPLIES:
                self._replied(replies_in(payload))
            elif lead == REPLY and token in self._waiting:
                self._replied([(token, payload[1:])])
            elif token == CONTROL_TOKEN:
                self._pulse.take(payload)
            elif token in self._waiting:
                self._answered(token, lead, payload)
            elif (reading := self._asked.readings.get(token)) is not None:
                _came(reading, lead, payload)
        except Malformed as fault:
            if (one := self._waiting.get(token) or self._asked.readings.get(token)) is not None:
                self._asked.fail(token, Unavailable(f"the answer of {one.address} cannot be read: {fault.detail}"))
            else:
                _log.warning("what another node told this one was left: %s", fault.detail)

    def _replied(self, replies: list[Reply]) -> None:
        """Answers that went well; nobody may wait for them any more."""
        pop, met = self._waiting.pop, ""
        for token, body in replies:
            awaited = pop(token, None)
            if awaited is not None:
                if not (reply := awaited.reply).done():
                    reply.set_result(body)
                if (address := awaited.message.address) is not met:
                    met = address
                    self._meet(met)

    def _answered(self, token: bytes, lead: bytes, payload: bytes) -> None:
        """Any other answer to a request."""
        if lead == MESSAGE:
            answer = message_in(payload)
            self._meet(self._waiting[token].address)
            if answer.kind is FAULT and _elsewhere(answer):
                self._not_taken(token, NotTakenError(), answer)
            elif not (reply := self._waiting.pop(token).reply).done():
                reply.set_result(answer)
        elif lead == REFUSED:
            self.refused(token, fault_of(payload, self._waiting[token].address))
        elif lead == BEGUN:
            self._waiting[token].peer = payload[1:]
        else:
            raise Malformed(f"expected a frame of Hanse's, got one that begins with {lead!r}")

    async def _read_once(self, message: Message) -> AsyncIterator[Message]:
        if not self.open or not self._carrier.is_up:
            message = await self._when_up(message)
        payload = self._head_of(message), rest_of(message)
        self._check_size(message, sum(map(len, payload)))
        token, reading = self._asked.read(message)
        ended, taken = False, 0
        try:
            if not self._send(message.address, token, *payload):
                await self._send_patiently(message, token, payload)
            while not ended:
                reply = await reading.take()
                ended, taken = reply.kind is not ITEM_KIND, taken + 1
                if taken % TAKEN_TOLD == 0 and not ended:
                    self._pulse.say(reading.peer, More(self._pulse.node, token, TAKEN_TOLD))
                yield reply
            self._meet(message.address)
        finally:
            del self._asked.readings[token]
            # Whoever works on it is told, or, where that is not known yet, when it tells.
            if not ended and reading.peer and self.open:
                self._pulse.say(reading.peer, Cancel(self._pulse.node, [token]))

    def _head_of(self, message: Message) -> bytes:
        """How a request begins: made once for all that follow one another to one address, under the same headers."""
        kind, address, headers = message.kind, message.address, message.headers
        if headers is not self._headers or address is not self._address or kind is not self._kind:
            self._begin(message)
        return self._head

    def _begin(self, message: Message) -> None:
        """Make how a request begins, and those that follow."""
        self._head = head_of(message.kind, message.address, self._encode(message.headers))
        self._kind, self._address, self._headers = message.kind, message.address, message.headers

    def _check_size(self, message: Message, size: int) -> None:
        """Raise `TooLarge` for a message that is."""
        if size > self._carrier.body_bytes_max and (limit := self._carrier.over(message, size)):
            raise TooLarge(f"the message to {message.address}", limit)

    def _send(self, address: str, token: bytes, head: bytes, rest: bytes) -> bool:
        """Say it; False if there is no room."""
        if not self._pulse.beats:
            self._pulse.asking()
        return self._send_now(address, token, head, rest)

    async def _send_patiently(self, message: Message, token: bytes, payload: tuple[bytes, bytes]) -> None:
        """Say it once there is room. Raises `Overloaded` and `Unavailable`."""
        try:
            async with asyncio.timeout(_patience(message)):
                while self._carrier.is_up:
                    await room(self._carrier, message.body)
                    if self._send(message.address, token, *payload):
                        return
        except TimeoutError:
            raise Overloaded("the limit of bytes that wait for the broker to take them") from None
        raise Unavailable(self._carrier.trouble)

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


def _came(reading: Reading, lead: bytes, payload: bytes) -> None:
    """Something came of a stream. Raises `Malformed`."""
    if lead == ITEM:
        reading.put(index_of(payload), message_in(payload, 1 + INDEX_BYTES))
    elif lead == BEGUN:
        reading.peer = payload[1:]
    elif lead == REFUSED:
        reading.fail(fault_of(payload, reading.address))
    else:
        raise Malformed(f"expected a frame of Hanse's, got one that begins with {lead!r}")


def _patience(message: Message) -> float:
    """Seconds for which a message waits until it can be sent."""
    return min(AWAY_SECONDS, message.timeout or AWAY_SECONDS)


def _elsewhere(reply: Message) -> bool:
    """Whether a node that stops refuses what others may still take."""
    return UNDONE in reply.headers.extra and reply.headers.type == Unavailable.code


def _asked_again(awaited: Awaited, task: asyncio.Task[None]) -> None:
    """Also where the task was cancelled before it began, whoever waits comes to know."""
    if task.cancelled():
        awaited.fail(Unavailable("the transport is closed"))


def _broken(error: BaseException) -> None:
    _log.error("a request could not be asked again", exc_info=error)
