"""Handlers that nobody calls: `@on` an event or a change, a `@rule` about rows, `@every` so often, by `@cron`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, cast, overload

import msgspec

from hanse.contract.model import Event, Resource
from hanse.kernel.cron import Cron, checked_cron
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misdeclared
from hanse.service.change import Change
from hanse.service.held import Held
from hanse.service.query import filter_of, sorting_of
from hanse.store.query import Path, Where

S = TypeVar("S")
E = TypeVar("E", bound=Event)
R = TypeVar("R", bound=Resource)
Handler = Callable[..., Awaitable[None]]

ATTEMPTS = 5
"""How often a handler is tried before its message is parked."""

SWEEP_SECONDS = 60.0
"""How often a rule looks at all rows, unless it says otherwise."""

LEASE_SECONDS = 30.0
"""How long a rule holds a row, unless it says otherwise."""


class On(msgspec.Struct, frozen=True):
    """What `@on` says: run for each event (or change of a resource), once in effect per group."""

    kind: type[Event | Resource]
    group: str
    key: Callable[[Any], str] | None
    attempts: int
    ordered: bool = True


class Rule(msgspec.Struct, frozen=True):
    """What `@rule` says: run for each row that matches, when it changes and on each sweep; one holder at a time.

    Attributes:
        kind, where: Which rows.
        every, lease: Seconds between two sweeps, and those that a run may hold its row.
        concurrency: Rows worked on at once.
        at: The field that says from which wall-clock second on a row is to be looked at; None for at once.
        per: The field whose values share the places; None where all rows do.
        per_concurrency: Rows with one value of it that are worked on at once.
    """

    kind: type[Resource]
    where: Where | None
    every: float
    lease: float
    concurrency: int
    at: Path | None = None
    per: Path | None = None
    per_concurrency: int = 0


class Every(msgspec.Struct, frozen=True):
    """What `@every` says: run once per period."""

    period: float

    def shown(self, moment: float) -> datetime:
        """A moment, in seconds of the wall clock, as it is told to the method."""
        return datetime.fromtimestamp(moment, UTC)


Reaction = On | Rule | Every | Cron


@overload
def on(
    kind: type[E],
    /,
    *,
    key: Callable[[E], str] | None = None,
    group: str = "",
    attempts: int = ATTEMPTS,
    ordered: bool = True,
) -> Callable[[Callable[[S, E], Awaitable[None]]], Callable[[S, E], Awaitable[None]]]: ...


@overload
def on(
    kind: type[R],
    /,
    *,
    key: Callable[[Change[R]], str] | None = None,
    group: str = "",
    attempts: int = ATTEMPTS,
    ordered: bool = True,
) -> Callable[[Callable[[S, Change[R]], Awaitable[None]]], Callable[[S, Change[R]], Awaitable[None]]]: ...


def on(kind: Any, /, *, key: Any = None, group: str = "", attempts: int = ATTEMPTS, ordered: bool = True) -> Any:
    """Run a method for each event of a type, or each change of a resource.

    The handler is a unit of work, and runs once in effect per subscriber group, whatever is delivered twice or killed
    in between. One that keeps failing parks its message as a dead letter.

    Args:
        kind: The event, or the resource.
        key: Messages of one key are handled in order (a change is keyed by its row's id unless you say otherwise);
            without it, all run side by side.
        group: Subscribers of one group share the work; by default each method is a group, `service.method`.
        attempts: How often it is tried before the message is parked.
        ordered: Whether later messages of a key wait behind one of it that was parked, until that is replayed or
            dropped. Say False where each says all by itself, so that the next one makes up for the one that failed.

    Example:
        >>> class OrderPlaced(Event):
        ...     order_id: str
        >>> class Mailer:
        ...     @on(OrderPlaced, key=lambda event: event.order_id)
        ...     async def receipt(self, event: OrderPlaced) -> None: ...
    """
    _check_kind("@on", kind, Event, Resource)
    return _marker(On(cast("type[Event]", kind), group, key, attempts, ordered), 1)


def rule(  # noqa: PLR0913 - all that may be said of a rule, by name; most say little
    kind: type[R],
    /,
    *,
    where: Callable[[R], bool] | None = None,
    every: Duration = SWEEP_SECONDS,
    lease: Duration = LEASE_SECONDS,
    concurrency: int = 1,
    at: Callable[[R], float] | None = None,
    per: Callable[[R], str] | None = None,
    per_concurrency: int = 1,
) -> Callable[[Callable[[S, Held[R]], Awaitable[None]]], Callable[[S, Held[R]], Awaitable[None]]]:
    """Run a method for each row that matches: when it changes, and again on each sweep, so that nothing is forgotten.

    The row is held while the method runs: nobody else runs this rule for it, and what is written through the `Held`
    is refused once the lease is over.

    Args:
        kind: The resource.
        where: Which rows, as a typed lambda.
        every: How often to look at all rows that match.
        lease: How long a run may hold its row.
        concurrency: Rows worked on at once.
        at: A field with the wall-clock second before which a row is left alone: a timer that outlives the process.
        per: A field of text: rows that have the same take turns with those of others, so that a customer with much
            to do, or whose work is slow, keeps no other waiting.
        per_concurrency: Rows with the same value of that field that are worked on at once.

    Example:
        >>> class Order(Resource):
        ...     status: str = "new"
        >>> class Reminder:
        ...     @rule(Order, where=lambda order: order.status == "new", every="10m", lease="30s")
        ...     async def remind(self, order: Held[Order]) -> None: ...
    """
    _check_kind("@rule", kind, Resource)
    said = Rule(
        kind,
        filter_of(kind, where),
        seconds(every),
        seconds(lease),
        concurrency,
        _field(kind, "at", at),
        _field(kind, "per", per),
        0 if per is None else per_concurrency,
    )
    marker: Callable[[Callable[[S, Held[R]], Awaitable[None]]], Callable[[S, Held[R]], Awaitable[None]]] = _marker(
        said, 1
    )
    return marker


def _field(kind: type[R], name: str, lambda_: Callable[[R], object] | None) -> Path | None:
    """The one field that a typed lambda names.

    Raises:
        Misdeclared: It names several, or none.
    """
    fields = sorting_of(kind, lambda_)
    if lambda_ is not None and (len(fields) != 1 or fields[0].descending):
        raise Misdeclared(f"expected {name}= of @rule to be one field of {kind.__name__}, such as `lambda row: row.id`")
    return fields[0].path if fields else None


class Scheduled(Protocol):
    """What makes a schedule of a method that takes nothing, or the moment that it runs for."""

    @overload
    def __call__(self, method: Callable[[S], Awaitable[None]], /) -> Callable[[S], Awaitable[None]]: ...

    @overload
    def __call__(
        self, method: Callable[[S, datetime], Awaitable[None]], /
    ) -> Callable[[S, datetime], Awaitable[None]]: ...


def every(period: Duration, /) -> Scheduled:
    """Run a method once per period; a run that takes longer is not overtaken by the next.

    A method with an argument of type `datetime` is given the moment that it runs for, in UTC.

    Args:
        period: Such as `"1h"`.

    Raises:
        Misdeclared: The method takes something else.

    Example:
        >>> class Meter:
        ...     @every("1h")
        ...     async def read(self, due: datetime) -> None: ...
    """
    return _scheduled(Every(seconds(period)))


def cron(expression: str, /, *, zone: str = "UTC") -> Scheduled:
    """Run a method at the moments of a cron expression, once in the whole fleet; `hanse[standard]` reads them.

    Moments that pass while nobody is there, or while a run is under way, are told and not made up for, but for one that
    passed within the last minute. A method with an argument of type `datetime` is given the moment that it runs for, as
    clocks in the zone show it: the one that was due, however late it runs.

    Args:
        expression: Minute, hour, day of the month, month, day of the week, as Debian's cron understands them.
        zone: By whose clocks, such as `"Europe/Berlin"`. What falls into the hour that is skipped in spring runs right
            after it; what falls into the one that comes twice in autumn runs once, unless it runs in every hour.

    Raises:
        Misdeclared: It is no cron expression, or no such zone; or the method takes something else.

    Example:
        >>> class Mailer:
        ...     @cron("30 7 * * mon-fri", zone="Europe/Berlin")
        ...     async def digest(self) -> None: ...
    """
    return _scheduled(checked_cron(expression, zone))


def _check_kind(decorator: str, kind: object, *bases: type) -> None:
    if not (isinstance(kind, type) and issubclass(kind, bases)):
        wanted = " or ".join(base.__name__ for base in bases)
        raise Misdeclared(f"{decorator} takes a class derived from {wanted}, got {kind!r}")


def _marker(reaction: Reaction, arguments: int) -> Any:  # noqa: ANN401 - each decorator gives it the type that it needs
    def mark(method: Handler) -> Handler:
        wanted = len(_arguments_of(method))
        if wanted != arguments:
            word = type(reaction).__name__.lower()
            raise Misdeclared(
                f"@{word} gives {arguments} argument(s) beside self, but {method.__qualname__} takes {wanted}"
            )
        method.__hanse_reaction__ = reaction  # type: ignore[attr-defined]
        return method

    return mark


def _scheduled(reaction: Every | Cron) -> Scheduled:
    def mark(method: Any) -> Any:  # noqa: ANN401 - as the protocol has it
        taken = _arguments_of(method)
        if len(taken) > 1 or not all(_is_moment(one) for one in taken):
            word = type(reaction).__name__.lower()
            raise Misdeclared(
                f"@{word} gives nothing beside self, or the moment that is due: expected (self) or "
                f"(self, due: datetime), but {method.__qualname__} has {inspect.signature(method)}"
            )
        method.__hanse_reaction__ = reaction
        return method

    return mark


def _arguments_of(method: Handler) -> list[inspect.Parameter]:
    """The arguments of a method beside `self`. Raises Misdeclared where it cannot react."""
    if not inspect.iscoroutinefunction(method):
        raise Misdeclared(f"{method.__qualname__} reacts, so it has to be `async def`")
    return list(inspect.signature(method).parameters.values())[1:]


def _is_moment(argument: inspect.Parameter) -> bool:
    hint: object = argument.annotation
    is_positional = argument.kind in {argument.POSITIONAL_ONLY, argument.POSITIONAL_OR_KEYWORD}
    # Where annotations are not evaluated, what they name is known to nobody yet.
    return is_positional and (hint.rpartition(".")[2] == "datetime" if isinstance(hint, str) else hint is datetime)


def wants_moment(handler: Handler) -> bool:
    """Whether the method of a schedule, bound to its service, takes the moment that it runs for."""
    return bool(inspect.signature(handler).parameters)


def reaction_of(method: object) -> Reaction | None:
    """What a decorator said about a method; None for one that does not react."""
    return cast("Reaction | None", getattr(method, "__hanse_reaction__", None))
