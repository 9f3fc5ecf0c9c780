"""The query tree: one small value for every filter, wherever it runs.

A typed lambda, a query string, a JSON filter and a subscription all become this tree. It is data (it crosses the wire,
it is never evaluated as code), and each store runs it in its own way; `hanse.store.evaluate` is the reference that
every adapter has to agree with.

Semantics, two-valued throughout: a missing path is null; `eq` and `ne` compare as values, null with null too; an
ordering comparison with null or with another type is false; a text test of anything but a string is false. Null orders
as the least value. Ties are ordered by id, so that every order is total.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Scalar = str | int | float | bool | None
"""A value to compare with, as JSON has it: a Decimal or a datetime is its JSON string, typed by the schema."""

Path = tuple[str, ...]
"""Names from the row inwards: `("address", "city")`. `("id",)` and `("rev",)` are the row's own."""

PAGE_MAX = 1_000
"""Rows on one page at most."""


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """The field against a value."""

    op: Literal["eq", "ne", "lt", "le", "gt", "ge"]
    path: Path
    value: Scalar


class OneOf(msgspec.Struct, frozen=True, tag="one_of"):
    """The field equals one of the values."""

    path: Path
    values: tuple[Scalar, ...]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """The field, a string, starts with, ends with or contains a piece; case counts unless folded (`str.casefold`)."""

    op: Literal["starts", "ends", "contains"]
    path: Path
    value: str
    fold: bool = False


class Holds(msgspec.Struct, frozen=True, tag="holds"):
    """The field, a list, holds the value."""

    path: Path
    value: Scalar


class And(msgspec.Struct, frozen=True, tag="and"):
    """All parts match."""

    parts: tuple[Where, ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    """One part matches at least."""

    parts: tuple[Where, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """The part does not match."""

    part: Where


Where = Compare | OneOf | Text | Holds | And | Or | Not
"""A condition on one row."""


class Order(msgspec.Struct, frozen=True):
    """A field to sort by."""

    path: Path
    descending: bool = False


class Query(msgspec.Struct, frozen=True):
    """A page of a collection.

    Attributes:
        where: The condition; None for every row.
        order: Fields to sort by; the id breaks ties, ascending.
        limit: Rows wanted, at most `PAGE_MAX`.
        cursor: Where the page starts: what the page before gave as `next`.
    """

    where: Where | None = None
    order: tuple[Order, ...] = ()
    limit: int = 50
    cursor: str | None = None
