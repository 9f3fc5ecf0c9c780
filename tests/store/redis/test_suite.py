"""The store on Redis keeps every promise, against a real server."""

from __future__ import annotations

from itertools import count
from typing import cast

import pytest

from hanse.store.base import Store
from hanse.store.redis import RedisStore
from hanse.testing.store import StoreSuite

from .server import Server

pytestmark = pytest.mark.timeout(600)


class TestRedisStore(StoreSuite):
    names = count()

    @pytest.fixture(autouse=True)
    def on_server(self, quick_server: Server) -> None:
        self.server = quick_server

    async def make(self) -> Store:
        return RedisStore.from_url(self.server.store(f"suite{next(self.names)}"))

    async def reopen(self, store: Store) -> Store:
        return RedisStore(cast("RedisStore", store)._url)

    async def beside(self, store: Store) -> Store:
        return await self.reopen(store)
