"""The stores on disks, against their drivers writing a row and a line of a log by hand."""

from __future__ import annotations

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


def _server_pair(
    name: str, case: str, about: str, server: tuple[str, str] = ("asyncpg", "PostgreSQL")
) -> tuple[Case, Case]:
    by_hand, script = f"{name}, {server[0]} by hand", f"store_{server[1].lower()}.py"
    return (
        Case(by_hand, python_case(script, f"raw_{case}"), about, by_hand),
        Case(f"{name}, Hanse on {server[1]}", python_case(script, case), about, by_hand),
    )


POSTGRESQL = Group(
    "store_postgresql",
    "PostgreSQL store",
    "",
    (Column("took_us", "µs", 0), Column("cpu_us", "CPU µs of the client", 0), Column("per_second", "a second", 0)),
    (
        *_server_pair("load", "load", "one row of 10,000 by its id"),
        *_server_pair("find", "find", "20 rows of 10,000 in the order of ids, by a number that has an index"),
        *_server_pair("commit", "commit", "one row and its entry in the log, flushed, one after the other"),
        *_server_pair("commit, 64 at once", "commit_64", "64 writers; by hand, on a pool of 16 connections"),
    ),
)

_MONGODB = ("pymongo", "MongoDB")

MONGODB = Group(
    "store_mongodb",
    "MongoDB store, on a server that speaks its protocol",
    "",
    (Column("took_us", "µs", 0), Column("cpu_us", "CPU µs of the client", 0), Column("per_second", "a second", 0)),
    (
        *_server_pair("load", "load", "one row of 2,000 by its id", _MONGODB),
        *_server_pair("find", "find", "20 rows of 2,000 in the order of ids, by a number that has an index", _MONGODB),
        *_server_pair("commit", "commit", "one row and its entry in the log, one after the other", _MONGODB),
        *_server_pair("commit, 64 at once", "commit_64", "64 writers; by hand, each with a transaction", _MONGODB),
    ),
)

_REDIS = ("redis-py", "Redis")

REDIS = Group(
    "store_redis",
    "Redis store",
    "",
    (Column("took_us", "µs", 0), Column("cpu_us", "CPU µs of the client", 0), Column("per_second", "a second", 0)),
    (
        *_server_pair("load", "load", "one row of 10,000 by its id", _REDIS),
        *_server_pair("find", "find", "20 rows of 10,000, from a number on, by an index", _REDIS),
        *_server_pair("commit", "commit", "a row, its index and its entry in the log, flushed, one by one", _REDIS),
        *_server_pair("commit, 64 at once", "commit_64", "64 writers; by hand, each a transaction on a pool", _REDIS),
    ),
)
