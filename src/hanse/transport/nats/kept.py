"""Events that NATS keeps: see `hanse.transport.base.Keeps`.

What is published at once is a chain: each event on the condition that the one before is the last that was kept. So the
one answer to the last says that all are kept; and where something is lost on the way, nothing behind it is kept.
Where others publish between them a chain breaks. Then for a while it is one atomic batch, where the server knows that
(2.12), which costs a server more. A batch with something in it that is kept already is refused: that goes one by one,
each when the one before is acknowledged. Nothing that is said goes by without an answer, or is said again.

On a stream that servers copy nothing goes as a chain. There a server looks at the condition once more when the event is
copied already (2.15 at the least): where others came between, all copies stop, and the stream takes nothing more.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, final
from urllib.parse import quote

import msgspec

from hanse.kernel.faults import Fault, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.transport.brokered.frames import MESSAGE, encode
from hanse.transport.nats.backlog import NatsBacklog, Parts
from hanse.transport.nats.connection import Connection
from hanse.transport.nats.jetstream import JetStream, RefusedError, answered, headers_of, told, within
from hanse.transport.nats.login import Options
from hanse.transport.nats.names import Names
from hanse.transport.nats.streams import Streams

_log = logging.getLogger("hanse.transport.nats")

PIECE_MAX = 500
"""Events in one piece; servers take 1,000 in a batch."""

PIECE_BYTES = 2 * 1024 * 1024
"""Of one piece, unless one event is larger."""

AGAIN_SECONDS = 0.1
AGAIN_SECONDS_MAX = 2.0
"""Before events are published again that nobody acknowledged, at first and at most."""

CROWDED_SECONDS = 10.0
"""For which nothing goes as a chain after one broke, as others publish too."""

OUTLAY_BYTES = 1_024
"""Of an event's headers for NATS, besides its id."""

_TOO_LARGE = 10_054
_OTHERS_BETWEEN = 10_070
_OTHER_WAY = (_OTHERS_BETWEEN, 10_201, 10_174, 10_177, 10_205)
"""Others have published between two; some of a batch is kept already; there are no batches here."""


class _Packed(NamedTuple):
    """An event on its way."""

    subject: bytes
    id: str
    payload: bytes


class _Acknowledged(msgspec.Struct, frozen=True):
    seq: int


_Way = Callable[[Sequence[_Packed]], Awaitable[None]]


