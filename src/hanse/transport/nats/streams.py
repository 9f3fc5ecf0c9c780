"""The two streams of an app: its events, and how far each group has come with them.

- `HANSE_<app>_EVENTS` keeps `hanse.<app>.ev.<topic>`: each event once, in the order in which it came, until it is older
  than `Options.events_seconds`. Where it is full it refuses more, and drops nothing: publishers wait.
- `HANSE_<app>_GROUPS` keeps the last word on each of `hanse.<app>.group.<group>`: see `hanse.transport.nats.turn`.

They are made where they are missing. One that is there already is used as it is, so that an operator may set it up.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import final
from urllib.parse import quote, unquote

import msgspec

from hanse.kernel.faults import Misconfigured, Unavailable
from hanse.transport.nats.connection import Connection
from hanse.transport.nats.jetstream import NO_SUCH_STREAM, OTHER_STREAM, JetStream, RefusedError, told
from hanse.transport.nats.login import Options
from hanse.transport.nats.names import Names

REPLICAS = 3
"""Copies of each stream on a cluster, unless the URL says otherwise: one server may be lost."""

SAME_SECONDS = 600
"""For which an event that is published again is known by its id."""

NAME_CHARACTERS = 160
"""Of a name as it is; longer ones end in a digest."""

_NANO = 1_000_000_000
_NO_ROOM = (10_005, 10_023, 10_028, 10_047, 10_074)
"""What JetStream says where it has too few servers or too little storage."""


class _State(msgspec.Struct, frozen=True):
    first_seq: int = 0
    last_seq: int = 0


class _Config(msgspec.Struct, frozen=True):
    allow_atomic: bool = False
    num_replicas: int = 1


class Stream(msgspec.Struct, frozen=True):
    """A stream as it is there.

    Attributes:
        created: When it was made; one that was made anew has other numbers.
        config: How it was set up.
        state: What it holds.
    """

    created: str = ""
    config: _Config = _Config()
    state: _State = _State()


@final
class Streams:
    """Those of one app, as one node uses them.

    Attributes:
        events, groups: Their names.
    """

    def __init__(self, connection: Connection, api: JetStream, names: Names, options: Options) -> None:
        self._connection = connection
        self._api = api
        self._options = options
        self._subject = f"hanse.{names.app}."
        app = short(options.app)
        self.events: str = f"HANSE_{app}_EVENTS"
        self.groups: str = f"HANSE_{app}_GROUPS"
        self._known: Stream | None = None

    def event(self, topic: str) -> bytes:
        """Where events of a topic are kept."""
        return f"{self._subject}ev.{short(topic)}".encode()

    def group(self, group: str) -> bytes:
        """Where the last word on a group is kept."""
        return f"{self._subject}group.{short(group)}".encode()

    def topic_of(self, subject: bytes) -> str:
        """The topic of what was published on a subject."""
        return unquote(subject.decode(errors="replace").rpartition(".")[2])

    def forget(self) -> None:
        """Look again whether they are there."""
        self._known = None

    async def ready(self) -> Stream:
        """That of the events, as it was when it was looked at first; both are made where they are missing.

        Raises:
            Unavailable: JetStream does not answer.
            Misconfigured: It does not make them.
        """
        if self._known is None:
            subject, limits = f"{self._subject}group.*", {"max_msgs_per_subject": 1, "discard": "old"}
            _ = await self._made(self.groups, {"subjects": [subject], **limits})
            self._known = await self.look()
        return self._known

    async def look(self) -> Stream:
        """That of the events, as it is now. Raises as `ready` does."""
        return await self._made(
            self.events,
            {
                "subjects": [f"{self._subject}ev.*"],
                "discard": "new",
                "max_bytes": self._options.events_bytes,
                "max_age": int(self._options.events_seconds * _NANO),
                "duplicate_window": int(min(SAME_SECONDS, self._options.events_seconds) * _NANO),
                "allow_atomic": True,
            },
        )

    async def _made(self, name: str, limits: dict[str, object]) -> Stream:
        replicas = self._options.replicas or (REPLICAS if self._connection.info.cluster else 1)
        config = {"name": name, "storage": "file", "retention": "limits", "num_replicas": replicas, **limits}
        try:
            try:
                return await self._there(name)
            except RefusedError as error:
                if error.code != NO_SUCH_STREAM:
                    raise
            try:
                return await self._api.ask(f"$JS.API.STREAM.CREATE.{name}".encode(), config, Stream)
            except RefusedError as error:
                if error.code != OTHER_STREAM:
                    raise
                return await self._there(name)
        except RefusedError as error:
            if error.code in _NO_ROOM:
                hint = (
                    f"?replicas={replicas}&events_bytes={self._options.events_bytes} in node.transport say what is kept"
                )
                raise Misconfigured(f"NATS has no room for the stream {name}: {error}; {hint}") from None
            raise Unavailable(f"the stream {name} cannot be used: {told(error)}") from None

    async def _there(self, name: str) -> Stream:
        return await self._api.ask(f"$JS.API.STREAM.INFO.{name}".encode(), None, Stream)


def short(name: str) -> str:
    """A name as a part of the names of streams and subjects, whatever stands in it.

    Example:
        >>> short("order placed"), short("a.b/*"), len(short("x" * 1000))
        ('order%20placed', 'a%2Eb%2F%2A', 183)
    """
    token = quote(name, safe="").replace(".", "%2E") or "%"
    if len(token) <= NAME_CHARACTERS:
        return token
    return token[: NAME_CHARACTERS - 10] + "~" + blake2b(name.encode(), digest_size=16).hexdigest()
