"""Stores on PostgreSQL, as the tests of this folder open them, and connections that know of no store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.store.on_server import OnServer

from hanse.kernel.host import Host
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.committer import Committer
from hanse.store.postgresql.link import Dialer, Link, hang_up
from hanse.store.postgresql.url import parse_url
from hanse.store.remote.crew import Crew
from hanse.store.sql import identifier


class OnPostgresql(OnServer[PostgresqlStore]):
    def make(self, url: str, host: Host) -> PostgresqlStore:
        return PostgresqlStore(parse_url(url), host=host)

    def crew(self, store: PostgresqlStore) -> Crew:
        return store._crew


opened = OnPostgresql().opened
opens = OnPostgresql().opens


@asynccontextmanager
async def linked(url: str) -> AsyncGenerator[tuple[Link, str]]:
    """A connection, and the schema of a store, quoted."""
    link = await Dialer(parse_url(url), Host.system()).dial()
    try:
        yield link, identifier(parse_url(url).schema)
    finally:
        await hang_up(link)


def committer_of(store: PostgresqlStore) -> Committer:
    assert store._open is not None
    return store._open.committer
