"""A Redis for worlds: the commands that our adapter uses, and what Redis is documented to do to what it is given.

- What is told on a channel reaches whoever is subscribed at that moment, and nobody else.
- A subscriber who reads too slowly is cut off: at 32 MiB that wait, or at 8 MiB for a minute.
- What lists hold is written to a file that is flushed each second: a process that is killed has it again, and a machine
  that goes dark lacks the last of it. Scripts and subscriptions are forgotten with the process.
- Who waits for a list is served in the order of asking, and says nothing else meanwhile.

Scripts are known by their digests and done in Python; those of others are refused. It is written for asyncio alone, so
it serves real sockets as well as simulated ones; that is how it is held against a real server. It speaks RESP3 only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, cast, final

import msgspec

from hanse.sim.brokers.redis_events import SCRIPTS
from hanse.sim.brokers.redis_memory import Delete, Expire, Memory, Pop, PushEnd
from hanse.sim.brokers.redis_resp import OK, Broken, Commands, Failure, Push, Text, Word, encoded
from hanse.transport.redis.scripts import FULL, LIST_SECONDS, NOBODY, SEND, SWEEP, SWEPT_MAX, TAKEN, WAITING_MAX

PORT: Final = 6379
VERSION: Final = b"7.2.4"
"""The version whose words it speaks."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait for a subscriber; the defaults are those of Redis.

    Attributes:
        hard_bytes: Then it is cut off.
        soft_bytes, soft_seconds: Where more waits for so long, it is cut off, too.
    """

    hard_bytes: int = 32 * 1024 * 1024
    soft_bytes: int = 8 * 1024 * 1024
    soft_seconds: float = 60.0


LIMITS = Limits()

Command = Callable[["_Client", list[bytes]], object]


class _Waiting(msgspec.Struct, eq=False):
    """A client that waits for lists."""

    client: _Client
    keys: list[bytes]
    count: int
    timer: asyncio.TimerHandle | None = None


@final
class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: RedisServer, number: int) -> None:
        self.number = number
        self.channels: dict[bytes, None] = {}
        self.waiting: _Waiting | None = None
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._commands = Commands()
        self._queue: deque[list[bytes]] = deque()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._told: deque[Push] = deque()
        self._asking = False
        self._soft: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        if self._soft is not None:
            self._soft.cancel()
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._queue.extend(self._commands.feed(data))
        except Broken as broken:
            self.say(Failure(f"ERR {broken}"))
            self._flush()
            if self._transport is not None:
                self._transport.close()
            return
        self.go_on()

    def go_on(self) -> None:
        """Do what was asked, up to what it has to wait for."""
        while self._queue and self.waiting is None and self._transport is not None:
            self._asking = True
            try:
                self._server.run(self, self._queue.popleft())
            finally:
                self._asking = False

    def tell(self, push: Push) -> None:
        """Tell it what it did not ask for: not amid what it is asking."""
        if self._asking:
            self._told.append(push)
        else:
            self.say(push)

    def say_told(self) -> None:
        """Tell it what came up amid what it has asked."""
        while self._told:
            self.say(self._told.popleft())

    def say(self, reply: object) -> None:
        """Say something, with all else that is said in this turn."""
        if self._transport is None:
            return
        if not self._out:
            _ = self._loop.call_soon(self._flush)
        self._out.append(encoded(reply))

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
            if self.channels:
                self._limit(self._transport.get_write_buffer_size())
        self._out.clear()

    def _limit(self, waits: int) -> None:
        limits = self._server.limits
        if waits > limits.hard_bytes:
            self._cut()
        elif waits > limits.soft_bytes and self._soft is None:
            self._soft = self._loop.call_later(limits.soft_seconds, self._still)

    def _still(self) -> None:
        self._soft = None
        if self._transport is not None and self._transport.get_write_buffer_size() > self._server.limits.soft_bytes:
            self._cut()

    def _cut(self) -> None:
        if self._transport is not None:
            self._server.slow += 1
            self._transport.abort()


@final
class RedisServer:
    """One life of a server.

    Attributes:
        memory: What it holds.
        limits: What may wait for a subscriber.
        slow: How many were cut off as too slow.
    """

    def __init__(self, memory: Memory, clock: Callable[[], float], limits: Limits = LIMITS) -> None:
        """Serve nobody yet.

        Args:
            memory: What it holds when it starts.
            clock: Its wall clock.
            limits: What may wait for a subscriber.
        """
        self.memory: Memory = memory
        self.limits: Limits = limits
        self.slow: int = 0
        self._clock = clock
        self._count = 0
        self._loaded: set[bytes] = set()
        self._subscribers: dict[bytes, dict[_Client, None]] = {}
        self._waiting: dict[_Waiting, None] = {}
        self._commands: Mapping[bytes, Command] = {
            b"HELLO": self._hello,
            b"PING": lambda _client, words: words[0] if words else Word(b"PONG"),
            b"SELECT": lambda _client, _words: OK,
            b"INFO": lambda _client, _words: self._info(),
            b"TIME": lambda _client, _words: self._time(),
            b"SCRIPT": self._script,
            b"EVAL": self._eval,
            b"EVALSHA": self._evalsha,
            b"PUBLISH": lambda _client, words: self.publish(*words),
            b"SUBSCRIBE": self._subscribe,
            b"UNSUBSCRIBE": self._unsubscribe,
            b"RPUSH": self._rpush,
            b"LLEN": lambda _client, words: len(self.memory.list_of(words[0], self.now)),
            b"DEL": self._del,
            b"EXPIRE": lambda _client, words: self._expire(words[0], float(words[1])),
            b"BLMPOP": self._blmpop,
        }

    @property
    def now(self) -> float:
        """Second of its wall clock."""
        return self._clock()

    @property
    def idle(self) -> bool:
        """See `hanse.sim.carried.Broker.idle`: whether nobody's request waits in a list that somebody reads."""
        return not any(self.memory.list_of(key, self.now) for waiting in self._waiting for key in waiting.keys)

    async def serve(self, host: str | None = None, port: int = PORT) -> asyncio.AbstractServer:
        """Begin to listen."""
        return await asyncio.get_running_loop().create_server(self._made, host, port)

    def run(self, client: _Client, words: list[bytes]) -> None:
        """Do what a client asks; then, what others wait for because of it."""
        if not words:
            return
        name = words[0].upper()
        command = self._commands.get(name)
        try:
            if command is None:
                raise Failure(f"ERR unknown command {words[0]!r}; the twin of a Redis knows what Hanse says")  # noqa: TRY301
            reply = command(client, words[1:])
        except Failure as failure:
            reply = failure
        except (IndexError, ValueError, TypeError):
            reply = Failure(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        if reply is not _LATER:
            client.say(reply)
        # What it has told itself comes behind its reply.
        client.say_told()
        self._serve_waiting()

    def publish(self, channel: bytes, data: bytes) -> int:
        """Tell who is subscribed; how many are."""
        found = self._subscribers.get(channel, {})
        for client in found:
            client.tell(Push((b"message", channel, data)))
        return len(found)

    def left(self, client: _Client) -> None:
        """A connection has ended."""
        for channel in list(client.channels):
            self._forget(client, channel)
        if client.waiting is not None:
            self._wait_no_more(client.waiting)

    def _made(self) -> _Client:
        self._count += 1
        return _Client(self, self._count)

    # Of the server.

    def _hello(self, client: _Client, words: list[bytes]) -> object:
        if words and words[0] != b"3":
            raise Failure("NOPROTO unsupported protocol version")
        return {
            b"server": b"redis",
            b"version": VERSION,
            b"proto": 3,
            b"id": client.number,
            b"mode": b"standalone",
            b"role": b"master",
            b"modules": [],
        }

    def _info(self) -> Text:
        fields = (
            (b"redis_version", VERSION),
            (b"cluster_enabled", b"0"),
            (b"role", b"master"),
            (b"loading", b"0"),
            (b"maxmemory_policy", b"noeviction"),
            (b"aof_enabled", b"%d" % self.memory.appends),
        )
        return Text(b"".join(b"%b:%b\r\n" % field for field in fields))

    def _time(self) -> list[bytes]:
        now = self.now
        return [b"%d" % int(now), b"%d" % int((now - int(now)) * 1_000_000)]

    # Channels.

    def _subscribe(self, client: _Client, words: list[bytes]) -> object:
        for channel in words:
            client.channels[channel] = None
            self._subscribers.setdefault(channel, {})[client] = None
            client.say(Push((b"subscribe", channel, len(client.channels))))
        return _LATER

    def _unsubscribe(self, client: _Client, words: list[bytes]) -> object:
        for channel in words or list(client.channels):
            self._forget(client, channel)
            client.say(Push((b"unsubscribe", channel, len(client.channels))))
        return _LATER

    def _forget(self, client: _Client, channel: bytes) -> None:
        client.channels.pop(channel, None)
        found = self._subscribers.get(channel, {})
        found.pop(client, None)
        if not found:
            self._subscribers.pop(channel, None)

    # Lists.

    def _rpush(self, client: _Client, words: list[bytes]) -> int:
        del client
        key, *entries = words
        for entry in entries:
            self.memory.do(self.now, PushEnd(key, entry))
        return len(self.memory.list_of(key, self.now))

    def _expire(self, key: bytes, seconds: float) -> int:
        if not self.memory.list_of(key, self.now):
            return 0
        self.memory.do(self.now, Expire(key, self.now + seconds))
        return 1

    def _del(self, client: _Client, words: list[bytes]) -> int:
        del client
        found = [key for key in words if self.memory.list_of(key, self.now)]
        for key in found:
            self.memory.do(self.now, Delete(key))
        return len(found)

    def _take(self, key: bytes, count: int) -> list[bytes]:
        taken = self.memory.list_of(key, self.now)[:count]
        if taken:
            self.memory.do(self.now, Pop(key, len(taken)))
        return taken

    def _blmpop(self, client: _Client, words: list[bytes]) -> object:
        seconds, size = float(words[0]), int(words[1])
        keys, rest = words[2 : 2 + size], words[2 + size :]
        if len(keys) != size or rest[0].upper() != b"LEFT":
            raise Failure("ERR syntax error")
        count = int(rest[2]) if len(rest) > 1 else 1
        for key in keys:
            if taken := self._take(key, count):
                return [key, taken]
        waiting = client.waiting = _Waiting(client, keys, count)
        if seconds:
            waiting.timer = asyncio.get_running_loop().call_later(seconds, partial(self._nothing, waiting))
        self._waiting[waiting] = None
        return _LATER

    def _nothing(self, waiting: _Waiting) -> None:
        """Nothing came in time."""
        self._answer(waiting, None)

    def _serve_waiting(self) -> None:
        """Give those who wait what has come, in the order in which they asked."""
        for waiting in list(self._waiting):
            for key in waiting.keys:
                if waiting in self._waiting and (taken := self._take(key, waiting.count)):
                    self._answer(waiting, [key, taken])
                    break

    def _answer(self, waiting: _Waiting, reply: object) -> None:
        self._wait_no_more(waiting)
        waiting.client.say(reply)
        waiting.client.go_on()

    def _wait_no_more(self, waiting: _Waiting) -> None:
        self._waiting.pop(waiting, None)
        waiting.client.waiting = None
        if waiting.timer is not None:
            waiting.timer.cancel()

    # Scripts.

    def _script(self, client: _Client, words: list[bytes]) -> object:
        del client
        if words[0].upper() == b"FLUSH":
            self._loaded.clear()
            return OK
        if words[0].upper() != b"LOAD":
            raise Failure("ERR unknown subcommand")
        return self._load(words[1])

    def _load(self, source: bytes) -> bytes:
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        self._loaded.add(sha)
        return sha

    def _eval(self, client: _Client, words: list[bytes]) -> object:
        return self._evalsha(client, [self._load(words[0]), *words[1:]])

    def _evalsha(self, client: _Client, words: list[bytes]) -> object:
        del client
        if words[0] not in self._loaded:
            raise Failure("NOSCRIPT No matching script. Please use EVAL.")
        size = int(words[1])
        keys, arguments = words[2 : 2 + size], words[2 + size :]
        if words[0] == SEND.sha:
            return self._send(keys[0], arguments[0])
        if words[0] == SWEEP.sha:
            return self._sweep(keys[0])
        if (script := SCRIPTS.get(words[0])) is not None:
            return script(self, keys, arguments)
        raise Failure("ERR this Redis is the twin of one, and knows the scripts of Hanse only")

    def _send(self, key: bytes, entry: bytes) -> int:
        """What `hanse.transport.redis.scripts.SEND` does."""
        if key not in self._subscribers:
            return NOBODY
        if len(self.memory.list_of(key, self.now)) >= WAITING_MAX:
            return FULL
        self.memory.do(self.now, PushEnd(key, b":".join(self._time()) + b" " + entry))
        _ = self._expire(key, LIST_SECONDS)
        return TAKEN

    def _sweep(self, key: bytes) -> list[bytes] | None:
        """What `hanse.transport.redis.scripts.SWEEP` does."""
        return None if key in self._subscribers else self._take(key, SWEPT_MAX) or None


_LATER: Final = object()
"""Of a command that is answered by what it says itself, or later."""
