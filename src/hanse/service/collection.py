"""Collections: one way of create, get, find, patch and delete for every resource, and the feed of its changes.

`Collection[Order]` is the same to its users whether its rows are in this service's own store or another service
owns them; which it is, is decided when the node starts. Two methods are all that tells the kinds apart:
`_rows` (where the rows are) and what a write joins (the handler's unit of work, or a commit of its own).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from hanse.contract.model import Resource
from hanse.service.change import Change, Followed
from hanse.store.query import Where

R = TypeVar("R", bound=Resource)


class Page(msgspec.Struct, Generic[R], frozen=True):
    """A page of rows.

    Attributes:
        items: The rows.
        next: The cursor of the page after this; None where this is the last.
    """

    items: list[R]
    next: str | None


class Collection(Protocol[R]):
    """The rows of a resource.

    Every write within a handler joins its unit of work: it is seen by reads of the same handler at once, and by others
    when the handler has returned. Elsewhere each write commits by itself.
    """

    async def get(self, id: str, /) -> R:
        """One row.

        Raises:
            NotFound: There is none.
        """
        ...

    async def find(
        self,
        where: Callable[[R], bool] | Where | None = None,
        /,
        *,
        sort: Callable[[R], object] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[R]:
        """A page of the rows that match.

        Args:
            where: A typed lambda, such as `lambda o: (o.status == "paid") & (o.amount > 3)`; None for all.
            sort: A field, `desc(field)`, or a tuple of them, of the lambda's row; the id breaks ties.
            limit: Rows on the page, at most 1,000.
            cursor: The `next` of the page before.

        Raises:
            Malformed: The cursor is not one of this query.
        """
        ...

    def scan(
        self, where: Callable[[R], bool] | Where | None = None, /, *, sort: Callable[[R], object] | None = None
    ) -> AsyncIterator[R]:
        """All rows that match, page after page."""
        ...

    async def count(self, where: Callable[[R], bool] | Where | None = None, /) -> int:
        """How many rows match."""
        ...

    async def create(self, value: R, /) -> R:
        """Add a row, under its id or, where that is empty, a new one (UUIDv7).

        Raises:
            Conflict: There is one of this id.
        """
        ...

    async def put(self, value: R, /, *, if_match: int | None = None) -> R:
        """Write a row whole, whether it exists or not.

        A value that was read from the collection knows its revision, and is written only over that one: what somebody
        else wrote in between is never lost silently.

        Args:
            value: The row, with its id.
            if_match: Revision that the row must be at; by default the value's own, if it has one.

        Raises:
            PreconditionFailed: The row is at another revision.
        """
        ...

    async def patch(self, id: str, /, *, if_match: int | None = None, **changes: object) -> R:
        """Change some fields of a row: `await orders.patch(id, status="paid")`.

        Raises:
            NotFound: There is no such row.
            Invalid: A field does not exist, or its value is not of its type; lists every error.
            PreconditionFailed: `if_match` is given and the row is at another revision.
        """
        ...

    async def delete(self, id: str, /, *, if_match: int | None = None) -> None:
        """Remove a row.

        Raises:
            NotFound: There is no such row.
            PreconditionFailed: `if_match` is given and the row is at another revision.
        """
        ...

    async def cursor(self) -> str:
        """Where the log is now: `changes(after=...)` goes on from there."""
        ...

    def changes(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Change[R]]:
        """The changes of the rows that match, from now on or after a cursor; gapless, and never ending.

        The filter makes a view: a row that comes to match is `Created` in it, one that ceases to is `Deleted`.

        Raises:
            CursorLost: The log does not reach back to the cursor any more.
        """
        ...

    def follow(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Followed[R]]:
        """The rows that match (each `Existing`), `Ready`, and then their changes, without a gap between.

        With a cursor, only changes after it; where the log does not reach back to it, `Reset` and a new snapshot.
        """
        ...
