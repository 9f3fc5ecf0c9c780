"""How processes hear of each other's commits to Redis."""

from __future__ import annotations

import pytest
from tests.store.news_suite import NewsOnServer

from hanse.store.redis import RedisStore

from .helpers import OnRedis

pytestmark = pytest.mark.timeout(120)


class TestNews(OnRedis, NewsOnServer[RedisStore]):
    pass