@final
class Keeper:
    """Publishes and subscribes, for one node.

    Attributes:
        trouble: Why events that are being published are not acknowledged; empty where they are.
    """

    def __init__(self, connection: Connection, names: Names, options: Options, host: Host) -> None:
        self._connection = connection
        self._host = host
        self._here = names.here
        self._seconds = options.publish_seconds
        self._api = JetStream(connection, names)
        self._streams = Streams(connection, self._api, names, options)
        self._backlogs: list[NatsBacklog] = []
        self._count = 0
        self._crowded_until = 0.0
        self.trouble: str = ""

    def begin(self) -> None:
        """Take part."""
        self._api.begin()
        self.trouble = ""

    async def end(self) -> None:
        """Give back every turn, and publish nothing more."""
        _ = await asyncio.gather(*(backlog.close() for backlog in self._backlogs))
        self._backlogs.clear()
        self._api.end("the transport is closed")

    def lost(self, why: str) -> None:
        """The connection broke."""
        self._api.lost(why)
        self._streams.forget()
        for backlog in self._backlogs:
            backlog.lose(why)

    async def subscribe(self, group: str, topics: Sequence[str]) -> NatsBacklog:
        """See `Keeps.subscribe`."""
        _ = await self._streams.ready()
        self._count += 1
        backlog = NatsBacklog(
            Parts(self._connection, self._api, self._streams, self._host),
            group,
            topics,
            self._here + b"e%d" % self._count,
        )
        self._backlogs = [one for one in self._backlogs if not one.is_closed]
        self._backlogs.append(backlog)
        backlog.start()
        return backlog

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Keeps.publish`."""
        until = self._host.monotonic() + self._seconds
        for piece in _pieces([self._packed(message) for message in messages]):
            await self._insist(piece, until)

    def _packed(self, message: Message) -> _Packed:
        payload = MESSAGE + encode(message)
        packed = _Packed(self._streams.event(message.headers.type), quote(message.id, safe="/:"), payload)
        limit = self._connection.info.max_payload
        problem = self._connection.over(message, len(payload))
        if problem is None and len(payload) + len(packed.id) + OUTLAY_BYTES > limit:
            problem = f"{limit} bytes with its headers"
        if problem is not None:
            raise TooLarge(f"the event {message.id} of {message.headers.type!r}", problem)
        return packed

    async def _insist(self, piece: Sequence[_Packed], until: float) -> None:
        pause = AGAIN_SECONDS
        while True:
            try:
                await self._try(piece)
            except RefusedError as error:
                if error.code == _TOO_LARGE:
                    raise TooLarge("an event", "what the stream of events takes") from None
                self._note(told(error))
            except Fault as fault:
                self._streams.forget()
                self._note(fault.detail)
            else:
                self._well()
                return
            if not self._api.open or self._host.monotonic() + pause > until:
                raise Unavailable(f"events are not acknowledged: {self.trouble}")
            await asyncio.sleep(pause)
            pause = min(AGAIN_SECONDS_MAX, 2 * pause)

    async def _try(self, piece: Sequence[_Packed]) -> None:
        """Have a piece kept in the first way in which it can be."""
        for way in await self._ways(piece):
            try:
                await way(piece)
            except RefusedError as error:
                if error.code not in _OTHER_WAY or way == self._one_by_one:
                    raise
                if error.code == _OTHERS_BETWEEN:
                    self._crowded_until = self._host.monotonic() + CROWDED_SECONDS
            else:
                return

    async def _ways(self, piece: Sequence[_Packed]) -> list[_Way]:
        stream = await self._streams.ready()
        ways: list[_Way] = [self._one_by_one]
        if len(piece) > 1 and stream.config.allow_atomic:
            ways.insert(0, self._batch)
        alone = stream.config.num_replicas == 1 and self._host.monotonic() >= self._crowded_until
        if len(piece) > 1 and alone:
            ways.insert(0, self._chain)
        return ways

    async def _one_by_one(self, piece: Sequence[_Packed]) -> None:
        for packed in piece:
            headers = headers_of({"Nats-Msg-Id": packed.id})
            _ = answered(await self._api.tell(packed.subject, packed.payload, headers), _Acknowledged)

    async def _chain(self, piece: Sequence[_Packed]) -> None:
        heads: list[bytes] = [headers_of({"Nats-Msg-Id": piece[0].id})]
        heads += [
            f"NATS/1.0\r\nNats-Msg-Id: {packed.id}\r\nNats-Expected-Last-Msg-Id: {before.id}\r\n\r\n".encode()
            for before, packed in itertools.pairwise(piece)
        ]
        await self._answered_last(piece, heads)

    async def _batch(self, piece: Sequence[_Packed]) -> None:
        batch = self._host.new_id()
        ours = f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: "
        heads = [
            f"NATS/1.0\r\nNats-Msg-Id: {packed.id}\r\n{ours}{place}\r\n".encode()
            for place, packed in enumerate(piece, 1)
        ]
        heads[-1] += b"Nats-Batch-Commit: 1\r\n"
        await self._answered_last(piece, [head + b"\r\n" for head in heads])

    async def _answered_last(self, piece: Sequence[_Packed], heads: Sequence[bytes]) -> None:
        """Say all at once, and wait for the answer to the last."""
        await self._connection.writable()
        token, answer = self._api.awaited()
        try:
            for packed, head in zip(piece, heads, strict=True):
                if not self._api.say(packed.subject, packed.payload, head, token if packed is piece[-1] else b""):
                    raise Unavailable("NATS does not take what it is sent as fast as that")
            _ = answered(await within(answer), _Acknowledged)
        finally:
            self._api.forget(token)

    def _note(self, why: str) -> None:
        # Told once, not for each try: an outage would drown the log.
        if not self.trouble:
            _log.warning("NATS does not acknowledge events: %s; they are published again", why)
        self.trouble = why

    def _well(self) -> None:
        if self.trouble:
            self.trouble = ""
            _log.info("NATS acknowledges events again")


def _pieces(events: Sequence[_Packed]) -> Iterator[list[_Packed]]:
    """As many at once as one piece may hold."""
    piece: list[_Packed] = []
    size = 0
    for packed in events:
        if piece and (len(piece) == PIECE_MAX or size + len(packed.payload) > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(packed)
        size += len(packed.payload)
    if piece:
        yield piece
