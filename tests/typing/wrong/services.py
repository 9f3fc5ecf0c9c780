"""Declaring services, and wiring them by hand."""

from collections.abc import AsyncIterator
from typing import Protocol

from hanse import Collection, Contract, Model, Resource, Service, every, rpc


class Hold(Model):
    sku: str
    quantity: int = 1


class Order(Resource):
    sku: str


class Inventory(Contract, Protocol):
    @rpc
    async def reserve(self, sku: str, quantity: int) -> Hold: ...

    @rpc(idempotent=True)
    async def release(self, hold_id: str) -> None: ...

    @rpc
    def watch(self, sku: str) -> AsyncIterator[int]: ...


class Shop(Service):
    inventory: Inventory
    orders: Collection[Order]
    greeting: str = "Hello"


class Half(Service, Inventory):
    async def reserve(self, sku: str, quantity: str) -> Hold:  # error: another type than the contract's
        return Hold(sku=sku + quantity)


class Options(Service):
    @rpc(idempotence=True)  # error: no such option
    async def hello(self) -> str:
        return "Hello"


class Clock(Service):
    @every("1h")  # error: a schedule gives a moment, and nothing else
    async def tick(self, number: int) -> None: ...


def construct(inventory: Inventory, orders: Collection[Order]) -> tuple[object, ...]:
    return (
        Shop(inventory=inventory, orders=orders),
        Shop(inventory=inventory),  # error: orders is missing
        Shop(inventory=inventory, orders=3),  # error: no collection
        Shop(inventory=inventory, orders=orders, colour="red"),  # error: no such field
        Shop(inventory, orders),  # error: fields are given by name
        Half(),  # error: release and watch are missing
        Hold(),  # error: sku is missing
        Hold(sku=3),  # error: no string
        Hold("tea"),  # error: fields are given by name
    )


def change(hold: Hold, order: Order) -> None:
    hold.sku = "coffee"  # error: a model is frozen
    order.rev = 3  # error: a resource is frozen
