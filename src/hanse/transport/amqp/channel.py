"""One of the channels of a connection: what is said on it is done in order, and a mistake ends it alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar, final

from pamqp import base, commands

from hanse.kernel.faults import Malformed
from hanse.transport.amqp.frames import ACK, DELIVER, NACK, RETURN, ack, command_in, content, method, publish

Take = Callable[[int, bool, bytes, bytes], None]
"""Given a message: its number on the channel, whether it was handed out before, its properties and body. Never
raises."""

KEYS_MAX = 10_000
"""Queues for which the method is kept that is said before each message to them."""

HEADER_BYTES_MIN = 14
"""Of a message's header."""

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Of a message that is taken in: what says that it is larger is none of ours."""

Reply = TypeVar("Reply", bound=base.Frame)


class ChannelError(Exception):
    """The server has ended a channel.

    Attributes:
        code: As AMQP has it, such as 404.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code: int = code


def nothing(*_: object) -> None:
    """Is told something that does not matter here."""


@final
class Channel:
    """What is said, and what comes, on one channel.

    Attributes:
        number: On its connection.
        takes: Given what is delivered, by the tag of the consumer.
        returned: Given the properties and the body of what could not be put into a queue.
        confirmed: Given the number of a message, whether those before it are meant too, and whether it was taken.
        cancelled: Given the tag of a consumer whose queue is not there any more.
        ended: Told when there is no more to come, and why.
    """

    def __init__(self, number: int, say: Callable[[bytes], None], forget: Callable[[int], object]) -> None:
        """Be open.

        Args:
            number: On its connection.
            say: Says frames there.
            forget: Told the number when the channel has ended.
        """
        self.number: int = number
        self._forget = forget
        self.takes: dict[bytes, Take] = {}
        self.returned: Callable[[bytes, bytes], None] = nothing
        self.confirmed: Callable[[int, bool, bool], None] = nothing
        self.cancelled: Callable[[str], None] = nothing
        self.ended: Callable[[Exception], None] = nothing
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._asked: deque[asyncio.Future[base.Frame]] = deque()
        self._heads: dict[tuple[bytes, bool], bytes] = {}
        self._error: Exception | None = None
        self._owed = 0
        # The message that comes: who is given it, its size, what is known of it.
        self._then: Callable[[bytes, bytes], None] | None = None
        self._size = 0
        self._properties = b""
        self._pieces: list[bytes] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing can be said on it any more."""
        return self._error is not None

    # What is said.

    def publish(self, key: bytes, properties: bytes, lead: bytes, payload: bytes, *, mandatory: bool) -> None:
        """Put a message into a queue."""
        start = self._heads.get((key, mandatory))
        if start is None:
            if len(self._heads) >= KEYS_MAX:
                self._heads.clear()
            start = self._heads[key, mandatory] = publish(self.number, key, mandatory=mandatory)
        self._say(start + content(self.number, properties, lead, payload))

    def tell_all(self, exchange: str, properties: bytes, body: bytes) -> None:
        """Put a message into all queues of an exchange."""
        said = method(self.number, commands.Basic.Publish(exchange=exchange))
        self._say(said + content(self.number, properties, b"", body))

    def taken(self, number: int) -> None:
        """Acknowledge a delivery and all before it, with all others of this turn of the loop."""
        if not self._owed:
            _ = self._loop.call_soon(self._acknowledge)
        self._owed = number

    async def ask(self, command: base.Frame, expected: type[Reply]) -> Reply:
        """The answer to a method.

        Raises:
            ChannelError: The server does not do it, and has ended the channel.
            ConnectionError: The connection ended, or nothing answers as it should.
        """
        self.tell(command)
        return await self.expect(expected)

    async def expect(self, expected: type[Reply]) -> Reply:
        """What the server says next. Raises as `ask` does."""
        if self._error is not None:
            raise self._error
        future: asyncio.Future[base.Frame] = self._loop.create_future()
        self._asked.append(future)
        reply = await future
        if not isinstance(reply, expected):
            raise ConnectionError(f"expected {expected.__name__} of the server, got {type(reply).__name__}")
        return reply

    def tell(self, command: base.Frame) -> None:
        """Say a method that nothing answers."""
        if self._error is None:
            self._say(method(self.number, command))

    def end(self, error: Exception) -> None:
        """Nothing more comes."""
        if self._error is None:
            self._error = error
            _ = self._forget(self.number)
            while self._asked:
                if not (future := self._asked.popleft()).done():
                    future.set_exception(error)
            self.ended(error)

    def _acknowledge(self) -> None:
        if self._error is None:
            self._say(ack(self.number, self._owed))
        self._owed = 0

    # What comes. All of it raises `Malformed`.

    def method(self, payload: bytes) -> None:
        """A method came."""
        which = payload[:4]
        if which == DELIVER:
            end = 5 + payload[4]
            take = self.takes.get(payload[5:end], nothing)
            number, again = int.from_bytes(payload[end : end + 8], "big"), payload[end + 8] & 1 == 1
            self._then = lambda properties, body: take(number, again, properties, body)
        elif which in (ACK, NACK):
            self.confirmed(int.from_bytes(payload[4:12], "big"), payload[12] & 1 == 1, which == ACK)
        elif which == RETURN:
            self._then = self.returned
        else:
            self._said(command_in(payload))

    def header(self, payload: bytes) -> None:
        """The header of a message came."""
        if self._then is None or self._pieces or len(payload) < HEADER_BYTES_MIN:
            raise Malformed("expected a message's header behind what it is, and nowhere else")
        self._size, self._properties = int.from_bytes(payload[4:12], "big"), payload[12:]
        if self._size > BODY_BYTES_MAX:
            raise Malformed(f"expected a message of at most {BODY_BYTES_MAX} bytes, got one of {self._size}")
        if not self._size:
            self._whole(b"")

    def body(self, payload: bytes) -> None:
        """A piece of a message's body came."""
        if len(payload) == self._size and not self._pieces:
            self._whole(payload)
            return
        self._pieces.append(payload)
        size = sum(map(len, self._pieces))
        if size > self._size:
            raise Malformed(f"expected a body of {self._size} bytes, got more")
        if size == self._size:
            body = b"".join(self._pieces)
            self._pieces.clear()
            self._whole(body)

    def _whole(self, body: bytes) -> None:
        then, self._then, self._size = self._then, None, -1
        if then is None:
            raise Malformed("expected a body behind a header, and nowhere else")
        then(self._properties, body)

    def _said(self, command: base.Frame) -> None:
        if isinstance(command, commands.Channel.Close):
            self.tell(commands.Channel.CloseOk())
            self.end(ChannelError(command.reply_code or 0, command.reply_text))
        elif isinstance(command, commands.Basic.Cancel):
            _ = self.takes.pop((command.consumer_tag or "").encode(), None)
            self.cancelled(command.consumer_tag or "")
        elif not self._asked:
            raise Malformed(f"expected nothing to be answered, got {command.name}")
        elif not (future := self._asked.popleft()).done():
            future.set_result(command)
