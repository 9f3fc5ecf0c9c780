"""One tree of errors with one root: what fails, whether a retry can help, and what a stranger may be told.

A fault raised in a service arrives at its caller as the same class with the same typed fields, wherever the two run.
The gateway, the mesh and the CLI read the columns below and nothing else to answer with a status, a close code or an
exit code; no other part of Hanse maps errors.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import ClassVar, dataclass_transform

import msgspec

RESERVED = frozenset(
    {"code", "status", "close_code", "exit_code", "retryable", "retry_after", "detail", "template", "fields", "args"}
)


def snake_case(name: str) -> str:
    """`OutOfStock` -> `out_of_stock`: how class names become codes, addresses and topics."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _field_names(cls: type) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        if base is not Fault and issubclass(base, Fault):
            for name, hint in vars(base).get("__annotations__", {}).items():
                if "ClassVar" not in str(hint):
                    names[name] = None
    return tuple(names)


@dataclass_transform()
class Fault(Exception):
    """A typed error that arrives as the same class; declare yours by subclassing, with its data as fields.

    Class keywords set the columns: `status` (HTTP; 409 unless you say otherwise, for what a service refuses by contract
    is no failure of the server), `close_code` (WebSocket), `exit_code` (CLI), `retryable` (another try may succeed),
    `code` (stable name, by default the class name in snake case), `detail` (what a stranger may be told, formatted with
    the fields; by default the first line of the docstring).

    Example:
        >>> class OutOfStock(Fault, detail="only {left} of {sku} left"):
        ...     sku: str
        ...     left: int
        >>> fault = OutOfStock("tea", left=2)
        >>> fault.code, fault.status, str(fault)
        ('out_of_stock', 409, 'only 2 of tea left')
    """

    code: ClassVar[str] = "fault"
    status: ClassVar[int] = 409
    close_code: ClassVar[int] = 4000
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        *,
        code: str | None = None,
        status: int | None = None,
        close_code: int | None = None,
        exit_code: int | None = None,
        retryable: bool | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init_subclass__()
        cls.code = code or snake_case(cls.__name__)
        cls.status = cls.status if status is None else status
        cls.close_code = cls.close_code if close_code is None else close_code
        cls.exit_code = cls.exit_code if exit_code is None else exit_code
        cls.retryable = cls.retryable if retryable is None else retryable
        cls.template = _template(cls, detail)
        cls.fields = _field_names(cls)
        if taken := RESERVED.intersection(cls.fields):
            msg = f"{cls.__name__} declares the field {min(taken)!r}, which every fault has; choose another name"
            raise Misdeclared(msg)
        _check_template(cls)
        _remember(cls)

    def __init__(self, *args: object, **values: object) -> None:
        """Take the declared fields, in order or by name.

        Raises:
            TypeError: A field is missing, unknown or given twice.
        """
        names = self.fields
        if len(args) > len(names):
            msg = f"{type(self).__name__} takes {len(names)} fields ({', '.join(names)}), got {len(args)}"
            raise TypeError(msg)
        given = dict(zip(names, args, strict=False))
        for name, value in values.items():
            if name not in names or name in given:
                problem = "twice" if name in given else f"but it has {', '.join(names) or 'no fields'}"
                msg = f"{type(self).__name__} got the field {name!r}, {problem}"
                raise TypeError(msg)
            given[name] = value
        for name in names:
            if name not in given and not hasattr(type(self), name):
                msg = f"{type(self).__name__} needs the field {name!r}; it has {', '.join(names)}"
                raise TypeError(msg)
        for name, value in given.items():
            setattr(self, name, value)
        super().__init__(*given.values())

    @property
    def detail(self) -> str:
        """What a stranger may be told: the template with this fault's fields filled in."""
        return self.template.format_map({name: getattr(self, name) for name in self.fields})

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before another try, where the thrower knows; None otherwise."""
        return None

    def __str__(self) -> str:
        return self.detail

    def __reduce__(self) -> tuple[object, ...]:
        # Copying an exception must not go through args, which drop the names of keyword-only fields.
        return (_rebuild, (type(self), {name: getattr(self, name) for name in self.fields}))


def _rebuild(cls: type[Fault], values: dict[str, object]) -> Fault:
    return cls(**values)


def _template(cls: type[Fault], detail: str | None) -> str:
    if detail is not None:
        return detail
    doc = vars(cls).get("__doc__") or ""
    if doc:
        # A docstring is prose, not a format string: its braces stand for themselves.
        return str(doc).strip().splitlines()[0].rstrip(".").replace("{", "{{").replace("}", "}}")
    return " ".join([cls.code.replace("_", " "), *(f"{name}={{{name}!r}}" for name in _field_names(cls))])


def _check_template(cls: type[Fault]) -> None:
    """A template that cannot be filled in would spoil the answer to a call long after the declaration."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(cls.template) if name is not None]
    except ValueError as error:
        raise Misdeclared(f"the detail of {cls.__name__}, {cls.template!r}, is no format string: {error}") from None
    for name in names:
        if re.split(r"[.\[]", name)[0] not in cls.fields:
            known = ", ".join(cls.fields) or "no fields"
            raise Misdeclared(
                f"the detail of {cls.__name__} names {{{name}}}, but it has {known}; write {{{{ for a brace"
            )


_known: dict[str, list[type[Fault]]] = {}


