"""`Replica`: a copy of what another service owns, in the service's own store, to read and not to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NoReturn, Protocol, TypeVar, cast, overload

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import Fault, Misdeclared
from hanse.service.change import Change, Followed
from hanse.service.collection import Page
from hanse.service.query import filter_of
from hanse.store.query import Where

R = TypeVar("R", bound=Resource)
O = TypeVar("O", bound=Resource)  # noqa: E741 - the owner's resource

AtLeast = str | int | None
"""How fresh a read has to be: a cursor of the owner's collection, or the revision of a row that the owner answered."""


class ReplicaBehind(Fault, status=503, close_code=1013, retryable=True, detail="{problem}"):
    """A replica did not come as far as a read asked for in time: its owner is away, or it is being made anew."""

    problem: str


class Replica(Protocol[R]):
    """The rows of a resource that another service owns, copied into this service's own store, and kept up to date.

    Reads are local, with the whole language of queries: joins without calls, and answers while the owner is away. They
    are a little old; `at_least` waits for what must be in them. A row has the revision that its owner gave it, so that
    a `Collection` of the same resource takes it for `if_match`. Writes go to the owner, by such a collection.

    Example:
        >>> class Customer(Resource):
        ...     name: str
        ...     active: bool = True
        >>> class Invoices:
        ...     customers: Replica[Customer]
        ...     named: Replica[Customer] = replica(Customer, where=lambda customer: customer.active)
    """

    async def get(self, id: str, /, *, at_least: AtLeast = None) -> R:
        """One row.

        Args:
            id: Of the row.
            at_least: What must be in the copy: a cursor of the owner's, or a row's revision.

        Raises:
            NotFound: There is none.
            ReplicaBehind: The copy did not come as far in time.
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
        at_least: AtLeast = None,
    ) -> Page[R]:
        """A page of the rows that match; as `Collection.find`, and with `at_least` as `get`."""
        ...

    def scan(
        self, where: Callable[[R], bool] | Where | None = None, /, *, sort: Callable[[R], object] | None = None
    ) -> AsyncIterator[R]:
        """All rows that match, page after page."""
        ...

    async def count(self, where: Callable[[R], bool] | Where | None = None, /) -> int:
        """How many rows match."""
        ...

    def changes(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Change[R]]:
        """The changes of the copy, as it makes them: as `Collection.changes`, with cursors of this service's log."""
        ...

    def follow(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Followed[R]]:
        """The rows of the copy, and then its changes: as `Collection.follow`, with cursors of this service's log."""
        ...

    async def cursor(self) -> str:
        """How far it has come in the owner's log; empty before its first snapshot is whole."""
        ...

    async def caught_up(self, timeout: float = 30.0) -> None:
        """Wait until it has all that the owner had committed when this was called.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ReplicaBehind: It did not come as far in time.
        """
        ...


class Wanted(msgspec.Struct, frozen=True):
    """What a field says about its replica.

    Attributes:
        kind: What its rows are read as.
        source: The resource that they are copied from.
        where: Which of them.
    """

    kind: type[Resource]
    source: type[Resource]
    where: Where | None = None

    def __getattr__(self, name: str) -> NoReturn:
        msg = f"this replica of {self.source.__name__} has no {name!r} before a node has wired its service"
        raise AttributeError(msg)


@overload
def replica(kind: type[R], /, *, where: Callable[[R], bool] | None = None) -> Replica[R]: ...


@overload
def replica(kind: type[R], /, *, of: type[O], where: Callable[[O], bool] | None = None) -> Replica[R]: ...


def replica(
    kind: type[R], /, *, of: type[Resource] | None = None, where: Callable[..., bool] | None = None
) -> Replica[R]:
    """Say which rows of another service a `Replica` field has, and which of their fields.

    Args:
        kind: What its rows are read as: the resource itself, or a class of this service's own with some of its fields.
        of: The resource that they are copied from, where that is another class.
        where: Which rows, as a typed lambda about the owner's resource; a row that ceases to match leaves the copy.

    Raises:
        Misdeclared: `kind` has a field that `of` does not have, or the lambda is none.

    Example:
        >>> class Customer(Resource):
        ...     name: str
        ...     notes: str = ""
        >>> class Named(Resource):
        ...     name: str
        >>> class Invoices:
        ...     customers: Replica[Named] = replica(Named, of=Customer, where=lambda customer: customer.name != "")
    """
    return cast("Replica[R]", wanted(kind, of, where))


def wanted(kind: type[Resource], of: type[Resource] | None, where: Callable[..., bool] | None) -> Wanted:
    """What a field says about its replica, once that is sure to make sense; see `replica`."""
    source = of or kind
    _ = collection_of(source)
    has = {field.encode_name for field in msgspec.structs.fields(source)}
    if lacking := [field.name for field in msgspec.structs.fields(kind) if field.encode_name not in has]:
        raise Misdeclared(
            f"{kind.__name__} is to be copied from {source.__name__}, which has no {lacking[0]!r}; it has "
            f"{', '.join(sorted(has))}"
        )
    return Wanted(kind, source, filter_of(source, where))


class Copied(Resource, collection="replica.states"):
    """How far a replica has come; written with the rows that it has from there, so the two are never apart.

    Attributes:
        id: Name of the field, and digest of what it copies: where that changes, another copy is made.
        cursor: In the owner's log; empty until a snapshot is whole.
        whole: Whether it has been, so that there is something to read.
    """

    cursor: str = ""
    whole: bool = False


STATES = collection_of(Copied)
