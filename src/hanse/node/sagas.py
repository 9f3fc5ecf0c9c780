"""The sagas of one hosted service: begun and waited for on any node, worked on by the one that has the duty.

A saga is a row, and a handler that takes it up: when it is begun, when the log tells of it, and on each sweep, so that
nothing depends on having heard everything. Where several instances share a store, who has the duty works on all sagas.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast, final

import msgspec

from hanse.contract.model import Event, topic_of
from hanse.delivery.saga_machine import SagaStuck, told_of
from hanse.delivery.saga_rows import LIVE, NEVER, SAGA_EVENTS, SAGAS, SagaEvent, SagaRow, saga_in
from hanse.kernel.codec import canonical, codec_for, encode_json
from hanse.kernel.context import Context, current
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, KeyReused, NotFound, Unavailable
from hanse.kernel.message import Headers, Message
from hanse.kernel.settings import NodeSettings
from hanse.mesh.fault import fault_in
from hanse.node.saga_journal import SagaPlace
from hanse.node.saga_runner import SagaRunner
from hanse.service.leases import Grant
from hanse.service.saga_method import Pinned, arguments_of, result_of
from hanse.service.shadow import NotInShadow, written
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Batch, Put
from hanse.store.query import And, Compare, OneOf, Query

LOOK_SECONDS = 0.1
"""How often somebody who waits for a saga that another process works on looks whether it is over."""

LOOK_SECONDS_HERE = 5.0
"""The same for one that this process works on, which tells of its end."""

STOPPING = "this node stops, and the saga goes on elsewhere; ask again there, with the same idempotency key"

_faults = codec_for(Message)


@final
class Sagas:
    """The sagas of one hosted service, on this node.

    Attributes:
        pinned: All versions of all of them, by name and version.
    """

    def __init__(self, place: SagaPlace, pinned: Iterable[Pinned]) -> None:
        """Have none.

        Args:
            place: Where they are worked on; nobody has its duty yet.
            pinned: What its class declares.

        Raises:
            Misdeclared: A hint names something that does not exist.
        """
        self.service: str = place.service
        self.pinned: dict[tuple[str, int], Pinned] = {}
        for one in pinned:
            # Wrong hints are told now, and not to the first who calls.
            _ = arguments_of(one), result_of(one)
            self.pinned[f"{place.service}.{one.name}", one.version] = one
        self._place = place
        self._store = place.store
        self._host = place.host
        self._runner: SagaRunner | None = None
        self._waiting: dict[str, list[asyncio.Future[SagaRow]]] = {}

    @property
    def resting(self) -> int:
        """How many of them only wait, and are not in memory, where this node has the duty."""
        return 0 if self._runner is None else self._runner.resting

    def runner(self, duty: Grant | None, settings: NodeSettings) -> SagaRunner:
        """What works on them while this node has the duty.

        Args:
            duty: What commits rest on, where several processes share the store.
            settings: Of the node: how long those which are over are kept, and how many are in memory.
        """
        place = replace(self._place, duty=duty)
        self._runner = SagaRunner(place, self.pinned, self._ended, settings)
        return self._runner

    async def call(self, pinned: Pinned, arguments: Mapping[str, object], /, *, id: str = "") -> object:
        """Begin a saga, and wait for its end.

        Args:
            pinned: Which.
            arguments: For it.
            id: One that was begun under this id already is waited for instead.

        Returns:
            What it came to.

        Raises:
            Fault: What it turned back for.
            SagaUndone: That was that something did not answer in time.
            SagaStuck: It cannot go on by itself.
            KeyReused: The id is that of another saga.
        """
        row = await self.end_of(await self.begin(pinned, arguments, id=id))
        if row.state == "stuck":
            raise SagaStuck(row.id, row.step or row.name, row.why)
        if row.state == "undone":
            raise told_of(row.id, fault_in(_faults.decode(row.fault)))
        return codec_for(result_of(pinned)).decode_json(row.result.encode())

    async def begin(self, pinned: Pinned, arguments: Mapping[str, object], *, id: str = "") -> SagaRow:
        """Begin a saga, unless it was begun under this id before; it goes on by itself.

        Raises:
            KeyReused: The id is that of another saga.
            Overloaded: There are as many as there may be.
            NotInShadow: The work is marked as a copy, and no saga was begun under this id.
        """
        row, shadow = await self._made(pinned, arguments, id or self._host.new_id()), current().shadow
        write = Put(SAGAS, row.id, encode_json(row), self._host.new_id(), expected=0)
        batch = Batch(self._host.now(), writes=(write,), headers=codec_for(Headers).decode(row.headers))
        try:
            positions = await written(self._store, batch, shadow=shadow)
        except Conflict:
            return await self._begun_before(row)
        if shadow:
            raise NotInShadow(f"{row.name} is a saga: what it comes to is known only once its steps are done")
        fault_point("saga.begun")
        row = msgspec.structs.replace(row, rev=positions[0])
        if self._runner is not None:
            self._runner.take(row, fresh=True)
        return row

    async def keep(self, event: Event) -> None:
        """Keep an event in the calling unit of work, if there is a saga that may wait for it."""
        names = [name for (name, _), pinned in self.pinned.items() if type(event) in pinned.events]
        there = And((OneOf(("name",), tuple(names)), OneOf(("state",), (*LIVE, "stuck"))))
        if await self._store.count(SAGAS, Query(there)):
            kept = SagaEvent(id=current().message_id, topic=topic_of(type(event)), value=encode_json(event).decode())
            cast("Unit", unit_for(self._store)).put(SAGA_EVENTS, kept, None)

    async def counts(self) -> dict[str, int]:
        """How many sagas are in each state that is no end."""
        wanted = (*LIVE, "stuck")
        return {state: await self._store.count(SAGAS, Query(Compare("eq", ("state",), state))) for state in wanted}

    async def end_of(self, row: SagaRow) -> SagaRow:
        """The row of a saga when it is over, or stuck.

        Raises:
            Unavailable: This node stops before.
        """
        while row.state in LIVE:
            here = self._runner is not None and self._runner.works_on(row.id)
            future = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(row.id, [])
            waiting.append(future)
            try:
                async with asyncio.timeout(LOOK_SECONDS_HERE if here else LOOK_SECONDS):
                    row = await future
            except TimeoutError:
                row = await self._load(row.id)
            finally:
                waiting.remove(future)
                if not waiting and self._waiting.get(row.id) is waiting:
                    del self._waiting[row.id]
        return row

    async def _load(self, id: str) -> SagaRow:
        found = await self._store.load(SAGAS, id)
        if found is None:
            raise NotFound("saga", id)
        return saga_in(found)

    async def _made(self, pinned: Pinned, arguments: Mapping[str, object], id: str) -> SagaRow:
        kept = arguments_of(pinned)(**arguments)
        context, now = current(), self._host.now()
        headers = _headers(context)
        return SagaRow(
            id=id,
            name=f"{self.service}.{pinned.name}",
            version=pinned.version,
            arguments=encode_json(kept).decode(),
            digest=hashlib.sha256(canonical(kept)).hexdigest()[:16],
            headers=canonical(headers),
            tags=headers.tags,
            started_at=now,
            due=now + pinned.timeout,
            since=await self._store.head() if pinned.events else NEVER,
        )

    async def _begun_before(self, row: SagaRow) -> SagaRow:
        known = await self._load(row.id)
        if (known.name, known.digest) != (row.name, row.digest):
            raise KeyReused(f"a call of {known.name} with other arguments has begun under this key; take a new key", [])
        return known

    def _ended(self, id: str, row: SagaRow | None) -> None:
        """Tell whoever waits for a saga: its row, or that this node works on it no more."""
        for future in self._waiting.pop(id, []):
            if future.done():
                continue
            if row is None:
                future.set_exception(Unavailable(STOPPING))
            else:
                future.set_result(row)


def saga_id(scope: str, key: str) -> str:
    """The id of the saga that a call begins: one for each scope and key.

    Example:
        >>> saga_id("orders.place", "k1") == saga_id("orders.place", "k1") != saga_id("orders.place", "k2")
        True
    """
    return hashlib.sha256(f"{scope}\0{key}".encode()).hexdigest()[:32]


def _headers(context: Context) -> Headers:
    """What a saga carries on of the call that begins it."""
    headers = context.headers
    return msgspec.structs.replace(
        headers,
        idempotency_key="",
        attempt=1,
        causation_id=context.message_id,
        correlation_id=headers.correlation_id or context.message_id,
    )
