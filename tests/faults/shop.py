"""A shop whose effects can be counted: each is a row of its own, under an id that nobody chooses.

So one that happens twice is two rows, and one that is lost is none. An order goes through a saga that charges and
confirms; two events, a rule, a replica, dead letters and a schedule hang on it.
"""

from __future__ import annotations

from typing import Literal

from hanse import (
    App,
    Collection,
    Event,
    Fault,
    Held,
    Lock,
    Replica,
    Resource,
    Saga,
    Service,
    every,
    on,
    rpc,
    rule,
    saga,
)

Kind = Literal["good", "declined", "poison"]
"""Goes through; is taken back on its way; goes through, and cannot be told of until somebody mends that."""

SWEEP = "1s"
"""How often a rule looks whether it has missed anything."""


class Declined(Fault, status=409, detail="nobody delivers {order}"):
    order: str


class Order(Resource):
    kind: Kind
    status: Literal["new", "paid", "shipped"] = "new"


class Charge(Resource):
    order: str


class Shipment(Resource):
    order: str


class Slip(Resource):
    """Says that somebody was charged."""

    order: str


class Letter(Resource):
    """Says that an order was paid."""

    order: str


class Run(Resource):
    """One of a schedule."""


class Charged(Event):
    order: str


class Paid(Event):
    order: str
    poison: bool = False


class Payments(Service, events=(Charged,)):
    charges: Collection[Charge]
    runs: Collection[Run]
    till: Lock

    @rpc
    async def charge(self, order: str) -> str:
        charge = await self.charges.create(Charge(order=order))
        await self.emit(Charged(order=order))
        return charge.id

    @rpc
    async def refund(self, charge: str) -> None:
        await self.charges.delete(charge)

    @every("0.4s")
    async def count(self) -> None:
        async with self.till.hold("till", lease="1s"):
            await self.runs.create(Run())


class Orders(Service, events=(Paid,)):
    payments: Payments
    orders: Collection[Order]
    shipments: Collection[Shipment]

    @rpc(faults=(Declined,))
    @saga
    async def place(self, s: Saga, id: str, kind: Kind) -> None:
        _ = await s.step(self._create, id, kind).undo(self._drop)
        _ = await s.step(self.payments.charge, id).undo(self.payments.refund)
        if kind == "declined":
            raise Declined(id)
        _ = await s.step(self._confirm, id, kind)

    async def _create(self, id: str, kind: Kind) -> str:
        return (await self.orders.create(Order(id=id, kind=kind))).id

    async def _drop(self, id: str) -> None:
        await self.orders.delete(id)

    async def _confirm(self, id: str, kind: Kind) -> None:
        _ = await self.orders.patch(id, status="paid")
        await self.emit(Paid(order=id, poison=kind == "poison"))

    @rule(Order, where=lambda order: order.status == "paid", every=SWEEP)
    async def ship(self, order: Held[Order]) -> None:
        _ = await self.shipments.create(Shipment(order=order.value.id))
        _ = await order.patch(status="shipped")


class Mailer(Service):
    slips: Collection[Slip]
    letters: Collection[Letter]
    orders: Replica[Order]

    @on(Charged)
    async def slip(self, event: Charged) -> None:
        _ = await self.slips.create(Slip(order=event.order))

    @on(Paid, attempts=2)
    async def write(self, event: Paid) -> None:
        if event.poison:
            raise ValueError(event.order)
        _ = await self.letters.create(Letter(order=event.order))

    @rpc(idempotent=True)
    async def copied(self) -> list[str]:
        return [order.id async for order in self.orders.scan()]


app = App("faults", Payments, Orders, Mailer)