def _remember(cls: type[Fault]) -> None:
    same = [(known.__module__, known.__qualname__) for known in _known.get(cls.code, [])]
    classes = _known.setdefault(cls.code, [])
    if (cls.__module__, cls.__qualname__) in same:
        classes[same.index((cls.__module__, cls.__qualname__))] = cls  # a reloaded module defines it anew
    else:
        classes.append(cls)


def fault_class(code: str, *, declared: Iterable[type[Fault]] = (), origin: str = "") -> type[Fault] | None:
    """The class that a code on the wire stands for, or None where it is unknown or two classes could be meant.

    Args:
        code: The code that came.
        declared: What the called operation's contract declares; these win, so that two contracts may use one code.
        origin: What `origin_of` says about the class that was raised. It chooses among the classes that this process
            has already; nothing is ever imported for it.
    """
    for cls in declared:
        if cls.code == code:
            return cls
    known = _known.get(code, [])
    if len(known) == 1:
        return known[0]
    return next((cls for cls in known if origin_of(cls) == origin), None)


def origin_of(cls: type[Fault]) -> str:
    """Where a class is written, as its code alone may not be unique."""
    return f"{cls.__module__}:{cls.__qualname__}"


class Flaw(msgspec.Struct, frozen=True):
    """One thing wrong with an input: where (a JSON pointer, RFC 6901), a stable code, and what to do."""

    pointer: str
    code: str
    detail: str


class Misdeclared(Fault, TypeError, status=500, exit_code=78, detail="{problem}"):
    """A class is declared in a way that cannot work; raised where it is written, before anything starts."""

    problem: str


class Misconfigured(Fault, status=500, exit_code=78, detail="{problem}"):
    """A setting has a value that cannot be used."""

    problem: str


class CouldNotStart(Fault, status=500, exit_code=3, detail="{problem}"):
    """The node could not start; starting it again without a change will not help."""

    problem: str


class Malformed(Fault, status=400, close_code=1007, exit_code=2, detail="{problem}"):
    """The bytes that came are not of the promised format."""

    problem: str


class Invalid(Fault, status=422, close_code=1007, exit_code=2, detail="{summary}"):
    """The input is well-formed, but its values are not what the contract asks for; `errors` lists every one."""

    summary: str
    errors: list[Flaw]


class Unauthenticated(Fault, status=401, close_code=1008):
    """Who is asking is not known; send credentials."""


class Forbidden(Fault, status=403, close_code=1008, detail="{problem}"):
    """Who is asking may not do this."""

    problem: str = "the caller may not do this"


class NotFound(Fault, status=404, close_code=1008, detail="there is no {kind} {id!r}"):
    """What was asked for does not exist."""

    kind: str
    id: str


class UnknownOperation(Fault, status=404, close_code=1008, exit_code=2, detail="{problem}"):
    """Nobody serves what was called."""

    problem: str


class Conflict(Fault, status=409, close_code=1008, retryable=True, detail="{problem}"):
    """Somebody else changed the same thing first, or it exists already; read it again and decide."""

    problem: str


class UnderWay(Conflict, detail="{problem}"):
    """A call with the same idempotency key is being executed; its answer can be had in a moment."""

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before another try."""
        return 1.0


class AnswerLost(Conflict, retryable=False, detail="{problem}"):
    """A call with this idempotency key took effect, and nothing is known of its answer."""


class KeyReused(Invalid, detail="{summary}"):
    """The idempotency key was used for another request; take a new key for a new request."""


class PreconditionFailed(Fault, status=412, close_code=1008, detail="{kind} {id!r} is at {actual}, not at {expected}"):
    """The revision that the caller insisted on is not the current one."""

    kind: str
    id: str
    expected: str
    actual: str


class TooLarge(Fault, status=413, close_code=1009, detail="{what} is over its limit of {limit}"):
    """Something is larger than its limit."""

    what: str
    limit: str


class Overloaded(Fault, status=503, close_code=1013, retryable=True, detail="{limit} is reached"):
    """A limit is reached; nothing was done, and it may be tried again after `after` seconds."""

    limit: str
    after: float = 1.0

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before another try."""
        return self.after


class Unavailable(Fault, status=503, close_code=1013, retryable=True, detail="{problem}"):
    """Whoever should answer cannot be reached, or is stopping."""

    problem: str


class DeadlineExceeded(Fault, status=504, close_code=1013, retryable=True, detail="no answer from {operation} in time"):
    """The time that the caller gave is over; whether the work was done is unknown."""

    operation: str


class Cancelled(Fault, status=499, close_code=1001, exit_code=130, detail="{problem}"):
    """The caller has gone, so the work was given up."""

    problem: str = "the caller has gone"


class Internal(Fault, status=500, close_code=1011, detail="internal error; the log has it under {reference}"):
    """A handler failed in a way that its contract does not know; the cause stays inside, under this reference."""

    reference: str


class CannotTell(Fault, status=500, close_code=1011, detail="the answer of {operation} cannot be told: {problem}"):
    """A handler's answer is of its type, but holds what no message can: an integer of more than 64 bits."""

    operation: str
    problem: str


class BrokenContract(Fault, status=502, close_code=1011, detail="{operation} broke its contract: {problem}"):
    """An answer came that the operation's contract does not promise; the two sides disagree about it."""

    operation: str
    problem: str


class RemoteFault(Fault, status=500, close_code=1011, detail="{text}"):
    """A fault whose class this side does not know: its code, its public text and its fields as plain data."""

    remote_code: str
    text: str
    values: dict[str, object]
