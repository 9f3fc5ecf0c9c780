"""The embedded store: one SQLite file, the standard library's driver, one writer with group commit."""

from hanse.store.sqlite.desk import Desk, InlineDesk, ThreadDesk
from hanse.store.sqlite.disk import Disk, LocalDisk
from hanse.store.sqlite.store import SqliteStore

__all__ = ["Desk", "Disk", "InlineDesk", "LocalDisk", "SqliteStore", "ThreadDesk"]
