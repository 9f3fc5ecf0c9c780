"""The stores on disks, against their drivers writing a row and a line of a log by hand."""

from __future__ import annotations

from typing import NamedTuple

from plan import Case, Column, Group
from process import python_case


def _pair(name: str, case: str, about: str) -> tuple[Case, Case]:
    by_hand = f"{name}, sqlite3 by hand"
    return (
        Case(by_hand, python_case("store.py", f"raw_{case}"), about, by_hand),
        Case(f"{name}, Hanse", python_case("store.py", case), about, by_hand),
    )


GROUP = Group(
    "store",
    "SQLite store",
    "",
    (Column("cpu_us", "CPU µs", 1),),
    (
        *_pair("load", "load", "one row of 10,000 by its id"),
        *_pair("commit", "commit", "one row and its entry in the log, one transaction after the other"),
        *_pair("commit, 64 at once", "commit_64", "64 writers; by hand, 64 rows in one transaction"),
        *_pair("tail", "tail", "an entry of the log, read 1,000 at once; Hanse's are decoded and typed"),
    ),
)


class _OnServer(NamedTuple):
    """A store on a server, and what is said of its cases.

    Attributes:
        name: What people call it.
        driver: What it is beside.
        rows: That are looked among.
        found: How a page of them is.
        flushed: What a commit is besides.
        crowd: Whom 64 writers are by hand.
    """

    name: str
    driver: str
    rows: str
    found: str
    flushed: str
    crowd: str

    def group(self, title: str) -> Group:
        return Group(
            f"store_{self.name.lower()}",
            title,
            "",
            (
                Column("took_us", "µs", 0),
                Column("cpu_us", "CPU µs of the client", 0),
                Column("per_second", "a second", 0),
            ),
            (
                *self._pair("load", "load", f"one row of {self.rows} by its id"),
                *self._pair("find", "find", f"20 rows of {self.rows}{self.found}"),
                *self._pair("commit", "commit", f"a row and its entry in the log{self.flushed}, one after the other"),
                *self._pair("commit, 64 at once", "commit_64", f"64 writers; by hand, {self.crowd}"),
            ),
        )

    def _pair(self, name: str, case: str, about: str) -> tuple[Case, Case]:
        by_hand, script = f"{name}, {self.driver} by hand", f"store_{self.name.lower()}.py"
        return (
            Case(by_hand, python_case(script, f"raw_{case}"), about, by_hand),
            Case(f"{name}, Hanse on {self.name}", python_case(script, case), about, by_hand),
        )


_BY_ID = " in the order of ids, by a number that has an index"

POSTGRESQL = _OnServer("PostgreSQL", "asyncpg", "10,000", _BY_ID, ", flushed", "on a pool of 16 connections").group(
    "PostgreSQL store"
)
MONGODB = _OnServer("MongoDB", "pymongo", "2,000", _BY_ID, "", "each with a transaction").group(
    "MongoDB store, on a server that speaks its protocol"
)
REDIS = _OnServer(
    *("Redis", "redis-py", "10,000", ", from a number on, by an index", " and index, flushed"),
    "each a transaction on a pool",
).group("Redis store")
