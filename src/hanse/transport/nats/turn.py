"""Whose turn it is to be handed a group's events, and how far the group has come: one word, kept by NATS.

Whoever has the turn writes the word anew every second, and each time on the condition that nobody else has. Who waits
listens, and takes the turn when it is given back, or when nothing was heard for as long as a lease. One who was taken
for dead, and wakes, finds another's word in place of its own, and has changed nothing.
"""

from __future__ import annotations

import asyncio
from typing import final

import msgspec

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.transport.nats.connection import Connection
from hanse.transport.nats.jetstream import (
    NO_SUCH_MESSAGE,
    WRITTEN_SINCE,
    JetStream,
    RefusedError,
    There,
    answered,
    headers_of,
    told,
)

RENEW_SECONDS = 1.0
"""Between two words of one who has the turn."""

LEASE_SECONDS = 4.0
"""After the last word of one who has the turn, until another may take it."""

AGAIN_SECONDS = 0.25
"""Before a word is said again that was not heard."""


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a group has come.

    Attributes:
        stream: When the stream was made whose numbers these are.
        holder: Whose turn it is; empty for nobody's.
        beat: Grows with each word.
        reached: The number of the last event that was handed out.
        last: Its id: after a power cut of the server, another event may stand at that number.
        undone: Numbers up to there that are not acknowledged, in order.
    """

    stream: str = ""
    holder: str = ""
    beat: int = 0
    reached: int = 0
    last: str = ""
    undone: list[int] = []


class _Written(msgspec.Struct, frozen=True):
    seq: int


_word = msgspec.json.Decoder(Word)
_encode = msgspec.json.Encoder().encode


@final
class Turn:
    """The turn of one who subscribes.

    Attributes:
        word: What it knows of the group.
        is_sought: Whether it has tried to take the turn, and so may have it.
    """

    def __init__(self, connection: Connection, api: JetStream, place: tuple[str, bytes], me: str, host: Host) -> None:
        """Have none yet.

        Args:
            connection: Where the words of others are heard.
            api: Where they are asked for.
            place: The stream that keeps the last word, and the subject that it is on.
            me: Another name for each who seeks the turn.
            host: Its clock.
        """
        self._connection = connection
        self._api = api
        self._stream, self._subject = place
        self._me = me
        self._host = host
        self._sequence = 0
        self._said_at = 0.0
        self._heard: tuple[bytes, float] = (b"", 0.0)
        self._free = asyncio.Event()
        self.word: Word = Word()
        self.is_sought: bool = False

    async def wait(self) -> Word:
        """Return when it is there: how far the group has come.

        Raises:
            Unavailable: The broker does not answer.
        """
        listening = self._connection.subscribe(self._subject, self._hear)
        try:
            while not await self._try():
                await self._quiet()
        finally:
            self._connection.unsubscribe(listening)
        return self.word

    async def say(self, word: Word) -> None:
        """Have kept how far the group has come; the turn goes on, or is given back where the word has no holder.

        Raises:
            Unavailable: It is another's, or nobody has heard it for too long.
        """
        # A word that was not answered may have been heard: then it is what stands there, under one's own name.
        word = msgspec.structs.replace(word, beat=self.word.beat + 1)
        while True:
            began = self._host.monotonic()
            try:
                self._sequence = await self._write(word)
            except RefusedError as error:
                self._sequence, there = await self._read()
                if error.code not in WRITTEN_SINCE:
                    raise Unavailable(told(error)) from None
                if there.holder != self._me:
                    raise Unavailable("another has taken over, as nothing was heard of this one for too long") from None
            except Unavailable:
                if self._host.monotonic() - self._said_at > LEASE_SECONDS - AGAIN_SECONDS:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self.word, self._said_at = word, began
                return

    async def look(self) -> Word:
        """How far the group has come, as whoever has the turn said last. Raises `Unavailable`."""
        return (await self._read())[1]

    def mine(self, word: Word) -> Word:
        """A word as one's own."""
        return msgspec.structs.replace(word, holder=self._me)

    async def _try(self) -> bool:
        self._free.clear()
        self._sequence, word = await self._read()
        if word.holder and word.holder != self._me and not self._is_silent(word):
            return False
        self.is_sought, self.word = True, word
        mine = msgspec.structs.replace(self.mine(word), beat=word.beat + 1)
        began = self._host.monotonic()
        try:
            self._sequence = await self._write(mine)
        except RefusedError as error:
            if error.code not in WRITTEN_SINCE:
                raise Unavailable(told(error)) from None
            return False
        self.word, self._said_at = mine, began
        return True

    def _is_silent(self, word: Word) -> bool:
        """Whether this is what was heard last, and that is long ago."""
        payload, now = _encode(word), self._host.monotonic()
        heard, at = self._heard
        if payload != heard:
            self._heard = payload, now
            return False
        return now - at >= LEASE_SECONDS

    async def _quiet(self) -> None:
        """Wait until the turn is given back, or nothing has been heard for long enough."""
        while (left := self._heard[1] + LEASE_SECONDS - self._host.monotonic()) > 0.0:
            try:
                async with asyncio.timeout(left):
                    _ = await self._free.wait()
            except TimeoutError:
                pass  # something may have been heard since
            else:
                return

    def _hear(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        del subject, reply, headers
        self._heard = payload, self._host.monotonic()
        if not _decoded(payload).holder:
            self._free.set()

    async def _read(self) -> tuple[int, Word]:
        """The last word, and its number; 0 where there is none."""
        subject = f"$JS.API.STREAM.MSG.GET.{self._stream}".encode()
        try:
            found = (await self._api.ask(subject, {"last_by_subj": self._subject.decode()}, There)).message
        except RefusedError as error:
            if error.code == NO_SUCH_MESSAGE:
                return 0, Word()
            raise Unavailable(told(error)) from None
        return found.seq, _decoded(found.payload)

    async def _write(self, word: Word) -> int:
        headers = headers_of({"Nats-Expected-Last-Subject-Sequence": str(self._sequence)})
        return answered(await self._api.tell(self._subject, _encode(word), headers), _Written).seq


def _decoded(payload: bytes) -> Word:
    try:
        return _word.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Somebody else's: as good as none, so the group begins with the oldest event, and its marks know the rest.
        return Word()
