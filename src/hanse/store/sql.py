"""What stores that speak SQL share: a condition as a tree of clauses, whose leaves each database has in its own way.

Values are always bound, names are quoted. SQL's third truth value is met only under a NOT, where a null condition has
to be false.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, assert_never

import msgspec

from hanse.kernel.faults import TooLarge
from hanse.store.base import CollectionSchema
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Text, Where

PARAMETERS_MAX = 30_000
"""Values bound in one query at most; SQLite itself takes 32,766, PostgreSQL 65,535."""


def literal(text: str) -> str:
    """A text within SQL.

    Example:
        >>> literal("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name within SQL.

    Example:
        >>> identifier('a"b')
        '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


class Statement(msgspec.Struct, frozen=True):
    """One SQL statement and what it binds."""

    text: str
    values: tuple[object, ...]


class SqlCondition(ABC):
    """Compiles conditions on one collection; `values` are what its text binds, in order."""

    true: ClassVar[str]
    """What is true for the database."""
    false: ClassVar[str]
    """What is false for the database."""

    def __init__(self, schema: CollectionSchema) -> None:
        """Begin.

        Args:
            schema: Of the collection.
        """
        self.schema: CollectionSchema = schema
        self.values: list[object] = []

    def where(self, where: Where, *, negated: bool = False) -> str:
        """The condition as SQL; under a NOT (`negated`) it is never null.

        Raises:
            Malformed: A path cannot be written.
            TooLarge: It binds more than `PARAMETERS_MAX` values.
        """
        match where:
            case And(parts):
                return self._join(" AND ", parts, self.true, negated=negated)
            case Or(parts):
                return self._join(" OR ", parts, self.false, negated=negated)
            case Not(part):
                return f"NOT {self.where(part, negated=True)}"
            case Compare() | OneOf() | Text() | Holds():
                text = self.leaf(where)
                if len(self.values) > PARAMETERS_MAX:
                    raise TooLarge("a query's number of values", str(PARAMETERS_MAX))
                return f"coalesce({text}, {self.false})" if negated else f"({text})"
            case _:
                assert_never(where)

    def _join(self, word: str, parts: Sequence[Where], empty: str, *, negated: bool) -> str:
        return f"({word.join(self.where(part, negated=negated) for part in parts) or empty})"

    @abstractmethod
    def leaf(self, where: Compare | OneOf | Text | Holds) -> str:
        """One comparison as SQL. Raises `Malformed` for a path that cannot be written."""


def where_sql(tests: Sequence[str]) -> str:
    """The tests that rows have to pass, behind the name of their table.

    Example:
        >>> where_sql([]), where_sql(["a", "b"])
        ('', ' WHERE a AND b')
    """
    return f" WHERE {' AND '.join(tests)}" if tests else ""
