from hanse import Fault, World, simulation

from project_name.app import app
from project_name.contracts import Order, Orders
from project_name.letters import Letter


@simulation(app, seeds=5, seconds=20, sometimes=("placed",))
async def test_every_order_has_a_letter(world: World) -> None:
    world.eventually("every order has a letter", lambda: ids(world, Order) == ids(world, Letter))
    async for _ in world.arrivals(rate=2.0):
        try:
            await world.client(Orders).place("tea")
            world.sometimes("placed")
        except Fault:
            pass  # who gets no answer cannot know whether it was placed


def ids(world: World, kind: type[Order] | type[Letter]) -> set[str]:
    return {row.id for row in world.rows(kind)}
