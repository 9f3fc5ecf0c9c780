"""The scripts of `hanse.transport.redis.keep_scripts`, done in Python: what they say there is what they do here.

Groups and events that are too old to be kept, which takes days, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from hanse.sim.brokers.redis_memory import Delete, Memory, Note, Put
from hanse.sim.brokers.redis_resp import Failure
from hanse.sim.brokers.redis_stream import (
    Acknowledged,
    Added,
    EventStream,
    Given,
    Group,
    Grouped,
    Place,
    Trimmed,
    named,
    place_of,
)
from hanse.transport.redis.keep_scripts import (
    DONE,
    HOLD,
    LEAVE,
    LEFT,
    LOOKED_MAX,
    LOST,
    MINE,
    OPEN,
    OTHERS,
    PIECE,
    PUBLISH,
    SAME_SECONDS,
    TAKE,
    TAKE_BYTES_MAX,
    TRIM_SECONDS,
)

NEW = b">"


class Redis(Protocol):
    """A server, as scripts see it."""

    memory: Memory

    @property
    def now(self) -> float:
        """Second of its wall clock."""
        ...

    def publish(self, channel: bytes, data: bytes) -> int:
        """Tell who is subscribed."""
        ...


Keys = Sequence[bytes]


def _publish(redis: Redis, keys: Keys, arguments: Keys) -> object:
    memory, now = redis.memory, redis.now
    slot = int(now) // SAME_SECONDS
    ids, before = b"%b%d" % (keys[1], slot), b"%b%d" % (keys[1], slot - 1)
    kept = 0
    for id, topic, payload in zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True):
        if id in memory.set_of(ids) or id in memory.set_of(before):
            continue
        memory.do(now, Note(ids, id))
        place = memory.stream_of(keys[0]).next(int(now * 1_000))
        memory.do(now, Added(keys[0], place, topic, payload))
        kept += 1
    if kept:
        _ = redis.publish(keys[0], b"")
    return kept


def _open(redis: Redis, keys: Keys, arguments: Keys) -> object:
    if arguments[0] in redis.memory.stream_of(keys[0]).groups:
        return 0
    redis.memory.do(redis.now, Grouped(keys[0], arguments[0]))
    return 1


def _take(redis: Redis, keys: Keys, arguments: Keys) -> object:
    name, token, milliseconds, holds, over, cursor, count, *topics = arguments
    memory, now = redis.memory, redis.now
    owner = memory.text_of(keys[1], now)
    if owner != token:
        if holds == b"1":
            return [LOST]
        if owner and owner != over:
            return [OTHERS, memory.left_of(keys[1], now)]
        memory.do(now, Put(keys[1], token, now + int(milliseconds) / 1_000))
    return [MINE, *_taken(redis, (keys[0], name), cursor, int(count), topics)]


def _taken(redis: Redis, at: tuple[bytes, bytes], cursor: bytes, wanted: int, topics: Keys) -> list[object]:
    """The cursor to go on from, how much was looked at, how many are gone, and what was taken."""
    stream = redis.memory.stream_of(at[0])
    taken: list[bytes] = []
    left: list[Place] = []
    looked = gone = size = 0
    while wanted > 0 and size < TAKE_BYTES_MAX and looked < LOOKED_MAX:
        places = _read(redis, at, cursor, min(wanted, PIECE))
        if not places and cursor == NEW:
            looked = 0
            break
        if not places:
            cursor = NEW
        looked += len(places)
        for place in places:
            entry = stream.entries.get(place)
            cursor = cursor if cursor == NEW else named(place)
            if entry is not None and entry[0] in topics:
                taken += [named(place), entry[1]]
                wanted, size = wanted - 1, size + len(entry[1])
            else:
                left.append(place)
                gone += entry is None
    if left:
        redis.memory.do(redis.now, Acknowledged(*at, tuple(left)))
    return [cursor, looked, gone, taken]


def _read(redis: Redis, at: tuple[bytes, bytes], cursor: bytes, count: int) -> list[Place]:
    """Entries that a group has not seen; or, from a cursor on, those that it was given and has not handled."""
    key, name = at
    stream = redis.memory.stream_of(key)
    group = _group(stream, name)
    if cursor != NEW:
        return sorted(place for place in group.pending if place > place_of(cursor))[:count]
    places = stream.after(group.reached, count)
    if places:
        redis.memory.do(redis.now, Given(key, name, tuple(places)))
    return places


def _done(redis: Redis, keys: Keys, arguments: Keys) -> object:
    name, token, *entries = arguments
    if redis.memory.text_of(keys[1], redis.now) != token:
        return LOST
    _ = _group(redis.memory.stream_of(keys[0]), name)
    redis.memory.do(redis.now, Acknowledged(keys[0], name, tuple(map(place_of, entries))))
    return MINE


def _leave(redis: Redis, keys: Keys, arguments: Keys) -> object:
    if redis.memory.text_of(keys[1], redis.now) != arguments[1]:
        return LOST
    redis.memory.do(redis.now, Delete(keys[1]))
    _ = redis.publish(keys[0], b"=" + arguments[0])
    return MINE


def _left(redis: Redis, keys: Keys, arguments: Keys) -> object:
    stream = redis.memory.stream_of(keys[0])
    group = stream.groups.get(arguments[0])
    if group is None:
        return 0
    return len(group.pending) + len(stream.after(group.reached, len(stream.entries)))


def _hold(redis: Redis, keys: Keys, arguments: Keys) -> object:
    memory, now = redis.memory, redis.now
    _, token, milliseconds, handled, _, handled_max = arguments
    if memory.text_of(keys[1], now) != token:
        return [LOST]
    memory.do(now, Put(keys[1], token, now + int(milliseconds) / 1_000))
    if memory.text_of(keys[2], now) is not None:
        return [MINE]
    memory.do(now, Put(keys[2], b"", now + TRIM_SECONDS))
    stream = memory.stream_of(keys[0])
    seconds = 0 if len(stream.entries) > int(handled_max) else int(handled)
    least: Place = (int((now - seconds) * 1_000), 0)
    for group in stream.groups.values():
        least = min(least, min(group.pending, default=group.reached))
    memory.do(now, Trimmed(keys[0], least))
    nothing: list[object] = []
    return [MINE, nothing, nothing]


def _group(stream: EventStream, name: bytes) -> Group:
    found = stream.groups.get(name)
    if found is None:
        raise Failure("NOGROUP No such key or consumer group")
    return found


SCRIPTS: Mapping[bytes, Callable[[Redis, Keys, Keys], object]] = {
    PUBLISH.sha: _publish,
    OPEN.sha: _open,
    TAKE.sha: _take,
    DONE.sha: _done,
    LEAVE.sha: _leave,
    LEFT.sha: _left,
    HOLD.sha: _hold,
}
"""By their digests."""
