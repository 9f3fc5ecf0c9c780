"""A service's rows under a prefix of Redis or Valkey.

What survives what: a commit that returned survives the end of this process and of the server, and a power cut of its
machine where the server flushes each commit or is waited for. Many processes on many machines may share a store: their
commits stay in one order, as the server does one after the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self, cast, final

import msgspec

from hanse.kernel.context import current
from hanse.kernel.faults import Fault, NotFound
from hanse.kernel.resp import parser
from hanse.store.base import (
    CHANGES_MAX,
    WINDOW_MAX,
    Changes,
    CollectionSchema,
    Entry,
    Found,
    Mark,
    Row,
)
from hanse.store.dump import Dump, Moment, Piece
from hanse.store.query import Query
from hanse.store.redis.committer import Committer
from hanse.store.redis.dumping import dumped
from hanse.store.redis.failures import is_lost, raise_meaning
from hanse.store.redis.group import mark_field, row_of
from hanse.store.redis.index import Index, wanted_of
from hanse.store.redis.link import Dialer
from hanse.store.redis.log import lines
from hanse.store.redis.names import Names
from hanse.store.redis.news import News
from hanse.store.redis.opening import Opened, prepare
from hanse.store.redis.packed import pack
from hanse.store.redis.reader import Reader
from hanse.store.redis.restoring import Restoring
from hanse.store.redis.scripts import CHANGES, LOOKED_MAX, TRIM
from hanse.store.redis.search import Searcher
from hanse.store.redis.url import RedisUrl, parse_url
from hanse.store.remote.store import RemoteStore

_mark = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


class _Open(msgspec.Struct, frozen=True, eq=False):
    """What there is while a store is open."""

    dialer: Dialer
    reader: Reader
    searcher: Searcher
    committer: Committer
    rows: dict[str, bytes]


@final
class RedisStore(RemoteStore[RedisUrl, _Open]):
    """Rows and their log under one prefix, which many processes may share.

    Example:
        >>> RedisStore.from_url("redis://ada@localhost/0?prefix=orders").features
        Features(durable=True, shared=True)
    """

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of a URL such as `redis://user:password@host:6379/0?prefix=orders`.

        Raises:
            Misconfigured: The URL is not of that form, has an option with a value that it cannot have, or the library
                that cuts the protocol is not installed.
        """
        _ = parser()
        return cls(parse_url(url))

    @property
    def log_id(self) -> str:
        """Minted with the store; another one after its server may have lost the end of the log."""
        return self._open.committer.log_id if self._open is not None else self._log_id

    async def open(self, collections: Sequence[CollectionSchema]) -> None:
        """Open the store, making it where it is missing.

        Raises:
            CouldNotStart: The keys are not ours, of a newer format, or hold rows that cannot be read as these
                collections; or the server is too old, only follows another, forgets, or throws keys away.
            Misconfigured: The library that cuts the protocol is not installed.
            Unavailable: The server cannot be reached.
        """
        host = self._host or current().host
        dialer = Dialer(self._url, host)
        link = await dialer.dial()
        try:
            opened = await prepare(link, dialer.names, collections, host.new_id())
        except BaseException as error:
            link.give_up("the store was not opened")
            if isinstance(error, Exception) and not isinstance(error, Fault):
                raise_meaning(error, self._url.place)
            raise
        self._log_id, self._schemas = opened.log_id, opened.schemas
        author, reader = host.new_id(), Reader(dialer)
        news = News(dialer, author, self._crew.heard)
        committer = Committer(dialer, opened, author, self._crew.committed)
        committer.use(link)
        rows = {name: dialer.names.rows(name) for name in opened.schemas}
        self._open = _Open(dialer, reader, Searcher(reader, dialer.names, _own(opened)), committer, rows)
        self._crew.start(committer.apply, news)

    async def close(self) -> None:
        """Finish commits in flight and let go."""
        self._log_id = self.log_id
        one, self._open = self._open, None
        if one is None:
            return
        try:
            await self._crew.close()
        finally:
            await one.committer.leave()
            await one.reader.close()

    async def load(self, collection: str, id: str, /) -> Row | None:
        """One row, or None."""
        one = self._opened()
        key = one.rows.get(collection)
        if key is None:
            raise NotFound("collection", collection)
        found = await one.reader.ask(b"HGET", key, id.encode(errors="surrogatepass"))
        return row_of(id, found) if isinstance(found, bytes) else None

    async def find(self, collection: str, query: Query, /) -> Found:
        """A page of matching rows."""
        searcher, schema = self._searching(collection)
        return await searcher.find(query, schema)

    async def count(self, collection: str, query: Query, /) -> int:
        """How many rows match."""
        searcher, schema = self._searching(collection)
        return await searcher.count(query, schema)

    async def marked(self, scope: str, key: str, /) -> Mark | None:
        """The mark, if it was made."""
        found = await self._kept(lambda names: names.marks, mark_field(scope, key))
        return Mark(scope, key, *_mark(found)) if isinstance(found, bytes) else None

    async def position(self, name: str, /) -> int:
        """How far the named reader has come."""
        found = await self._kept(lambda names: names.positions, name.encode())
        return int(found) if isinstance(found, bytes) else 0

    async def head(self) -> int:
        """Position of the newest entry."""
        found = await self._kept(lambda names: names.meta, b"head")
        return int(cast("bytes", found or b"0"))

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        """Entries after a position; at most `CHANGES_MAX`, of at most `WINDOW_MAX` that are looked at."""
        one = self._opened()
        keys = one.dialer.names
        limit, wanted = min(limit, CHANGES_MAX), b"" if names is None else pack(tuple(names))
        entries: list[Entry] = []
        upto, head, was_trimmed = after, after, False
        for _ in range(WINDOW_MAX // LOOKED_MAX):
            given = (b"%d" % upto, b"%d" % (limit - len(entries)), wanted)
            came = await one.reader.run(CHANGES, [keys.meta, keys.log], *given)
            if came is None:
                break
            piece = lines(came)
            if upto < piece.trimmed and not was_trimmed:
                was_trimmed = True
            entries.extend(piece.entries)
            upto, head = piece.upto, piece.head
            # What it gave up early for is many bytes, and enough.
            if len(entries) == limit or piece.looked < LOOKED_MAX:
                break
        return Changes(tuple(entries), upto, trimmed=was_trimmed, more=upto < head)

    async def trim(self, before: float, /, *, keep_after: int) -> int:
        """Forget the oldest entries, up to the first that is to be kept, and the marks from before."""
        one = self._opened()
        names = one.dialer.names
        keys = [names.meta, names.log, names.marks, names.marks_at, names.dump]
        entries = marks = LOOKED_MAX
        total = 0
        while LOOKED_MAX in (entries, marks):
            given = (repr(before).encode(), b"%d" % keep_after)
            entries, marks = cast("tuple[int, int]", await one.reader.run(TRIM, keys, *given))
            total += entries
        return total

    @asynccontextmanager
    async def dump(self) -> AsyncGenerator[Dump]:
        """All that is stored, as of one moment; see `hanse.store.dump.Dumpable`.

        Of two dumps of one store at a time, the one that began first is cut short and says so.
        """
        dialer = self._opened().dialer
        async with dumped(dialer, dialer.reach.host.new_id(), [*self._schemas]) as dump:
            yield dump

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], /) -> None:
        """Take in a dump, which takes effect in one step; see `hanse.store.dump.Dumpable`."""
        one = self._opened()
        dialer = one.dialer
        link, log_id = await dialer.dial(), dialer.reach.host.new_id()
        try:
            await Restoring(link, dialer, self._schemas).restore(moment, pieces, log_id)
        except Exception as error:
            # What comes of the pieces, say of their file, is no word on the store.
            if is_lost(error) and not link.is_closed:
                raise
            raise_meaning(error, dialer.place)
        finally:
            link.give_up("the load has ended")
        self._log_id = log_id
        one.committer.renamed(log_id)

    def _searching(self, collection: str) -> tuple[Searcher, CollectionSchema]:
        return self._opened().searcher, self._schema(collection)

    async def _kept(self, key: Callable[[Names], bytes], field: bytes) -> object:
        """What stands in a field of one of the store's own hashes."""
        one = self._opened()
        return await one.reader.ask(b"HGET", key(one.dialer.names), field)


def _own(opened: Opened) -> tuple[Index, ...]:
    """The indexes that these collections declare; those of another version may read rows in another way."""
    declared = {index.name for schema in opened.schemas.values() for index in wanted_of(schema)}
    return tuple(one for one in opened.indexes if one.name in declared)
