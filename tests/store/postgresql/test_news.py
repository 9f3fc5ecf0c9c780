"""How processes hear of each other's commits to PostgreSQL."""

from __future__ import annotations

import pytest
from tests.store.news_suite import NewsOnServer
from tests.store.on_server import heard
from tests.store.proxy import between

from hanse.store.postgresql import PostgresqlStore
from hanse.testing.store_hooks import batch, put

from .helpers import OnPostgresql, opened
from .server import Server

pytestmark = pytest.mark.timeout(120)


class TestNews(OnPostgresql, NewsOnServer[PostgresqlStore]):
    pass


async def test_commits_are_heard_of_where_a_pooler_swallows_news(url: str, quick_server: Server) -> None:
    async with between(quick_server.port) as proxy:
        proxy.swallows_news = True
        async with opened(url) as store, opened(f"{proxy.url(url)}&sslmode=disable") as other:
            for number in range(3):
                await heard(store, other, batch(put(str(number))))
