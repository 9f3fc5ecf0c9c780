"""The embedded store: one SQLite file, the standard library's driver, one writer with group commit."""

from hanse.store.sqlite.lane import InlineLane, Lane, ThreadLane
from hanse.store.sqlite.store import SqliteStore

__all__ = ["InlineLane", "Lane", "SqliteStore", "ThreadLane"]
