"""What a store on a server is, whatever is said to that server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hanse.kernel.faults import NotFound
from hanse.kernel.host import Host
from hanse.store.base import Batch, CollectionSchema, Features
from hanse.store.remote.crew import Crew
from hanse.store.waiting import closed

U = TypeVar("U")
T = TypeVar("T")


class RemoteStore(Generic[U, T]):
    """A URL, a crew, and what there is while it is open; each kind opens, reads and closes by itself."""

    def __init__(self, url: U, *, host: Host | None = None) -> None:
        """Name a place; `open` opens it.

        Args:
            url: Where it is.
            host: Clock, chance and ids; by default, the host of the context that opens the store.
        """
        self._url = url
        self._host = host
        self._log_id = ""
        self._schemas: dict[str, CollectionSchema] = {}
        self._open: T | None = None
        self._crew = Crew(logging.getLogger(type(self).__module__))

    @property
    def features(self) -> Features:
        """Durable and shared."""
        return Features(durable=True, shared=True)

    @property
    def log_id(self) -> str:
        """Minted with the store, and kept in it; another one where its server may have lost the end of the log."""
        return self._log_id

    @property
    def commits(self) -> int:
        """Batches that this process has committed; see `CountsCommits`."""
        return self._crew.commits

    @property
    def late(self) -> int:
        """Batches of this process that it refused as late; see `CountsLate`."""
        return self._crew.late

    async def commit(self, batch: Batch, /) -> tuple[int, ...]:
        """Write it all, or nothing, in one step of the server with whatever else is waiting."""
        return await self._crew.commit(batch)

    def listen(self, wake: Callable[[], None], /, *, names: Sequence[str] | None = None) -> Callable[[], None]:
        """Have `wake` called after commits, those of other processes included."""
        return self._crew.listen(wake, names)

    def _opened(self) -> T:
        if self._open is None:
            raise closed()
        return self._open

    def _schema(self, collection: str) -> CollectionSchema:
        schema = self._schemas.get(collection)
        if schema is None:
            raise NotFound("collection", collection)
        return schema
