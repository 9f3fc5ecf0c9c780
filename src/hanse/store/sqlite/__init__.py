"""The embedded store: one SQLite file, the standard library's driver, one writer with group commit."""

from hanse.store.sqlite.disk import Disk, LocalDisk
from hanse.store.sqlite.lane import InlineLane, Lane, ThreadLane
from hanse.store.sqlite.store import SqliteStore

__all__ = ["Disk", "InlineLane", "Lane", "LocalDisk", "SqliteStore", "ThreadLane"]
