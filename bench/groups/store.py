"""The SQLite store, against the standard library's sqlite3 writing a row and a line of a log by hand."""

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
