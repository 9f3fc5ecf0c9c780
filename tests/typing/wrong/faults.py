"""Declaring faults, raising them, and what they carry."""

from collections.abc import AsyncIterator
from typing import Protocol

from hanse import Contract, Event, Fault, Node, Resource, Service, desc, not_, one_of, rpc, scope


class OutOfStock(Fault, status=409):
    sku: str
    left: int = 0


class Placed(Event):
    sku: str


class Order(Resource):
    sku: str


class Inventory(Contract, Protocol, version="1.4"):
    @rpc(faults=(OutOfStock,))
    async def reserve(self, sku: str) -> int: ...

    @rpc
    def watch(self, sku: str) -> AsyncIterator[int]: ...


class Badly(Contract, Protocol, versoin="1.4"):  # error: no such keyword
    @rpc(faults=(Order,))  # error: a resource is no fault
    async def reserve(self) -> int: ...

    @rpc(allow="stock:write")  # error: a scope is made with scope()
    async def write(self) -> None: ...

    @rpc(timeout=[2])  # error: no duration
    async def wait(self) -> None: ...


class Gone(Fault, stauts=410):  # error: no such column
    sku: str


class Streaming(Service, Inventory):
    async def reserve(self, sku: str) -> str:  # error: another result than the contract's
        return sku

    async def watch(self, sku: str) -> int:  # error: no stream
        return len(sku)


class Listing(Service, events=(Order,)):  # error: a resource is no event
    pass


class Owning(Service, owns=(Placed,)):  # error: an event is no resource
    pass


def fail(sku: str) -> OutOfStock:
    if sku == "tea":
        return OutOfStock(3)  # error: no string
    if sku == "coffee":
        return OutOfStock()  # error: sku is missing
    if sku == "water":
        return OutOfStock("water", amount=3)  # error: no such field
    return OutOfStock(sku)


def handle(fault: OutOfStock) -> str:
    if fault.code:
        return fault.left  # error: no string
    return fault.amount  # error: no such field


async def follow(inventory: Inventory, node: Node) -> None:
    await inventory.watch("tea")  # error: a stream is not awaited
    async for left in inventory.watch("tea"):
        left.upper()  # error: no string
    await node.client(Inventory).reserve(3)  # error: no string
    await node.collection(Order).find(sort=lambda o: o.name)  # error: no such field
    await node.collection(Placed).count()  # error: an event is no resource


def guard() -> object:
    return scope("a") & "b"  # error: a guard goes with a guard


def ask() -> object:
    return not_(True), desc("sku"), one_of("sku", 3)  # error: no list of values
