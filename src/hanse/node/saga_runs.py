"""Sagas as operators reach them: the contract that each service with sagas serves about them, within the system only.

Reading needs the scope `sagas:read`, acting `sagas:write`, which includes it. Whoever acts is kept in the journal.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, cast

import msgspec

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import Description, describe_as
from hanse.contract.guard import Guard, scope
from hanse.contract.model import Model
from hanse.delivery.saga_rows import State
from hanse.kernel.faults import Misdeclared
from hanse.mesh.client import Caller, client_of
from hanse.service.about import About
from hanse.service.saga_method import pinned_in
from hanse.service.service import Service, service_name
from hanse.store.query import And, Compare, OneOf, Where

WRITE: Guard = scope("sagas:write")
"""Who may have sagas go on or turn back."""

READ: Guard = scope("sagas:read") | WRITE
"""Who may see them."""

STEPS_SHOWN_MAX = 1_000
"""Steps that are shown of one saga: the last ones."""


class SagaSelection(Model):
    """Which sagas are meant: those that fit all of this.

    Attributes:
        states: In one of these; empty for any.
        name: `service.method`; empty for any.
        tags: Whose story has all of these.
        begun_before: Begun before this wall-clock second; 0 for any.

    Example:
        >>> SagaSelection(states=("stuck",)).where()
        OneOf(path=('state',), values=('stuck',))
    """

    states: tuple[State, ...] = ()
    name: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    begun_before: float = 0.0

    def where(self) -> Where | None:
        """The same as a filter of rows; None for all."""
        parts: list[Where] = [OneOf(("state",), self.states)] if self.states else []
        parts += [Compare("eq", ("name",), self.name)] if self.name else []
        parts += [Compare("eq", ("tags", tag), value) for tag, value in self.tags.items()]
        parts += [Compare("lt", ("started_at",), self.begun_before)] if self.begun_before else []
        return (parts[0] if len(parts) == 1 else And(tuple(parts))) if parts else None


class SagaLine(Model):
    """A saga in short; see `hanse.delivery.saga_rows.SagaRow`.

    Attributes:
        step: What it is stuck at, or tries again; empty where neither.
        why: What that failed with, or why it turned back.
    """

    id: str
    rev: int
    name: str
    version: int
    state: State
    started_at: float
    ended_at: float
    due: float
    step: str
    why: str
    tags: dict[str, str]


class SagaPage(Model):
    """A page of them, and where the next one starts (None at the end)."""

    items: list[SagaLine]
    next: str | None = None


class SagaStepLine(Model):
    """One thing that a saga did, or waits for; see `hanse.delivery.saga_rows.SagaStep`."""

    name: str
    kind: str
    begun_at: float
    at: float
    attempts: int = 1
    text: str = ""
    closed: bool = True
    until: float = 0.0
    unsettled: bool = False
    by: str = ""


class SagaShown(Model):
    """A saga with all that is known of it.

    Attributes:
        line: In short.
        arguments: In JSON.
        result: In JSON; empty until it is done.
        stuck_in: The state that it was in when it got stuck; empty where it is not.
        subject: On whose behalf it runs.
        traceparent, correlation_id: Where its story is found.
        steps: What it did and waits for, in that order: the last `STEPS_SHOWN_MAX`.
        left_out: How many steps came before those.
    """

    line: SagaLine
    arguments: str
    result: str = ""
    stuck_in: str = ""
    subject: str = ""
    traceparent: str = ""
    correlation_id: str = ""
    steps: list[SagaStepLine] = msgspec.field(default_factory=list)
    left_out: int = 0


class SagaRuns(Contract, Protocol):
    """The sagas of one service."""

    @rpc(idempotent=True, allow=READ)
    async def find(self, which: SagaSelection, *, limit: int = 50, cursor: str | None = None) -> SagaPage:
        """A page of those that match, the newest first. Raises Malformed on another query's cursor."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def count(self, which: SagaSelection) -> int:
        """How many match."""
        ...

    @rpc(idempotent=True, allow=READ)
    async def get(self, id: str) -> SagaShown:
        """One of them, with what it did when. Raises NotFound."""
        ...

    @rpc(allow=WRITE)
    async def resume(self, id: str) -> SagaLine:
        """Have one that is stuck go on where it was. Raises NotFound, Conflict (it is not stuck)."""
        ...

    @rpc(allow=WRITE)
    async def abort(self, id: str) -> SagaLine:
        """Have one turn back: what it did is undone. Raises NotFound, Conflict (it is over, or on its way back)."""
        ...


@lru_cache(maxsize=4096)
def saga_contract(service: str) -> Description:
    """The contract under which the sagas of a service are served, made once."""
    return describe_as(SagaRuns, f"sagas/{service}")


def sagas_of(service: type[Service], /) -> SagaRuns:
    """Say whose sagas a field of type `SagaRuns` has: a service so sees them, and acts on them, by calls.

    The guards hold for whoever asked that service: it hands on no more than they may see. What it shows to the outside
    is its own affair, and nothing by default.

    Args:
        service: The class of the service whose they are; the app has to have it.

    Raises:
        Misdeclared: It has no sagas.

    Example:
        >>> from hanse.service.saga import Saga
        >>> from hanse.service.saga_method import saga
        >>> class Orders(Service):
        ...     @saga
        ...     async def place(self, s: Saga, sku: str) -> None: ...
        >>> class Office(Service):
        ...     under_way: SagaRuns = sagas_of(Orders)
    """
    if not pinned_in(service):
        raise Misdeclared(f"sagas_of({service.__name__}) has nothing to show: none of its methods is an `@saga`")
    return cast("SagaRuns", About(service, saga_contract(service_name(service))))


def sagas_client(service: str, caller: Caller) -> SagaRuns:
    """A client of the sagas of a service, wherever its store is."""
    return cast("SagaRuns", client_of(saga_contract(service), caller))
