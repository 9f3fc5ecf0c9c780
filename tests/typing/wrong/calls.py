"""Calling services, and reading and writing collections."""

from decimal import Decimal
from typing import Protocol

from hanse import Collection, Contract, Created, Model, Resource, policy, rpc, send


class Hold(Model):
    id: str
    quantity: int


class Order(Resource):
    amount: Decimal
    status: str = "new"


class Other(Resource):
    name: str


class Inventory(Contract, Protocol):
    @rpc
    async def reserve(self, sku: str, quantity: int) -> Hold: ...

    @rpc(idempotent=True)
    async def release(self, hold_id: str) -> None: ...


async def call(inventory: Inventory) -> str:
    await inventory.reserve("tea", "2")  # error: no integer
    await inventory.reserve("tea")  # error: quantity is missing
    await inventory.reserv("tea", 2)  # error: no such operation
    inventory.reserve("tea", 2)  # error: not awaited
    hold: str = await inventory.reserve("tea", 2)  # error: a hold is no string
    return hold


async def call_in_another_way(inventory: Inventory) -> None:
    await send(inventory.release, 7)  # error: no string
    await send(inventory.release)  # error: the argument is missing
    await policy(inventory, timeout="2s").reserv("tea", 2)  # error: no such operation
    await policy(inventory, timeout="2s").reserve(1, 2)  # error: no string
    policy(inventory, timeuot="2s")  # error: no such option


async def read(orders: Collection[Order]) -> str:
    await orders.find(lambda o: o.amount > "x")  # error: a decimal is not compared with a string
    await orders.find(lambda o: o.amuont > 3)  # error: no such field
    await orders.get(42)  # error: an id is a string
    name: str = (await orders.get("42")).amount  # error: no string
    return name


async def write(orders: Collection[Order]) -> None:
    await orders.create(Other(name="x"))  # error: another resource
    await orders.create(Order())  # error: amount is missing
    await orders.delete("42", if_match="3")  # error: a revision is an integer


async def follow(orders: Collection[Order]) -> object:
    async for change in orders.changes(lambda o: o.status == "paid"):
        if isinstance(change, Created):
            return change.before  # error: what was created had no before
    return None
