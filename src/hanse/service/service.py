"""`Service`: a plain class with typed operations; its annotated fields are its dependencies."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any, ClassVar, cast, dataclass_transform

import msgspec

from hanse.contract.declare import Contract, Promise, is_contract, options_of
from hanse.contract.derive import Description, Operation, contracts_in, describe, describe_methods
from hanse.contract.model import Event, Resource, topic_of
from hanse.kernel.codec import encode, encode_json
from hanse.kernel.context import current
from hanse.kernel.faults import Misdeclared, TooLarge, snake_case
from hanse.kernel.hints import hints_of
from hanse.service.about import About
from hanse.service.collection import Collection
from hanse.service.reaction import On, Reaction, reaction_of
from hanse.service.replica import Replica, Wanted, wanted
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Store

ENTRY_BYTES = 1_024
"""What goes along with an event beside the context that it was emitted in: its id, its topic, what led to it."""


class Outlet:
    """Where a service's events go: into its unit of work, or, for one constructed by hand, into a list.

    Args of the constructor:
        store: The service's; None for one constructed by hand.
        bytes_max: How large a message may be at this moment where it is to go; 0 where nobody knows.
    """

    def __init__(self, store: Store | None = None, bytes_max: Callable[[], int] = lambda: 0) -> None:
        self.emitted: list[Event] = []
        self._store = store
        self._bytes_max = bytes_max

    async def emit(self, events: tuple[Event, ...]) -> None:
        """Stage the events, or commit them at once outside a handler.

        Raises:
            TooLarge: No message may be as large as one of them, so that nobody would hear of it; none is staged.
        """
        if self._store is None:
            self.emitted.extend(events)
            return
        unit = unit_for(self._store)
        lone = unit is None
        unit = unit or Unit(self._store, current())
        told = [(topic_of(type(event)), encode_json(event)) for event in events]
        self._check_size(told)
        for topic, value in told:
            _ = unit.emit(topic, "", value)
        if lone:
            await unit.commit()

    def _check_size(self, told: list[tuple[str, bytes]]) -> None:
        limit = self._bytes_max()
        if not limit or not told:
            return
        size, topic = max((len(value), topic) for topic, value in told)
        # The context goes along, and is measured only where it may matter.
        if size > limit // 2 and size + ENTRY_BYTES + len(encode(current().headers)) > limit:
            raise TooLarge(f"the event {topic!r}", f"{limit} bytes with its context, with {size} of its own")


@dataclass_transform(kw_only_default=True)
class Service:
    """The base of what users write: methods marked `@rpc` are operations, annotated fields are dependencies.

    A field may be another service's contract (a typed client comes), a `Collection[Order]`, or anything else: a
    configuration value. A test constructs the class with whatever it likes.

    Class keywords: `name` (by default its contract's name, else the class name in snake case), `version`, `events`
    (that it emits, for the documents) and `owns` (resources, where several services have a collection of one).

    Example:
        >>> from hanse.contract.declare import rpc
        >>> class Greeter(Service):
        ...     greeting: str = "Hello"
        ...     @rpc
        ...     async def hello(self, name: str) -> str:
        ...         return f"{self.greeting}, {name}!"
        >>> import asyncio
        >>> asyncio.run(Greeter().hello("Ada"))
        'Hello, Ada!'
    """

    __hanse_promise__: ClassVar[Promise]
    __hanse_owns__: ClassVar[tuple[type[Resource], ...]] = ()
    _outlet: ClassVar[Outlet]

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        version: str = "",
        events: tuple[type[Event], ...] = (),
        owns: tuple[type[Resource], ...] = (),
    ) -> None:
        super().__init_subclass__()
        contracts = contracts_in(cls)
        inherited = describe(contracts[0]) if len(contracts) == 1 else None
        default = inherited.name if inherited else snake_case(cls.__name__).removesuffix("_service")
        declared = version or (inherited.version if inherited else "1")
        promised = (cast("type[Contract]", contract).__hanse_promise__.events for contract in contracts)
        told = dict.fromkeys((*events, *chain.from_iterable(promised)))
        cls.__hanse_promise__ = Promise(name or default, declared, tuple(told), owns)
        cls.__hanse_owns__ = owns
        _check_operations(cls, contracts)

    def __init__(self, **dependencies: Any) -> None:  # noqa: ANN401 - the checkers see the fields of each class instead
        """Take the fields by name; those with a default may be left out.

        Raises:
            TypeError: A field is missing, or there is none of that name.
        """
        names = field_names(type(self))
        if unknown := [name for name in dependencies if name not in names]:
            known = ", ".join(names) or "no fields"
            raise TypeError(f"{type(self).__name__} has no field {unknown[0]!r}; it has {known}")
        for name, hint in names.items():
            if name in dependencies:
                setattr(self, name, dependencies[name])
            elif not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}: {hint}; write {type(self).__name__}({name}=...)")
        self.__dict__["_outlet"] = Outlet()

    async def emit(self, *events: Event) -> None:
        """Tell of events. In a handler they join its unit of work: told if it commits, and only then.

        Raises:
            Misdeclared: The service lists its `events`, and this is none of them: nobody would hear of it.
            TooLarge: One of them is larger than the transport, or the broker that keeps it, takes.
        """
        promised = type(self).__hanse_promise__.events
        for event in events:
            if promised and type(event) not in promised:
                name = type(event).__name__
                raise Misdeclared(
                    f"{type(self).__name__} tells of {name}, which its `events` do not list; add it: "
                    f"`class {type(self).__name__}(..., events=(..., {name}))`"
                )
        await cast("Outlet", self.__dict__["_outlet"]).emit(events)

    async def started(self) -> None:
        """Called when the node is wired, before it is ready; override it to warm up. A unit of work."""

    async def stopping(self) -> None:
        """Called when the node has finished its work, before stores close; override it to clean up. A unit of work.

        It is called as well where `started` failed.
        """

    async def unready(self) -> str:
        """Override it to say what keeps this service from serving, such as another system that is away.

        Asked now and then, at most every second, by whoever asks the node whether it is ready (`/readyz`); it has two
        seconds. A unit of work.

        Returns:
            What is wrong, for the operator; empty where nothing is.
        """
        return ""


def _check_operations(cls: type[Service], contracts: list[type]) -> None:
    for contract in contracts:
        for name, method in vars(contract).items():
            if options_of(method) is not None and getattr(cls, name) is method:
                raise Misdeclared(
                    f"{cls.__name__} promises {contract.__name__} but has no {name}; "
                    f"write `async def {name}{_arguments(method)}`"
                )
        for name, operation in describe(contract).operations.items():
            _check_shape(cls, contract, operation, getattr(cls, name))
    own = [name for name, method in vars(cls).items() if options_of(method) is not None]
    promised = {name for contract in contracts for name in describe(contract).operations}
    if contracts and cls.__hanse_promise__.name == describe(contracts[0]).name and set(own) - promised:
        extra = min(set(own) - promised)
        raise Misdeclared(
            f"{cls.__name__}.{extra} is an operation that {contracts[0].__name__} does not promise; "
            f"add it to the contract, or give the service a name of its own: `class {cls.__name__}(..., name=...)`"
        )


def _check_shape(cls: type[Service], contract: type, operation: Operation, method: Callable[..., Any]) -> None:
    """A method that cannot be called as its contract says would fail at the first call, a day later."""
    signature = inspect.signature(method)
    names = operation.arguments.__struct_fields__
    by_name = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in signature.parameters.values())
    try:
        _ = signature.bind(None, **dict.fromkeys(names)) if by_name else signature.bind(None, *names)
    except TypeError as error:
        wanted = _arguments(getattr(contract, operation.name))
        raise Misdeclared(
            f"{cls.__name__}.{operation.name} does not take what {contract.__name__} says: {error}; "
            f"it is {wanted} there"
        ) from None
    if not operation.stream and inspect.isfunction(method) and not inspect.iscoroutinefunction(inspect.unwrap(method)):
        raise Misdeclared(
            f"{cls.__name__}.{operation.name} is a plain `def`, which would block every other call while it runs; "
            f"write `async def {operation.name}{_arguments(method)}`"
        )
    if operation.stream and inspect.iscoroutinefunction(method):
        raise Misdeclared(
            f"{cls.__name__}.{operation.name} is a stream in {contract.__name__}; `yield` its items, or write a plain "
            f"`def` that returns an AsyncIterator"
        )


def _arguments(method: Callable[..., Any]) -> str:
    return str(inspect.signature(method)).replace("'", "")


def field_names(cls: type[Service]) -> dict[str, str]:
    """The fields of a service and their hints as written, base classes first."""
    names: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is Service or not issubclass(base, Service) or is_contract(base):
            continue
        for name, hint in inspect.get_annotations(base).items():
            text = hint if isinstance(hint, str) else hint.__name__ if isinstance(hint, type) else repr(hint)
            if not name.startswith("__") and "ClassVar" not in text:
                names[name] = text
    return names


class Field(msgspec.Struct, frozen=True):
    """A dependency: its name, its type, whether it must be given and else what it is, and what kind of thing."""

    name: str
    hint: Any
    required: bool
    default: object = None

    @property
    def replica(self) -> Wanted | None:
        """What a `Replica[...]` field says; None for any other."""
        if typing.get_origin(self.hint) is not Replica:
            return None
        kind = cast("type[Resource]", typing.get_args(self.hint)[0])
        return self.default if isinstance(self.default, Wanted) else wanted(kind, None, None)

    @property
    def resource(self) -> type[Resource] | None:
        """The resource of a `Collection[...]` field; None for any other."""
        if typing.get_origin(self.hint) is not Collection:
            return None
        return cast("type[Resource]", typing.get_args(self.hint)[0])

    @property
    def about(self) -> About | None:
        """What a field says that is about another service, such as its dead letters; None for any other."""
        return self.default if isinstance(self.default, About) else None

    @property
    def contract(self) -> type | None:
        """The contract (or the service that is its own) of a client field; None for any other."""
        if isinstance(self.hint, type) and (is_contract(self.hint) or issubclass(self.hint, Service)):
            return self.hint
        return None


def fields_of(cls: type[Service]) -> list[Field]:
    """The fields of a service with their types.

    Raises:
        Misdeclared: A hint names something that does not exist.
    """
    hints = hints_of(cls, f"a field of {cls.__name__}")
    return [Field(name, hints[name], not hasattr(cls, name), getattr(cls, name, None)) for name in field_names(cls)]


def service_name(cls: type[Service]) -> str:
    """The service's name: in addresses, settings, store files and the CLI."""
    return cls.__hanse_promise__.name


def descriptions_of(cls: type[Service]) -> list[Description]:
    """What a service serves: its contracts, and its own operations as one more contract under its own name.

    Made once for each class: to look at all its types takes milliseconds, and each client of the service asks for it.
    """
    known = cast("tuple[Description, ...] | None", vars(cls).get("__hanse_descriptions__"))
    if known is None:
        known = _descriptions(cls)
        cls.__hanse_descriptions__ = known  # type: ignore[attr-defined]
    return list(known)


def _descriptions(cls: type[Service]) -> tuple[Description, ...]:
    promised = [describe(contract) for contract in contracts_in(cls)]
    taken = [name for description in promised for name in description.operations]
    own = describe_methods(cls, cls.__hanse_promise__, leave_out=taken)
    return (*promised, own) if own.operations or not promised else tuple(promised)


def reactions_of(cls: type[Service]) -> dict[str, Reaction]:
    """The methods that react, by name."""
    methods = {name: method for base in reversed(cls.__mro__) for name, method in vars(base).items()}
    return {name: reaction for name, method in methods.items() if (reaction := reaction_of(method)) is not None}


def events_in(cls: type[Service]) -> list[type[Event]]:
    """The events that a service lists, or reacts to."""
    heard = [one.kind for one in reactions_of(cls).values() if isinstance(one, On)]
    return list(dict.fromkeys((*cls.__hanse_promise__.events, *(kind for kind in heard if issubclass(kind, Event)))))


def may_emit(cls: type[Service], kind: type[Event]) -> bool:
    """Whether a service may tell of an event: one that lists its events tells of no others."""
    promised = cls.__hanse_promise__.events
    return not promised or kind in promised


def may_emit_topic(cls: type[Service], topic: str) -> bool:
    """Whether a service may tell of an event, by its name on the wire."""
    promised = cls.__hanse_promise__.events
    return not promised or any(topic_of(kind) == topic for kind in promised)


Hook = Callable[[], Awaitable[None]]
