"""What a node asks of JetStream, the part of NATS that keeps messages: one message there, one answer back."""

from __future__ import annotations

import asyncio
import base64
import itertools
from typing import TypeVar, final

import msgspec

from hanse.kernel.faults import Fault, Unavailable
from hanse.transport.nats.connection import Connection, Subscription
from hanse.transport.nats.names import Names
from hanse.transport.nats.parse import status_of

ASK_SECONDS = 3.0
"""For which an answer is waited for; a cluster that chooses a new leader gives none."""

WAITING_MAX = 10_000
"""Answers that are waited for at once."""

NO_SUCH_STREAM = 10_059
NO_SUCH_MESSAGE = 10_037
OTHER_STREAM = 10_058
"""A stream of this name is there already, and set up in another way."""
WRITTEN_SINCE = (10_071, 10_164)
"""Something was written to a subject since it was looked at."""

T = TypeVar("T")


class Problem(msgspec.Struct, frozen=True):
    """What JetStream says that is wrong."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: Problem | None = None


class RefusedError(Exception):
    """JetStream has answered that it does not do what was asked.

    Args of the constructor:
        problem: What it says.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.description)
        self.code: int = problem.err_code


_answer = msgspec.json.Decoder(_Answer)


class Found(msgspec.Struct, frozen=True):
    """A message that a stream has."""

    seq: int
    data: str = ""

    @property
    def payload(self) -> bytes:
        """What it says."""
        return base64.b64decode(self.data)


class There(msgspec.Struct, frozen=True):
    """The answer to who asks for one message."""

    message: Found


@final
class JetStream:
    """Asks through a connection, with answers at an inbox of its own."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection = connection
        self._inbox = names.here + b"j."
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._tokens = map(b"%d".__mod__, itertools.count(1))
        self._subscription: Subscription | None = None
        self.open: bool = False
        """Whether it may be asked."""

    def begin(self) -> None:
        """Listen to answers."""
        self.open = True
        if self._subscription is None:
            self._subscription = self._connection.subscribe(self._inbox + b"*", self._told)

    def end(self, why: str) -> None:
        """Whoever waits for an answer waits no more, and nothing is asked until it begins again."""
        self.open = False
        self.lost(why)

    def lost(self, why: str) -> None:
        """Whoever waits for an answer gets none any more."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable(why))

    async def ask(self, subject: bytes, what: object, kind: type[T]) -> T:
        """Ask the API, in JSON.

        Args:
            subject: What is asked for.
            what: Its arguments; None where there are none.
            kind: What the answer is.

        Raises:
            Unavailable: There is no answer.
            RefusedError: It is not done.
        """
        answer = await self.tell(subject, b"" if what is None else msgspec.json.encode(what))
        return answered(answer, kind)

    async def tell(self, subject: bytes, payload: bytes, headers: bytes = b"") -> bytes:
        """Say something on a subject that JetStream listens to; what it answers.

        Raises:
            Unavailable: There is no answer: what was said may have been heard.
        """
        token, answer = self.awaited()
        try:
            if not self.say(subject, payload, headers, token):
                raise Unavailable("NATS does not take what it is sent as fast as that")
            return await within(answer)
        finally:
            self.forget(token)

    def awaited(self) -> tuple[bytes, asyncio.Future[bytes]]:
        """Wait for one more answer: what it comes under, and where it will be. Forget it in the end.

        Raises:
            Unavailable: Nothing can be asked now.
        """
        if not self.open or not self._connection.is_up:
            raise Unavailable(self._connection.trouble or "the transport is closed")
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable(f"{WAITING_MAX} answers of JetStream are waited for already")
        token = next(self._tokens)
        answer = self._waiting[token] = asyncio.get_running_loop().create_future()
        return token, answer

    def forget(self, token: bytes) -> None:
        """Wait for an answer no more."""
        answer = self._waiting.pop(token, None)
        if answer is not None and answer.done() and not answer.cancelled():
            _ = answer.exception()  # nobody has to look at it

    def say(self, subject: bytes, payload: bytes, headers: bytes = b"", token: bytes = b"") -> bool:
        """Say something, to be answered under a token; False where there is no room for it."""
        reply = self._inbox + token if token else b""
        if headers:
            return self._connection.publish_with_headers(subject, headers, payload, reply)
        return self._connection.publish(subject, reply, payload)

    def _told(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        del reply
        answer = self._waiting.get(subject[len(self._inbox) :])
        if answer is None or answer.done():
            return
        status = status_of(headers)
        if status:
            answer.set_exception(Unavailable(nobody(status)))
        else:
            answer.set_result(payload)


async def within(answer: asyncio.Future[bytes]) -> bytes:
    """An answer, if it comes in time. Raises `Unavailable`."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await answer
    except TimeoutError:
        raise Unavailable(f"JetStream did not answer in {ASK_SECONDS:g} s") from None


def answered(answer: bytes, kind: type[T]) -> T:
    """What an answer says. Raises `RefusedError`, and `Unavailable` where it is none."""
    try:
        if (problem := _answer.decode(answer).error) is not None:
            raise RefusedError(problem)
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise Unavailable(f"expected an answer of JetStream's: {error}") from None


def nobody(status: str) -> str:
    """Why there is no answer, where the server says so itself."""
    if status == "503":
        return "nobody answers for JetStream on this NATS: is it switched on (nats-server -js), and has it a leader?"
    return f"NATS answered {status}"


def headers_of(fields: dict[str, str]) -> bytes:
    r"""Headers as they go over a connection; their values are one line each.

    Example:
        >>> headers_of({"Nats-Msg-Id": "m1"})
        b'NATS/1.0\r\nNats-Msg-Id: m1\r\n\r\n'
    """
    return "".join(("NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n")).encode()


def header_in(headers: bytes, name: bytes) -> bytes:
    r"""A header's value; empty where it is not there.

    Example:
        >>> header_in(b"NATS/1.0\r\nNats-Msg-Id: m1\r\n\r\n", b"Nats-Msg-Id")
        b'm1'
    """
    start = headers.find(b"\r\n%b:" % name)
    if start < 0:
        return b""
    start += len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip()


def told(error: Fault | RefusedError) -> str:
    """What is wrong, for those who read about it."""
    return error.detail if isinstance(error, Fault) else f"JetStream refuses: {error}"
