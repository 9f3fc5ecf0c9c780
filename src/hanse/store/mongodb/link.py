"""The client of MongoDB as a store uses it: what is asked of the server, and how surely.

All is written to a majority and its journals, and read from the primary as a majority has it. Each read comes after the
last commit of this process, whichever server is the primary by then: the session tells the server how late it has to
be. While no server can be reached, only now and then somebody waits for one, and all others are told at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol, TypeVar, cast, final
from urllib.parse import parse_qsl, urlencode, urlunsplit

import pymongo
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient, DeleteOne, InsertOne, ReadPreference, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.url import split_url
from hanse.store.mongodb.failures import is_lost, raise_meaning
from hanse.store.mongodb.url import MongodbUrl
from hanse.store.remote.reach import Reach

T = TypeVar("T")

Document = dict[str, object]
Client = AsyncMongoClient[Document]
Database = AsyncDatabase[Document]
Books = AsyncCollection[Document]
"""A collection of MongoDB, which is not what Hanse calls one."""

Session = AsyncClientSession

Write = InsertOne[Document] | ReplaceOne[Document] | UpdateOne | DeleteOne
"""One of several writes."""

CONNECT_SECONDS = 3.0
"""For which a server is looked for, and has the time to answer when it is connected to."""

ANSWER_SECONDS = 10.0
"""For which the server has the time to do what it is asked; then the connection is given up."""

AGREE_SECONDS = 8.0
"""For which most members of the replica set have the time to write down what is committed."""

LASTING = WriteConcern("majority", j=True, wtimeout=int(AGREE_SECONDS * 1_000))
AGREED = ReadConcern("majority")
OF_ONE_MOMENT = ReadConcern("snapshot")

STATE = "state"
"""The id of the one document that says where the store is."""


def _with_usual(server: str) -> str:
    """A URL that tells the driver what we want, unless it says something else."""
    parts, milliseconds = split_url(server), int(CONNECT_SECONDS * 1_000)
    usual = {
        "connectTimeoutMS": str(milliseconds),
        "serverSelectionTimeoutMS": str(milliseconds),
        "socketTimeoutMS": str(int(ANSWER_SECONDS * 1_000)),
        "appName": "hanse",
    }
    said = parse_qsl(parts.query, keep_blank_values=True)
    names = {name.lower() for name, _ in said}
    more = [(name, value) for name, value in usual.items() if name.lower() not in names]
    return urlunsplit(parts._replace(path=parts.path or "/", query=urlencode([*said, *more])))


class _Writes(Protocol):
    """What a client can, without what the driver's annotation leaves open."""

    async def bulk_write(
        self, models: Sequence[Write], session: Session | None = None, *, verbose_results: bool = False
    ) -> object: ...


@final
class Link:
    """The client of one store."""

    def __init__(self, url: MongodbUrl, host: Host) -> None:
        """Connect to nothing yet; on the loop that will use it.

        Args:
            url: Of the store.
            host: Its clock, and chance for pauses.

        Raises:
            Misconfigured: The driver does not take the URL.
        """
        self.url: MongodbUrl = url
        self.host: Host = host
        self.reach: Reach = Reach(url.place, host)
        try:
            self.client: Client = AsyncMongoClient(_with_usual(url.server), maxPoolSize=url.connections)
        except (ConfigurationError, ValueError, TypeError) as error:
            raise Misconfigured(f"the URL of the store {url.place} cannot be used: {error}") from None
        self._operation_time: Timestamp | None = None
        self._cluster_time: Mapping[str, object] | None = None

    @property
    def place(self) -> str:
        """Which store, without secrets."""
        return self.url.place

    @property
    def database(self) -> Database:
        """All its collections, read as a majority has them, and written to last."""
        return self.client.get_database(
            self.url.database, read_concern=AGREED, write_concern=LASTING, read_preference=ReadPreference.PRIMARY
        )

    def books(self, name: str, concern: ReadConcern | None = None) -> Books:
        """One of the store's collections, by its name behind the prefix."""
        return self.database.get_collection(self.url.collection(name), read_concern=concern)

    def namespace(self, name: str) -> str:
        """The same, as one writes it to several at once."""
        return f"{self.url.database}.{self.url.collection(name)}"

    def session(self) -> Session:
        """One that comes after the last commit of this process."""
        session = self.client.start_session(causal_consistency=True)
        if self._operation_time is not None and self._cluster_time is not None:
            session.advance_cluster_time(self._cluster_time)
            session.advance_operation_time(self._operation_time)
        return session

    def saw(self, session: Session) -> None:
        """What comes now comes after what a session did."""
        self._operation_time, self._cluster_time = session.operation_time, session.cluster_time

    async def ask(self, question: Callable[[Session], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Read, or do what may be done twice.

        Args:
            question: Asked in a session; more than once where connections break.
            seconds: For which it may take; None for the usual.

        Raises:
            Unavailable: The server is away.
            Malformed, TooLarge: It cannot take a value.
        """
        self.reach.check()
        try:
            with pymongo.timeout(seconds) if seconds is not None else nullcontext():
                async with self.session() as session:
                    found = await question(session)
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            if is_lost(error):
                self.reach.failed(f"the store {self.place} is away: {error}; see to its server, then try again")
            raise_meaning(error, self.place)
        self.reach.found()
        return found

    async def write(self, models: Sequence[Write], session: Session) -> None:
        """Write to several collections at once."""
        _ = await cast("_Writes", self.client).bulk_write(models, session=session, verbose_results=False)

    async def close(self) -> None:
        """End all connections."""
        await self.client.close()
