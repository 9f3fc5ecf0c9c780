"""Events that NATS keeps: see `hanse.transport.base.Keeps`.

What is published at once is one atomic batch, where the server knows that (2.12): so all of it is kept or nothing, in
its order, for one acknowledgement. A batch with something in it that is kept already is refused; that, and whatever
goes to an older server, goes one by one, each when the one before is acknowledged, as nothing else keeps the order
while leaders change. Nothing that is said goes by without an answer, or is said again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
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

BATCH_MAX = 500
"""Events in one batch; servers take 1,000."""

BATCH_BYTES = 2 * 1024 * 1024
"""Of one batch, unless one event is larger."""

AGAIN_SECONDS = 0.1
AGAIN_SECONDS_MAX = 2.0
"""Before events are published again that nobody acknowledged, at first and at most."""

OUTLAY_BYTES = 1_024
"""Of an event's headers for NATS, besides its id."""

_TOO_LARGE = 10_054
_KEPT_ALREADY = 10_201
_NO_BATCHES = (10_174, 10_177, 10_205)


class _Packed(NamedTuple):
    """An event on its way."""

    subject: bytes
    id: str
    payload: bytes


class _Acknowledged(msgspec.Struct, frozen=True):
    seq: int


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
        problem = self._connection.over(message, payload)
        if problem is None and len(payload) + len(packed.id) + OUTLAY_BYTES > limit:
            problem = f"{limit} bytes with its headers"
        if problem is not None:
            raise TooLarge(f"the event {message.id} of {message.headers.type!r}", problem)
        return packed

    async def _insist(self, piece: Sequence[_Packed], until: float) -> None:
        pause, in_batches = AGAIN_SECONDS, True
        while True:
            try:
                await self._try(piece, in_batches=in_batches)
            except RefusedError as error:
                if error.code == _TOO_LARGE:
                    raise TooLarge("an event", "what the stream of events takes") from None
                if in_batches and error.code in (_KEPT_ALREADY, *_NO_BATCHES):
                    in_batches = False
                    continue
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

    async def _try(self, piece: Sequence[_Packed], *, in_batches: bool) -> None:
        stream = await self._streams.ready()
        if len(piece) > 1 and in_batches and stream.config.allow_atomic:
            await self._batch(piece)
            return
        for packed in piece:
            headers = headers_of({"Nats-Msg-Id": packed.id})
            _ = answered(await self._api.tell(packed.subject, packed.payload, headers), _Acknowledged)

    async def _batch(self, piece: Sequence[_Packed]) -> None:
        batch, last = self._host.new_id(), len(piece)
        await self._connection.writable()
        token, answer = self._api.awaited()
        try:
            for place, packed in enumerate(piece, 1):
                # The first is answered too: at once, where nobody listens.
                fields = {"Nats-Msg-Id": packed.id, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(place)}
                if place == last:
                    fields["Nats-Batch-Commit"] = "1"
                heard = token if place in (1, last) else b""
                if not self._api.say(packed.subject, packed.payload, headers_of(fields), heard):
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
    """As many at once as one batch may hold."""
    piece: list[_Packed] = []
    size = 0
    for packed in events:
        if piece and (len(piece) == BATCH_MAX or size + len(packed.payload) > BATCH_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(packed)
        size += len(packed.payload)
    if piece:
        yield piece
