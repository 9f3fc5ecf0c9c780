"""Each of our stores keeps every promise."""

from itertools import count
from pathlib import Path
from typing import cast

import pytest

from hanse.store.base import Store
from hanse.store.memory import MemoryStore
from hanse.store.sqlite import InlineDesk, SqliteStore
from hanse.testing.store import StoreSuite


class TestMemoryStore(StoreSuite):
    async def make(self) -> Store:
        return MemoryStore()


class TestSqliteInMemory(StoreSuite):
    async def make(self) -> Store:
        return SqliteStore(":memory:")


class TestSqliteWithThreads(StoreSuite):
    names = count()

    @pytest.fixture(autouse=True)
    def in_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    async def make(self) -> Store:
        return self.store(self.folder / f"{next(self.names)}.db")

    async def reopen(self, store: Store) -> Store:
        return self.store(cast("SqliteStore", store)._path)

    async def beside(self, store: Store) -> Store:
        return self.store(cast("SqliteStore", store)._path)

    def store(self, path: str | Path) -> SqliteStore:
        return SqliteStore(path)


class TestSqliteInline(TestSqliteWithThreads):
    def store(self, path: str | Path) -> SqliteStore:
        return SqliteStore(path, desk=InlineDesk())
