"""The shop's worst days, for a test and for the command line:

    hanse sim examples/shop/worlds.py:checkout --seeds 100 --profile hostile

Customers order tea and cakes while machines die, disks fill up, clocks jump and packets vanish. What the shop promises
is checked from outside: on the rows as they stand in its files.
"""

import asyncio
from collections import Counter

from shop import Item, Letter, Order, Orders, OutOfStock, Payment, Reservation, app

from hanse import Collection, Conflict, Fault, World, simulation

SHELVES = {"tea": (400, 5_00), "cake": (30, 12_00), "samovar": (50, 90_00)}
TRIES = 100


@simulation(app, sometimes=("out of stock", "declined", "asked again"))
async def checkout(world: World) -> None:
    await stock_up(world)
    placed: dict[str, Order] = {}
    world.always("no shelf is short of anything", lambda: shelves_are_right(world))
    world.always("nothing is charged twice, or without an order", lambda: charges_are_right(world))
    world.eventually("every order comes to its end", lambda: orders_are_right(world, placed))
    async with asyncio.TaskGroup() as customers:
        async for number in world.arrivals(rate=4.0):
            sku = world.chance.choice(list(SHELVES))
            customers.create_task(buy(world, placed, f"order-{number}", sku, world.chance.randint(1, 3)))


async def stock_up(world: World) -> None:
    items = world.collection(Item)
    for sku, (left, price) in SHELVES.items():
        await insist(items, Item(id=sku, left=left, price=price))


async def buy(world: World, placed: dict[str, Order], id: str, sku: str, quantity: int) -> None:
    """Ask until there is an answer, under one id: whoever gets none cannot know what came of it."""
    for _ in range(TRIES):
        try:
            order = await world.client(Orders).place(sku, quantity, id)
            if order.total:
                placed[id] = order
            else:
                # It took so long, or a clock was so wrong, that the shop had given it up.
                world.sometimes("given up")
        except OutOfStock:
            world.sometimes("out of stock")
            return
        except Conflict:
            await asyncio.sleep(world.chance.uniform(0.05, 0.5))
        except Fault:
            world.sometimes("asked again")
            await asyncio.sleep(world.chance.uniform(0.1, 2.0))
        else:
            return


async def insist(items: Collection[Item], item: Item) -> None:
    for _ in range(TRIES):
        try:
            await items.put(item)
        except Fault:
            await asyncio.sleep(0.5)
        else:
            return
    raise AssertionError("the shelves could not be filled")


def shelves_are_right(world: World) -> None:
    held = Counter[str]()
    for reservation in world.rows(Reservation):
        if reservation.status != "returned":
            held[reservation.sku] += reservation.quantity
    for item in world.rows(Item):
        assert item.left >= 0, f"{item.left} of {item.id}"
        there = SHELVES[item.id][0]
        assert item.left + held[item.id] == there, f"{item.left} {item.id} left and {held[item.id]} held, of {there}"


def charges_are_right(world: World) -> None:
    orders = {order.id: order for order in world.rows(Order)}
    for payment in world.rows(Payment):
        order = orders.get(payment.id)
        assert order is not None, f"{payment.id} was charged and never ordered"
        if payment.status == "declined":
            world.sometimes("declined")
        assert order.total == payment.amount, f"{payment.id} costs {order.total}, charged {payment.amount}"


def orders_are_right(world: World, placed: dict[str, Order]) -> None:
    orders = {order.id: order for order in world.rows(Order)}
    payments = {payment.id: payment for payment in world.rows(Payment)}
    letters = {letter.id for letter in world.rows(Letter)}
    reservations = {one.id: one for one in world.rows(Reservation)}
    for id in placed:
        assert id in orders, f"{id} was placed, and is not there"
        assert id in payments, f"{id} was placed, and never charged"
        assert f"{id}.placed" in letters, f"nobody was told that {id} was placed"
    for order in orders.values():
        if order.id in payments and payments[order.id].status == "settled":
            assert order.status == "packed", f"{order.id} is paid, and still {order.status}"
        else:
            assert order.status == "refused", f"{order.id} is not paid, and still {order.status}"
        assert f"{order.id}.{order.status}" in letters, f"nobody was told that {order.id} was {order.status}"
    for one in reservations.values():
        assert one.id in orders, f"{one.quantity} of {one.sku} are held for {one.id}, which nobody ordered"
        returned = orders[one.id].status == "refused"
        assert returned == (one.status == "returned"), f"{one.id} is {orders[one.id].status}, its stock {one.status}"
