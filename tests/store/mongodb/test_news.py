"""How processes hear of each other's commits to MongoDB."""

from __future__ import annotations

import pytest
from tests.store.news_suite import NewsOnServer

from hanse.store.mongodb.store import MongodbStore

from .helpers import OnMongodb

pytestmark = pytest.mark.timeout(120)


class TestNews(OnMongodb, NewsOnServer[MongodbStore]):
    pass
