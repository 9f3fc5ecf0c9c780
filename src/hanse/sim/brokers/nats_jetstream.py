"""JetStream, as far as our adapter asks for it: streams that keep, and readers that pull from them in order.

Readers are consumers without acknowledgements in memory, which go with the process. What is published in a batch is
kept as a whole or not at all, when its last message comes; a batch that is not finished goes with the process, too.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, final

import msgspec

from hanse.sim.brokers.nats_parse import Publish
from hanse.sim.brokers.nats_streams import Config, Entry, Item, Problem, Storage, Stream
from hanse.sim.brokers.nats_subjects import matches

API: Final = b"$JS.API."
BATCH_MAX: Final = 1_000
"""Messages of one batch."""

BATCHES_MAX: Final = 50
"""Batches that are under way at once on one stream."""

BATCH_SECONDS: Final = 10.0
"""For which a batch may stand still before it is given up."""

_NANO: Final = 1_000_000_000

Say = Callable[[bytes, Publish], object]
"""Gives a message to whoever listens to a subject, which need not be its own."""


class _Reading(msgspec.Struct, frozen=True):
    """How a consumer is set up."""

    opt_start_seq: int = 1
    filter_subject: str = ""
    filter_subjects: Sequence[str] = ()


class _Created(msgspec.Struct, frozen=True):
    config: _Reading


class _Pull(msgspec.Struct, frozen=True):
    batch: int = 1
    expires: int = 0
    idle_heartbeat: int = 0
    max_bytes: int = 0


class _Get(msgspec.Struct, frozen=True):
    last_by_subj: str = ""
    seq: int = 0


class _Request(msgspec.Struct, eq=False):
    """Somebody waits for messages."""

    reply: bytes
    left: int
    bytes_left: int
    expiring: asyncio.TimerHandle | None = None
    beating: asyncio.TimerHandle | None = None


class _Batch(msgspec.Struct, eq=False):
    entries: list[Entry]
    at: float


@final
class _Consumer:
    """A reader of a stream."""

    def __init__(self, name: str, stream: Stream, reading: _Reading, say: Say) -> None:
        self.name = name
        self.stream = stream
        self._filters = [subject.encode() for subject in (reading.filter_subject, *reading.filter_subjects) if subject]
        self._next = max(1, reading.opt_start_seq)
        self._given = 0
        self._say = say
        self._requests: deque[_Request] = deque()

    def pull(self, reply: bytes, pull: _Pull) -> None:
        """Somebody wants messages."""
        request = _Request(reply, pull.batch, pull.max_bytes or -1)
        loop = asyncio.get_running_loop()
        if pull.expires:
            request.expiring = loop.call_later(pull.expires / _NANO, self._end, request, b"408 Request Timeout")
        if pull.idle_heartbeat:
            self._beat(request, pull.idle_heartbeat / _NANO)
        self._requests.append(request)
        self.deliver()

    def deliver(self) -> None:
        """Hand over what there is to those who wait."""
        while self._requests and (item := self._coming()) is not None:
            request = self._requests[0]
            size = len(item.subject) + len(request.reply) + len(item.headers) + len(item.payload)
            if 0 <= request.bytes_left < size:
                self._end(request, b"409 Message Size Exceeds MaxBytes")
                continue
            if request.bytes_left > 0:
                request.bytes_left -= size
            self._next = item.number + 1
            self._given += 1
            request.left -= 1
            self._hand_over(item, request)
            if not request.left:
                self._end(request, b"409 Batch Completed")

    @property
    def left(self) -> int:
        """How many messages it has not handed over."""
        return sum(1 for item in self.stream.since(self._next) if self._wants(item))

    def close(self) -> None:
        """Read no more."""
        while self._requests:
            self._end(self._requests[0], b"409 Consumer Deleted")

    def _coming(self) -> Item | None:
        for item in self.stream.since(self._next):
            if self._wants(item):
                return item
            self._next = item.number + 1
        return None

    def _wants(self, item: Item) -> bool:
        return not self._filters or any(matches(pattern, item.subject) for pattern in self._filters)

    def _hand_over(self, item: Item, request: _Request) -> None:
        place = f"$JS.ACK.{self.stream.config.name}.{self.name}.1.{item.number}.{self._given}.{int(item.at * _NANO)}.0"
        self._say(request.reply, Publish(item.subject, place.encode(), item.headers, item.payload))

    def _end(self, request: _Request, why: bytes) -> None:
        if request not in self._requests:
            return
        self._requests.remove(request)
        for timer in (request.expiring, request.beating):
            if timer is not None:
                timer.cancel()
        left = b"Nats-Pending-Messages: %d\r\nNats-Pending-Bytes: %d\r\n" % (request.left, max(0, request.bytes_left))
        self._say(request.reply, Publish(request.reply, b"", b"NATS/1.0 %b\r\n%b\r\n" % (why, left), b""))

    def _beat(self, request: _Request, seconds: float) -> None:
        def beat() -> None:
            self._say(request.reply, Publish(request.reply, b"", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n", b""))
            self._beat(request, seconds)

        request.beating = asyncio.get_running_loop().call_later(seconds, beat)


@final
class JetStream:
    """JetStream in one life of a server."""

    def __init__(self, storage: Storage, say: Say, clock: Callable[[], float]) -> None:
        """Have no readers yet.

        Args:
            storage: The streams on the disk.
            say: Gives a message to whoever listens to a subject.
            clock: The server's wall clock.
        """
        self._storage = storage
        self._say = say
        self._clock = clock
        self._consumers: dict[tuple[str, str], _Consumer] = {}
        self._batches: dict[tuple[str, bytes], _Batch] = {}
        self._count = 0
        self._verbs: dict[bytes, Callable[[str, bytes], object]] = {
            b"STREAM.INFO": lambda name, _: self._info(self._storage.stream(name)),
            b"STREAM.CREATE": self._create,
            b"STREAM.MSG.GET": self._get,
            b"CONSUMER.CREATE": self._consume,
            b"CONSUMER.DELETE": self._delete,
        }

    def take(self, message: Publish) -> bool:
        """Do what a message asks of JetStream; whether it listens to its subject at all."""
        if message.subject.startswith(API):
            return self._asked(message)
        stream = self._storage.taking(message.subject)
        if stream is None:
            return False
        stream.age(self._clock())
        try:
            answer = self._published(stream, message)
        except Problem as problem:
            answer = {"error": problem.said, "stream": stream.config.name, "seq": 0}
        if answer is not None:
            self._answer(message.reply, answer)
        for (name, _), consumer in self._consumers.items():
            if name == stream.config.name:
                consumer.deliver()
        return True

    def _answer(self, reply: bytes, answer: object) -> None:
        if reply:
            self._say(reply, Publish(reply, b"", b"", msgspec.json.encode(answer) if answer != b"" else b""))

    # What is asked of the API.

    def _asked(self, message: Publish) -> bool:
        verb, _, rest = message.subject[len(API) :].partition(b".HANSE_")
        name = f"HANSE_{rest.decode(errors='replace')}"
        if verb == b"CONSUMER.MSG.NEXT":
            return self._next(name, message)
        call = self._verbs.get(verb)
        if call is None:
            return False
        try:
            answer = call(name, message.payload)
        except Problem as problem:
            answer = {"error": problem.said}
        except msgspec.DecodeError as error:
            answer = {"error": Problem(400, 10025, f"invalid JSON: {error}").said}
        self._answer(message.reply, answer)
        return True

    def _info(self, stream: Stream) -> dict[str, object]:
        stream.age(self._clock())
        created = datetime.fromtimestamp(stream.created, UTC).isoformat().replace("+00:00", "Z")
        return {
            "config": stream.config,
            "created": created,
            "state": {"first_seq": stream.first, "last_seq": stream.last},
        }

    def _create(self, name: str, payload: bytes) -> object:
        config = msgspec.json.decode(payload, type=Config)
        if config.name != name:
            raise Problem(400, 10056, "stream name in subject does not match request")
        return self._info(self._storage.create(config, self._clock()))

    def _get(self, name: str, payload: bytes) -> object:
        wanted = msgspec.json.decode(payload, type=_Get)
        stream = self._storage.stream(name)
        item = stream.at(wanted.seq) if wanted.seq else stream.latest(wanted.last_by_subj.encode())
        if item is None:
            raise Problem(404, 10037, "no message found")
        said = {"subject": item.subject.decode(), "seq": item.number, "data": base64.b64encode(item.payload).decode()}
        return {"message": said}

    def _consume(self, name: str, payload: bytes) -> object:
        stream = self._storage.stream(name)
        reading = msgspec.json.decode(payload, type=_Created).config
        self._count += 1
        consumer = _Consumer(f"c{self._count}", stream, reading, self._say)
        self._consumers[name, consumer.name] = consumer
        return {"stream_name": name, "name": consumer.name, "num_pending": consumer.left}

    def _delete(self, name: str, payload: bytes) -> object:
        del payload
        stream, _, consumer = name.rpartition(".")
        found = self._consumers.pop((stream, consumer), None)
        if found is None:
            raise Problem(404, 10014, "consumer not found")
        found.close()
        return {"success": True}

    def _next(self, name: str, message: Publish) -> bool:
        stream, _, consumer = name.rpartition(".")
        found = self._consumers.get((stream, consumer))
        if found is None:
            return False
        found.pull(message.reply, msgspec.json.decode(message.payload, type=_Pull))
        return True

    # What is published.

    def _published(self, stream: Stream, message: Publish) -> object:
        """The answer; None for none."""
        fields = _fields(message.headers)
        entry = Entry(
            message.subject,
            message.headers,
            message.payload,
            fields.get(b"nats-msg-id", b""),
            int(fields.get(b"nats-expected-last-subject-sequence", b"-1")),
        )
        if batch := fields.get(b"nats-batch-id", b""):
            return self._batched(stream, entry, batch, fields)
        name, now = stream.config.name, self._clock()
        if number := stream.known(entry.id, now):
            return {"stream": name, "seq": number, "duplicate": True}
        stream.check(entry)
        return {"stream": name, "seq": stream.add(entry, now)}

    def _batched(self, stream: Stream, entry: Entry, batch: bytes, fields: dict[bytes, bytes]) -> object:
        key, now, place = (stream.config.name, batch), self._clock(), int(fields.get(b"nats-batch-sequence", b"0"))
        if not stream.config.allow_atomic:
            raise Problem(400, 10174, "atomic publish is disabled")
        for other, waiting in list(self._batches.items()):
            if now - waiting.at >= BATCH_SECONDS:
                del self._batches[other]
        if place == 1:
            if len(self._batches) >= BATCHES_MAX:
                raise Problem(400, 10176, "atomic publish batch is incomplete")
            self._batches[key] = _Batch([], now)
        found = self._batches.get(key)
        if found is None or place != len(found.entries) + 1:
            _ = self._batches.pop(key, None)
            raise Problem(400, 10176, "atomic publish batch is incomplete")
        if place > BATCH_MAX:
            del self._batches[key]
            raise Problem(400, 10199, "atomic publish batch is too large: 1000")
        found.entries.append(entry)
        found.at = now
        if b"nats-batch-commit" not in fields:
            return b""
        del self._batches[key]
        return self._committed(stream, found.entries, batch, now)

    def _committed(self, stream: Stream, entries: Sequence[Entry], batch: bytes, now: float) -> object:
        """All of them, or none."""
        ids = [entry.id for entry in entries if entry.id]
        if len({*ids}) < len(ids) or any(stream.known(id, now) for id in ids):
            raise Problem(400, 10201, "atomic publish batch contains duplicate message id")
        for entry in entries:
            stream.check(entry)
        last = [stream.add(entry, now) for entry in entries][-1]
        return {"stream": stream.config.name, "seq": last, "batch": batch.decode(), "count": len(entries)}


def _fields(headers: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in headers.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name}
