"""The stores of an app as dumps, and dumps as the stores of an app.

All stores are dumped as of nearly the same moment: each begins before the first is read. In between, an event may have
gone from one to another; it goes again after a load, and has no second effect. A store that is loaded is
marked until all of it is there, so that a load that was killed is not taken for an empty store, and started on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import CouldNotStart, Fault, Malformed, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings
from hanse.kernel.settings_hide import hidden
from hanse.node.app import App, Part, parts_named
from hanse.node.events import PUBLISHED, subscriptions_of
from hanse.node.hosted import LETTER_KINDS
from hanse.node.schemas import wanted_schemas
from hanse.node.stores import open_store, stored_in, url_for
from hanse.service.job import Job
from hanse.service.shape import Shape, shape_of
from hanse.store.base import Batch, CollectionSchema, Position, Store
from hanse.store.dump import LOADING, Dump, Dumpable, Piece, Positions, Rows, StoreNotEmpty
from hanse.store.dump_text import Counts, Head, Reader, Writer
from hanse.store.query import Query
from hanse.store.schema import require_sound

Write = Callable[[bytes], object]
"""Takes lines of a dump."""

Told = Callable[[Counts], None]
"""Told how much has been done, now and again."""


class Dumping(msgspec.Struct):
    """One store that is being dumped.

    Attributes:
        service: Whose store.
        store: Its URL; passwords are hidden.
        head: The first line of its dump.
        things: About how many rows and entries it has, to tell how far the work is.
        relays: How far relays had come with its log before the first of the stores was at its moment.
        dump: What it holds.
    """

    service: str
    store: str
    head: Head
    things: int
    relays: Mapping[str, int]
    dump: Dump

    async def write(self, write: Write, told: Told) -> Counts:
        """Write all of it, piece by piece; how much it was.

        Raises:
            Unavailable: The store went away.
        """
        writer = Writer()
        write(writer.head(self.head))
        async for piece in self.dump.pieces:
            write(writer.piece(self._held_back(piece)))
            told(writer.counts)
        write(writer.end())
        return writer.counts

    def _held_back(self, piece: Piece) -> Piece:
        if not isinstance(piece, Positions):
            return piece
        trimmed = self.dump.moment.trimmed
        return Positions(
            [
                Position(one.name, max(self.relays[one.name], trimmed)) if one.name in self.relays else one
                for one in piece.positions
            ]
        )


@asynccontextmanager
async def dumping(app: App, settings: Settings, host: Host) -> AsyncGenerator[list[Dumping]]:
    """The stores of the services that a node would host, each as of the moment at which this begins.

    Services that have stored nothing yet are left out.

    Args:
        app: The app.
        settings: Where its stores are.
        host: Its clock, and ids.

    Raises:
        Misconfigured: A setting cannot be used, or a store cannot be dumped.
        CouldNotStart: A store is not one that this version reads, or was not loaded to its end.
        Unavailable: A store cannot be reached.
    """
    relays = {one.name for one in subscriptions_of(app)} | {PUBLISHED}
    async with AsyncExitStack() as opened:
        begun = [
            await _open(app, part, schemas, settings, opened)
            for part in parts_named(app, settings.node.services)
            if (schemas := _stored(app, part, settings)) is not None
        ]
        # How far relays have come is asked before any moment begins. What they hand on since, their subscribers may
        # have handled before their own moment or after it: it is delivered again, and dropped where there is a mark.
        reached = [{name: await one.store.position(name) for name in relays} for one in begun]
        yield [await one.dumping(seen, opened, host.now()) for one, seen in zip(begun, reached, strict=True)]


def _stored(app: App, part: Part, settings: Settings) -> list[CollectionSchema] | None:
    """What the store of a service holds, whatever the app declares now; None where there is nothing yet."""
    url = url_for(settings, part.name)
    if url.partition(":")[0] == "memory":
        raise Misconfigured(f"the store of {part.name} is memory: and ends with its process; say --store URL")
    found = stored_in(url)
    if found is None:
        return wanted_schemas(app, part)
    return [*found.values()] or None


class _Opened(msgspec.Struct):
    """A store that is to be dumped."""

    app: str
    service: str
    shown: str
    store: Store
    collections: list[CollectionSchema]

    async def dumping(self, relays: Mapping[str, int], opened: AsyncExitStack, now: float) -> Dumping:
        dump = await opened.enter_async_context(_dumpable(self.store, self.shown).dump())
        things = dump.moment.head - dump.moment.trimmed
        for one in self.collections:
            things += await self.store.count(one.name, Query())
        head = Head(self.app, self.service, now, dump.moment, self.collections)
        return Dumping(self.service, self.shown, head, things, relays, dump)


async def _open(
    app: App, part: Part, schemas: list[CollectionSchema], settings: Settings, opened: AsyncExitStack
) -> _Opened:
    url = url_for(settings, part.name)
    store, shown = open_store(url), str(hidden(url))
    opened.push_async_callback(store.close)
    await store.open(schemas)
    await require_loaded(store, part.name)
    return _Opened(app.name, part.name, shown, store, schemas)


def _dumpable(store: Store, shown: str) -> Dumpable:
    if isinstance(store, Dumpable):
        return store
    raise Misconfigured(
        f"the store {shown} cannot be dumped or loaded: it lacks the verbs of hanse.store.dump.Dumpable"
    )


async def require_loaded(store: Store, service: str) -> None:
    """Refuse a store of which only a part is there.

    Args:
        store: Open.
        service: Whose it is.

    Raises:
        CouldNotStart: A load into it did not finish.
    """
    if await store.position(LOADING):
        raise CouldNotStart(
            f"the store of {service} was being loaded from a dump, which did not finish: run `hanse store load` again"
        )


class Loading(msgspec.Struct):
    """One store that is being loaded.

    Attributes:
        service: Whose store.
        store: Its URL; passwords are hidden.
    """

    service: str
    store: str
    reader: Reader
    target: Store
    shapes: dict[str, Shape[Any]]

    async def load(self, told: Told) -> Counts:
        """Load all of it, or nothing; how much it was.

        Raises:
            Malformed: The dump is damaged, or holds a row that the service does not allow.
            StoreNotEmpty: Something is stored already.
            Unavailable: The store went away.
        """
        target = _dumpable(self.target, self.store)
        await target.restore(self.reader.head.moment, self._checked(told))
        return self.reader.counts

    async def _checked(self, told: Told) -> AsyncGenerator[Piece]:
        for piece in self.reader.pieces():
            if isinstance(piece, Rows) and (shape := self.shapes.get(piece.collection)) is not None:
                _check(piece, shape)
            yield piece
            told(self.reader.counts)


def _check(piece: Rows, shape: Shape[Any]) -> None:
    for row in piece.rows:
        try:
            shape.decode(row.value)
        except Fault as error:
            raise Malformed(
                f"expected rows of {piece.collection} as {shape.kind.__name__} declares them, got {row.id!r}: {error}"
            ) from None


@asynccontextmanager
async def loading(app: App, settings: Settings, dumps: Sequence[Reader]) -> AsyncGenerator[list[Loading]]:
    """Stores that are ready to be loaded, each marked as such; where this raises, none holds more than before.

    A mark goes when its store is loaded. What is left of the others says so until they are.

    Args:
        app: The app.
        settings: Where its stores are.
        dumps: One for each service that is to be loaded.

    Raises:
        Misconfigured: A dump is of no service of the app, two are of one, or a store cannot be used or loaded.
        CouldNotStart: What a dump holds cannot be read by this version of the app.
        StoreNotEmpty: A store holds something already.
        Unavailable: A store cannot be reached.
    """
    services = [one.head.service for one in dumps]
    if twice := sorted({one for one in services if services.count(one) > 1}):
        raise Misconfigured(f"expected one dump for each service, got several of {twice[0]}")
    parts = {part.name: part for part in parts_named(app, services)} if services else {}
    wanted = {one.head.service: _merged(app, parts[one.head.service], one.head) for one in dumps}
    async with AsyncExitStack() as opened:
        ready = [await _ready(app, parts[one.head.service], one, settings, opened) for one in dumps]
        for one in ready:
            await one.target.open(wanted[one.service])
            if await one.target.head():
                raise StoreNotEmpty(
                    f"expected a store of {one.service} with nothing in it, found entries in {one.store}; load into "
                    "another one, or load the other services with --services"
                )
        for one in ready:
            _ = await one.target.commit(Batch(0.0, positions=(Position(LOADING, 1),)))
        yield ready


def _merged(app: App, part: Part, head: Head) -> list[CollectionSchema]:
    """What the store has to keep: what the app declares, and of the dump what is not declared any more."""
    stored = {one.name: one for one in head.collections}
    try:
        merged = {one.name: one for one in require_sound(stored, wanted_schemas(app, part))}
    except CouldNotStart as refused:
        raise CouldNotStart(f"the dump of {part.name} does not fit this version of the app: {refused.detail}") from None
    return [*{**stored, **merged}.values()]


async def _ready(app: App, part: Part, reader: Reader, settings: Settings, opened: AsyncExitStack) -> Loading:
    url = url_for(settings, part.name)
    shown = str(hidden(url))
    if url.partition(":")[0] == "memory":
        raise Misconfigured(f"the store of {part.name} is memory: and ends with this command; say --store URL")
    store = open_store(url)
    _ = _dumpable(store, shown)
    opened.push_async_callback(store.close)
    owned = [kind for kind, owner in app.owners.items() if owner is part]
    kinds: list[type[Resource]] = [*owned, *LETTER_KINDS, Job]
    return Loading(part.name, shown, reader, store, {collection_of(kind): shape_of(kind) for kind in kinds})
