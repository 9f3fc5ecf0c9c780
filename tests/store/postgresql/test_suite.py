"""The store on PostgreSQL keeps every promise, against a real server."""

from __future__ import annotations

from itertools import count
from typing import cast

import pytest

from hanse.store.base import Store
from hanse.store.postgresql import PostgresqlStore
from hanse.testing.store import SharedTests, StoreSuite
from hanse.testing.store_commits import CommitTests, ConcurrencyTests, MarkTests
from hanse.testing.store_hooks import StoreHooks
from hanse.testing.store_log import LogTests

from .server import Server

# Each store is a schema with tables of its own, which takes a while to make.
pytestmark = pytest.mark.timeout(600)


class _OnServer(StoreHooks):
    names = count()

    @pytest.fixture(autouse=True)
    def on_server(self, quick_server: Server) -> None:
        self.server = quick_server

    def url(self, name: str) -> str:
        return self.server.store(name)

    async def make(self) -> Store:
        return PostgresqlStore.from_url(self.url(f"suite{next(self.names)}"))

    async def reopen(self, store: Store) -> Store:
        return PostgresqlStore(cast("PostgresqlStore", store)._url)

    async def beside(self, store: Store) -> Store:
        return await self.reopen(store)


class TestPostgresqlStore(_OnServer, StoreSuite):
    pass


class TestPostgresqlStoreBehindAPooler(_OnServer, CommitTests, MarkTests, ConcurrencyTests, LogTests, SharedTests):
    """Nothing is kept in sessions: no statements, no settings."""

    def url(self, name: str) -> str:
        return self.server.store(f"pooled_{name}", prepared="no")
