"""Where events are told: the contract that a service serves its emitted events under, to the rest of the system.

An event is an entry of the log of whoever emitted it, and nowhere else. So there is one feed for each topic and each
service that may tell of it, and whoever wants all of a topic follows several; their cursors are put together into one.
Each service's events are served under the contract name `events/<service>`, reachable within the system only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache
from typing import Protocol, cast

import msgspec

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import Description, describe_as
from hanse.contract.model import Event, topic_of
from hanse.kernel.closing import closing
from hanse.kernel.faults import Malformed
from hanse.service.change import cursor_of, position_of
from hanse.service.log_reader import CursorLost, LogReader
from hanse.service.rows import Line
from hanse.service.shape import field_schemas
from hanse.service.unit import Unit, unit_for
from hanse.store.base import CollectionSchema, Entry, Op, Store
from hanse.store.evaluate import predicate
from hanse.store.query import Where

_object = msgspec.json.Decoder(dict[str, object]).decode

LOGS_MAX = 100
"""Logs that one cursor of a topic names at most."""


class Events(Contract, Protocol):
    """The events that one service emits, as JSON."""

    @rpc(idempotent=True)
    async def cursor(self) -> str:
        """Where its log is now."""
        ...

    @rpc
    async def emit(self, topic: str, value: bytes) -> str:
        """Tell of an event, as the service itself would. The id of the message that tells of it."""
        ...

    @rpc
    def follow(self, topic: str, after: str, *, caught_up: bool = False) -> AsyncIterator[Line]:
        """The events of a topic after a cursor (`emitted`, with the message's id and the position as `rev`); no end.

        Where the log does not reach back to the cursor, `reset` and `ready`, and what comes from then on. With
        `caught_up`, `ready` is told once those that had been by then are told. It comes again where nothing of the
        topic was told for a while, but the log went on: its cursor lasts longer.
        """
        ...


@lru_cache(maxsize=4096)
def events_contract(service: str) -> Description:
    """The contract under which the events of a service are served, made once."""
    return describe_as(Events, f"events/{service}")


class EventsOf:
    """Serves the events of one service from its store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def cursor(self) -> str:
        """See `Events.cursor`."""
        return cursor_of(self._store.log_id, await self._store.head())

    async def emit(self, topic: str, value: bytes) -> str:
        """See `Events.emit`."""
        return cast("Unit", unit_for(self._store)).emit(topic, "", value)

    async def follow(self, topic: str, after: str, *, caught_up: bool = False) -> AsyncIterator[Line]:
        """See `Events.follow`."""
        log = LogReader(self._store, [topic])

        def line(entry: Entry) -> Line | None:
            if entry.op is not Op.EMITTED:
                return None
            value, cursor = entry.after or b"null", log.cursor(entry.seq)
            return Line("emitted", cursor, entry.message_id, entry.seq, value, at=entry.at, headers=entry.headers)

        while True:  # a log is lost as often as it is trimmed before it was read; each time, its reader is told
            try:
                if caught_up:
                    async with closing(log.upto_now(line, after, _ready)) as missed:
                        async for told in missed:
                            after = told.cursor
                            yield told
                    caught_up = False
                async with closing(log.told(line, after, passed=_ready)) as lines:
                    async for told in lines:
                        yield told
            except CursorLost:
                after, caught_up = log.cursor(await log.head()), False
                yield Line("reset")
                yield _ready(after)


def _ready(cursor: str) -> Line:
    return Line("ready", cursor)


def matcher_of(kind: type[Event], where: Where | None) -> Callable[[bytes], bool]:
    """Whether an event, as JSON, matches; see `hanse.store.query` for what that means.

    Example:
        >>> from hanse.store import query
        >>> class Placed(Event):
        ...     count: int = 1
        >>> test = matcher_of(Placed, query.Compare("ge", ("count",), 2))
        >>> test(b'{"count":3}'), test(b"{}")
        (True, False)
    """
    test = predicate(where, CollectionSchema(topic_of(kind), field_schemas(kind)))
    return lambda value: test(_object(value))


def joined(cursors: Sequence[str]) -> str:
    """One cursor of several logs."""
    return ",".join(cursors)


def parts_of_cursor(cursor: str) -> list[str]:
    """The cursors of single logs that one is made of.

    Raises:
        Malformed: It is none.

    Example:
        >>> parts_of_cursor("a.1,b.7")
        ['a.1', 'b.7']
    """
    parts = cursor.split(",", LOGS_MAX) if cursor else []
    if len(parts) > LOGS_MAX:
        raise Malformed(f"expected a cursor as this server gave it, got one of more than {LOGS_MAX} logs")
    for part in parts:
        _ = position_of("", part)
    return parts


def resumed(after: str, heads: Sequence[str]) -> tuple[list[str], bool]:
    """Where to go on in each log, and whether something may have been missed.

    A log that the cursor does not name is one of a service that came later: it is told from its beginning. But where
    the cursor names a log that is no more (a store in memory, after a restart), nobody knows what was told since.

    Args:
        after: Cursor of the reader; empty for one that begins now.
        heads: Where each log is now.

    Raises:
        Malformed: It is no cursor.

    Example:
        >>> resumed("a.1", ["a.5", "b.9"])
        (['a.1', 'b.0'], False)
        >>> resumed("gone.1", ["a.5"])
        (['a.5'], True)
    """
    if not after:
        return list(heads), False
    known = {part.rpartition(".")[0]: part for part in parts_of_cursor(after)}
    logs = [head.rpartition(".")[0] for head in heads]
    if known.keys() - set(logs):
        return [known.get(log, head) for log, head in zip(logs, heads, strict=True)], True
    return [known.get(log, f"{log}.0") for log in logs], False
