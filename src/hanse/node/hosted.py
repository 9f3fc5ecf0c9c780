"""One service as a node hosts it: its store, its instance, and what it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from hanse.contract.declare import is_contract
from hanse.contract.derive import Description, Operation, describe
from hanse.contract.model import Resource, collection_of
from hanse.delivery.action import LetterAction, LetterOutcome
from hanse.delivery.deadletter import DeadLetter
from hanse.delivery.inbox import Inbox
from hanse.delivery.relay import Relay
from hanse.delivery.saga_rows import SagaEvent, SagaRow, SagaStep
from hanse.delivery.subscriber import Subscriber
from hanse.delivery.tally import LetterGroup
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Invalid, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.message import Identity
from hanse.mesh.client import Caller, client_of
from hanse.mesh.server import Endpoint, Server
from hanse.node.app import App, Part
from hanse.node.bind import endpoint, saga_endpoint, saga_of_call
from hanse.node.saga_journal import SagaPlace
from hanse.node.saga_runs import saga_contract
from hanse.node.saga_runs_served import SagaRunsOf
from hanse.node.sagas import Sagas
from hanse.node.stored_sagas import StoredSagas
from hanse.service.cluster import Leader, Lock
from hanse.service.collection import Collection
from hanse.service.events import Events, EventsOf, events_contract
from hanse.service.job import Job, Jobs, JobsOf, jobs_contract
from hanse.service.leases import StoredLeases
from hanse.service.local import LocalCollection
from hanse.service.remote import RemoteCollection
from hanse.service.replica import Wanted
from hanse.service.replicated import ReplicaOf, replica_schemas
from hanse.service.rows import WRITES, Rows, RowsOf, rows_contract, rows_contract_named
from hanse.service.saga_method import Pinned, pinned_in, pinned_of
from hanse.service.service import Field, Outlet, Service, descriptions_of
from hanse.service.shape import schema_of
from hanse.store.base import CollectionSchema, Store

LETTER_KINDS: tuple[type[Resource], ...] = (DeadLetter, LetterGroup, LetterAction, LetterOutcome)
"""What every store keeps of messages that could not be handled, and of what was done about them."""


class Hosted:
    """A service, wired.

    Attributes:
        part: What the app knows about it.
        store: Its own store.
        instance: The object of the user's class.
        owned: The resources that it owns.
        collections: Their collections.
        jobs: The calls that it is to answer later.
        relays: What takes its log to subscribers, or to a broker that keeps its events.
        subscribers: What takes to it the events that a broker keeps.
        inboxes: Where the messages of its groups come in.
        replicas: Its copies of what others own.
        leases: Of its store.
        sagas: What it runs of them; None where its class has none.
        stored_sagas: The same, as operators and jobs see them.
    """

    def __init__(
        self, app: App, part: Part, store: Store, caller: Caller, values: Mapping[str, object], host: Host
    ) -> None:
        self.part: Part = part
        self.store: Store = store
        self.owned: list[type[Resource]] = [kind for kind, owner in app.owners.items() if owner is part]
        self.collections: dict[type[Resource], LocalCollection[Any]] = {
            kind: LocalCollection(kind, store) for kind in self.owned
        }
        self.jobs: LocalCollection[Job] = LocalCollection(Job, store)
        self.relays: list[Relay] = []
        self.subscribers: list[Subscriber] = []
        self.inboxes: list[Inbox] = []
        self.replicas: list[ReplicaOf[Any]] = []
        self.leases: StoredLeases = StoredLeases(store, host)
        self._caller = caller
        self.stored_sagas: StoredSagas = StoredSagas(store, host)
        self.instance: Service = self._construct(app, values)
        self.instance.__dict__["_outlet"] = Outlet(store)
        pinned = pinned_in(part.cls)
        place = SagaPlace(part.name, self.instance, store, host, duty=None, watch=caller.watch)
        self.sagas: Sagas | None = Sagas(place, pinned) if pinned else None
        self.instance.__dict__["_sagas"] = self.sagas

    @property
    def handing_on(self) -> list[Relay | Subscriber]:
        """What takes messages from or to it."""
        return [*self.relays, *self.subscribers]

    def limit_events(self, bytes_max: Callable[[], int]) -> None:
        """Have its service refuse to emit what is larger than a message may be at that moment; 0 for no limit."""
        self.instance.__dict__["_outlet"] = Outlet(self.store, bytes_max)

    def schemas(self) -> list[CollectionSchema]:
        """What the store has to keep."""
        return schemas_of(self.part, self.owned)

    def serve(self, server: Server) -> list[str]:
        """Bind every operation; the names under which the transport has to listen."""
        names: list[str] = []
        for description in descriptions_of(self.part.cls):
            names.append(description.name)
            for name, operation in description.operations.items():
                server.add(operation.address, self._endpoint(operation, name))
        owned: dict[str, RowsOf[Any]] = {}
        for kind, collection in self.collections.items():
            rows = owned[collection_of(kind)] = RowsOf(collection, self.store, owned)
            names.append(self._bind(server, rows_contract(kind), rows))
        names.append(self._bind(server, events_contract(self.part.name), EventsOf(self.store)))
        written = [rows_contract(kind).operations[name] for kind in self.collections for name in WRITES]
        for description in descriptions_of(self.part.cls):
            own = list(description.operations.values())
            called = {operation.address: operation for operation in (*own, *written)}
            jobs = JobsOf(self.jobs, self.store, called, _SagasBegun(self, own))
            names.append(self._bind(server, jobs_contract(description.name), jobs))
        if self.sagas is not None:
            names.append(self._bind(server, saga_contract(self.part.name), SagaRunsOf(self.stored_sagas)))
        return names

    def saga_of(self, name: str) -> Pinned | None:
        """The saga that a method is; None for any other."""
        method = getattr(self.instance, name)
        return None if self.sagas is None else pinned_of(getattr(method, "__func__", None))

    def _endpoint(self, operation: Operation, name: str) -> Endpoint:
        method = getattr(self.instance, name)
        if self.sagas is not None and (pinned := self.saga_of(name)) is not None:
            return saga_endpoint(operation, method, pinned, self.sagas)
        return endpoint(operation, method, self.store)

    def _bind(self, server: Server, description: Description, implementation: object) -> str:
        for name, operation in description.operations.items():
            server.add(operation.address, endpoint(operation, getattr(implementation, name), self.store))
        return description.name

    def collection(self, kind: type[Resource]) -> Collection[Any]:
        """A collection as this service uses it: its own, or by calls to the owner."""
        own = self.collections.get(kind)
        return RemoteCollection(kind, rows_client(kind, self._caller)) if own is None else own

    def _replica(self, name: str, wanted: Wanted) -> ReplicaOf[Any]:
        made = ReplicaOf(name, wanted, wanted.kind, self.store, rows_client(wanted.source, self._caller))
        self.replicas.append(made)
        return made

    def _construct(self, app: App, values: Mapping[str, object]) -> Service:
        dependencies: dict[str, object] = {}
        unused = dict(values)
        for field in self.part.fields:
            if field.resource is not None:
                dependencies[field.name] = self.collection(field.resource)
            elif field.replica is not None:
                dependencies[field.name] = self._replica(field.name, field.replica)
            elif field.hint in (Lock, Leader):
                dependencies[field.name] = field.hint(field.name, self.leases)
            elif field.about is not None:
                dependencies[field.name] = client_of(field.about.description, self._caller)
            elif field.contract is not None:
                dependencies[field.name] = contract_client(app, field.contract, self._caller)
            elif field.name in unused:
                dependencies[field.name] = self._value(field, unused.pop(field.name))
            elif field.required:
                raise Misconfigured(
                    f"{self.part.cls.__name__}.{field.name} has no value; set services.{self.part.name}.settings."
                    f"{field.name} in hanse.toml, or give the field a default"
                )
        if unused:
            known = ", ".join(field.name for field in self.part.fields) or "no fields"
            raise Misconfigured(
                f"services.{self.part.name}.settings has {min(unused)!r}, but {self.part.cls.__name__} has {known}"
            )
        return self.part.cls(**dependencies)

    def _value(self, field: Field, value: object) -> object:
        try:
            return codec_for(field.hint).convert(value, strict=False)
        except Invalid as fault:
            where = f"services.{self.part.name}.settings.{field.name}"
            raise Misconfigured(f"{where} does not fit {self.part.cls.__name__}.{field.name}: {fault}") from None


class _SagasBegun:
    """See `SagasBegun`; of one contract of a hosted service.

    Args of the constructor:
        hosted: The service.
        operations: Of the contract.
    """

    def __init__(self, hosted: Hosted, operations: Iterable[Operation]) -> None:
        self._sagas = {
            operation.address: operation for operation in operations if hosted.saga_of(operation.name) is not None
        }
        self._stored = hosted.stored_sagas

    def of(self, address: str, identity: Identity, key: str, /) -> str:
        operation = self._sagas.get(address)
        return "" if operation is None else saga_of_call(operation, identity, key)

    async def turn_back(self, id: str, /, *, by: str) -> bool:
        return await self._stored.turn_back(id, by=by)


def schemas_of(part: Part, owned: Iterable[type[Resource]]) -> list[CollectionSchema]:
    """What the store of a service keeps: the resources that it owns, its replicas, and what could not be handled."""
    copied = [
        schema
        for field in part.fields
        if field.replica is not None
        for schema in replica_schemas(field.name, field.replica)
    ]
    of_sagas = [schema_of(SagaRow), schema_of(SagaStep), schema_of(SagaEvent)] if pinned_in(part.cls) else []
    own: list[type[Resource]] = [*LETTER_KINDS, Job]
    kept = [*map(schema_of, owned), *copied, *of_sagas, *(schema_of(kind) for kind in own)]
    return list({schema.name: schema for schema in kept}.values())


def contract_client(app: App, contract: type, caller: Caller) -> object:
    """A typed client of a contract, or of a service that is its own.

    Raises:
        Misconfigured: No service of the app provides it.
    """
    part = app.providers.get(contract)
    if part is None:
        raise Misconfigured(f"no service of the app {app.name!r} provides {contract.__name__}")
    if is_contract(contract):
        return client_of(describe(contract), caller)
    own, *others = descriptions_of(part.cls)
    operations = {name: item for other in (*others, own) for name, item in other.operations.items()}
    return client_of(msgspec.structs.replace(own, operations=operations), caller)


def rows_client(kind: type[Resource], caller: Caller) -> Rows:
    """A client of the rows of a resource, wherever they are."""
    return cast("Rows", client_of(rows_contract(kind), caller))


def rows_named(collection: str, caller: Caller) -> Rows:
    """A client of the rows of a collection, by its name alone."""
    return cast("Rows", client_of(rows_contract_named(collection), caller))


def events_client(service: str, caller: Caller) -> Events:
    """A client of the events of a service, wherever its log is."""
    return cast("Events", client_of(events_contract(service), caller))


def jobs_client(contract: str, caller: Caller) -> Jobs:
    """A client of the jobs that call a contract, wherever they are kept."""
    return cast("Jobs", client_of(jobs_contract(contract), caller))
