"""What NATS keeps for one group: a reader of the stream from where the group is, once it is one's turn.

The reader is a consumer without acknowledgements, in the memory of one server, and gone with the turn; what was
acknowledged stands in the group's word (`hanse.transport.nats.turn`). So an acknowledgement costs nothing by itself,
and whoever takes over reads again in order what is not done, which no redelivery would give.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, final

import msgspec

from hanse.kernel.faults import Fault, Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import EVENT, Headers, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Kept
from hanse.transport.brokered.frames import MESSAGE, message_in
from hanse.transport.nats.connection import Connection, Subscription
from hanse.transport.nats.jetstream import NO_SUCH_MESSAGE, JetStream, RefusedError, There, header_in, nobody, told
from hanse.transport.nats.parse import status_of
from hanse.transport.nats.streams import Streams
from hanse.transport.nats.turn import RENEW_SECONDS, Turn, Word

_log = logging.getLogger("hanse.transport.nats")

AHEAD_MAX = 1_024
"""Events that are asked for before they are taken."""

AHEAD_BYTES = 16 * 1024 * 1024
"""Of events that one request asks for."""

SAVE_EVERY = 1_000
"""Acknowledgements after which they are saved at once."""

EXPIRES_SECONDS = 30
"""For which a request for events waits at the server."""

QUIET_SECONDS = 4.0
"""For which a server that is waited for may say nothing, though it gives a sign each second."""

CLOSE_SECONDS = 2.0
"""For which a broker has the time to take the last acknowledgements."""

_NANO = 1_000_000_000
_OVER = ("Batch Completed", "Exceeds MaxBytes")
"""What a request for events ends with that has brought as many as it may."""


class Parts(NamedTuple):
    """What all backlogs of a node share."""

    connection: Connection
    api: JetStream
    streams: Streams
    host: Host


class _Consumer(msgspec.Struct, frozen=True):
    name: str
    num_pending: int = 0


@final
class NatsBacklog:
    """See `Backlog`."""

    def __init__(self, parts: Parts, group: str, topics: Sequence[str], here: bytes) -> None:
        """Have nothing yet.

        Args:
            parts: What a node's backlogs share.
            group: Its name.
            topics: What it wants.
            here: Begins the subjects on which it is told something.
        """
        self.group: str = group
        self._connection, self._api, self._streams, self._host = parts
        self._wanted = {self._streams.event(topic): topic for topic in topics}
        self._inbox = here
        place = self._streams.groups, self._streams.group(group)
        self._turn = Turn(self._connection, self._api, place, here.decode(), self._host)
        self._tasks = Tasks(self._broke)
        self._subscription: Subscription | None = None
        self._consumer = b""
        self._stream = ""
        self._ready: deque[Kept] = deque()
        self._again: deque[int] = deque()
        self._open: dict[int, None] = {}
        self._reached = self._asked = self._count = self._unsaved = 0
        self._last = ""
        self._heard_at = 0.0
        self._why = ""
        self._closed = False
        self._begun = False
        self._came = asyncio.Event()
        self._due = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether nobody uses it any more."""
        return self._closed

    def start(self) -> None:
        """Seek the turn, and read once it is there."""
        _ = self._tasks.start(self._run(), name=f"backlog of {self.group}")

    async def take(self, count: int) -> list[Kept]:
        """See `Backlog.take`."""
        while not self._ready:
            if self._why:
                raise Unavailable(f"the events of the group {self.group} are lost to this node: {self._why}")
            self._came.clear()
            _ = await self._came.wait()
        piece = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
        for kept in piece:
            self._open[kept.number] = None
        if piece[-1].number > self._reached:
            self._reached, self._last = piece[-1].number, piece[-1].message.id
        self._ask_more()
        return piece

    def done(self, kept: Kept) -> None:
        """See `Backlog.done`."""
        if self._open.pop(kept.number, kept) is not kept:
            self._unsaved += 1
            if self._unsaved >= SAVE_EVERY:
                self._due.set()

    async def left(self) -> int:
        """See `TellsLeft.left`."""
        if self._why:
            raise Unavailable(self._why)
        word = self._word() if self._begun else await self._turn.look()
        try:
            found = await self._read_from(word.reached + 1)
        except RefusedError as error:
            raise Unavailable(told(error)) from None
        self._drop(found.name.encode())
        return len(word.undone) + found.num_pending

    async def close(self) -> None:
        """See `Backlog.close`."""
        if self._closed:
            return
        self._closed = True
        self.lose("it is closed")
        await self._tasks.cancel()
        if self._subscription is not None:
            self._connection.unsubscribe(self._subscription)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._give_back()
        except (Fault, TimeoutError) as error:
            _log.info("what the group %s has handled last could not be saved: %s", self.group, str(error) or "too slow")

    def lose(self, why: str) -> None:
        """Hand out nothing more, and tell those who wait."""
        self._why = self._why or why
        self._ready.clear()
        self._came.set()

    async def _give_back(self) -> None:
        if not self._turn.is_sought:
            return
        await self._connection.up()
        if self._consumer:
            self._drop(self._consumer)
        word = self._word() if self._begun else self._turn.word
        await self._turn.say(msgspec.structs.replace(word, holder=""))

    async def _run(self) -> None:
        try:
            word = await self._turn.wait()
            await self._begin(word)
            while True:
                await self._rest()
                if self._asked and self._host.monotonic() - self._heard_at > QUIET_SECONDS:
                    raise Unavailable(f"NATS said nothing for {QUIET_SECONDS:g} s")
                self._unsaved = 0
                await self._turn.say(self._turn.mine(self._word()))
        except (Fault, RefusedError) as error:
            self.lose(told(error))

    async def _rest(self) -> None:
        self._due.clear()
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                _ = await self._due.wait()
        except TimeoutError:
            pass  # it is time for a sign of life

    def _word(self) -> Word:
        return Word(self._stream, "", 0, self._reached, self._last, list(self._open))

    async def _begin(self, word: Word) -> None:
        """Read from the first event that is not done."""
        stream = await self._streams.look()
        if word.stream and word.stream != stream.created:
            _log.error("the stream of events was made anew: the group %s begins with the oldest", self.group)
            word = Word()
        elif word.reached > stream.state.last_seq or await self._is_another(word):
            # The server went dark before it had flushed them, and gives their numbers to others.
            _log.error(
                "NATS has lost events: the group %s had come to the %d., which is not there any more, or is another; "
                "it begins with the oldest. Set sync_interval: always for JetStream, or have several replicas",
                *(self.group, word.reached),
            )
            word = Word()
        elif 0 < word.reached < stream.state.first_seq - 1:
            _log.warning(
                "events up to %d were too old to be kept, and the group %s had come to %d: it may have missed some; "
                "keep them for longer than the longest stop of a subscriber (events_seconds in the URL)",
                *(stream.state.first_seq - 1, self.group, word.reached),
            )
        self._stream, self._reached, self._last = stream.created, word.reached, word.last
        self._open, self._again = dict.fromkeys(word.undone), deque(word.undone)
        self._begun = True
        self._subscription = self._connection.subscribe(self._inbox + b".*", self._told)
        start = word.undone[0] if word.undone else word.reached + 1
        self._consumer = (await self._read_from(start)).name.encode()
        self._heard_at = self._host.monotonic()
        self._ask_more()

    async def _is_another(self, word: Word) -> bool:
        """Whether another event stands where the group's last one stood; one that is not kept any more is none."""
        if not word.last:
            return False
        subject = f"$JS.API.STREAM.MSG.GET.{self._streams.events}".encode()
        try:
            found = (await self._api.ask(subject, {"seq": word.reached}, There)).message
        except RefusedError as error:
            if error.code == NO_SUCH_MESSAGE:
                return False
            raise
        return self._read(found.seq, "", found.payload).id != word.last

    async def _read_from(self, start: int) -> _Consumer:
        """Have a reader made that begins with an event."""
        subjects = sorted(subject.decode() for subject in self._wanted)
        config: dict[str, object] = {
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": EXPIRES_SECONDS * _NANO,
        }
        # Servers that know of one filter only are given none, and what is not wanted is left out here.
        config |= {"filter_subject": subjects[0]} if len(subjects) == 1 else {"filter_subjects": subjects}
        subject = f"$JS.API.CONSUMER.CREATE.{self._streams.events}".encode()
        return await self._api.ask(subject, {"stream_name": self._streams.events, "config": config}, _Consumer)

    def _drop(self, consumer: bytes) -> None:
        _ = self._api.say(f"$JS.API.CONSUMER.DELETE.{self._streams.events}.".encode() + consumer, b"")

    def _ask_more(self) -> None:
        there = self._asked + len(self._ready)
        if self._why or there > AHEAD_MAX // 2:
            return
        if not self._asked:
            self._heard_at = self._host.monotonic()
        count = AHEAD_MAX - there
        asked = {
            "batch": count,
            "expires": EXPIRES_SECONDS * _NANO,
            "idle_heartbeat": _NANO,
            "max_bytes": max(AHEAD_BYTES, 2 * self._connection.info.max_payload),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._streams.events}.".encode() + self._consumer
        if self._connection.publish(subject, self._inbox + b".p", msgspec.json.encode(asked)):
            self._asked += count
        else:
            self.lose("NATS does not take what it is sent as fast as that")

    def _told(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """An event, or what the server says besides."""
        self._heard_at = self._host.monotonic()
        if self._why:
            return
        status = status_of(headers)
        if status:
            self._said(status, headers)
            return
        self._asked = max(0, self._asked - 1)
        number, count = _numbers(reply)
        self._count += 1
        if count != self._count:
            self.lose(f"events were lost on their way: expected the {self._count}., got the {count}.")
        elif self._is_wanted(number) and subject in self._wanted:
            self._ready.append(Kept(number, self._message(number, subject, payload)))
            self._came.set()
        if not self._ready:
            self._ask_more()

    def _said(self, status: str, headers: bytes) -> None:
        line = headers[: headers.find(b"\r\n")].partition(b" ")[2].decode(errors="replace")
        if status == "100":
            return
        if status not in ("404", "408") and not line.endswith(_OVER):
            self.lose(nobody(status) if status == "503" else f"NATS said {line}")
            return
        left = header_in(headers, b"Nats-Pending-Messages")
        self._asked = max(0, self._asked - (int(left) if left.isdigit() else 0))
        self._ask_more()

    def _is_wanted(self, number: int) -> bool:
        """Whether an event is new, or one of those that come again; those before it do not come any more."""
        again = self._again
        while again and again[0] < number:
            self._open.pop(again.popleft(), None)
        if again and again[0] == number:
            _ = again.popleft()
            return True
        return number > self._reached

    def _message(self, number: int, subject: bytes, payload: bytes) -> Message:
        return self._read(number, self._wanted[subject], payload)

    def _read(self, number: int, topic: str, payload: bytes) -> Message:
        """An event; of a form that nobody of ours publishes, too."""
        try:
            return _message_in(payload)
        except Malformed as fault:
            # Whoever handles it says what is wrong, and it is parked.
            _log.warning("event %d of the stream %s: %s", number, self._streams.events, fault.detail)
            return Message(EVENT, f"{self._streams.events}:{number}", topic, 0.0, Headers(type=topic), payload)

    def _broke(self, error: BaseException) -> None:
        _log.error("the backlog of %s broke", self.group, exc_info=error)
        self.lose(f"an unexpected error: {type(error).__qualname__}")


def _message_in(payload: bytes) -> Message:
    if payload[:1] != MESSAGE:
        raise Malformed(f"expected {MESSAGE!r}, got {payload[:1]!r}")
    return message_in(payload)


def _numbers(reply: bytes) -> tuple[int, int]:
    """Of an event, from where it would be acknowledged: in the stream, and among those that this reader was given.

    Example:
        >>> _numbers(b"$JS.ACK.E.c.1.1003.1002.1795310305336828589.0")
        (1003, 1002)
        >>> _numbers(b"$JS.ACK.hub.account.E.c.1.1003.1002.1795310305336828589.0.x")
        (1003, 1002)
    """
    fields = reply.split(b".")
    place = 5 if len(fields) == 9 else 7  # noqa: PLR2004 - servers in a domain name that and the account before it
    try:
        return int(fields[place]), int(fields[place + 1])
    except (IndexError, ValueError):
        return 0, 0
