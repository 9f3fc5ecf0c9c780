from hanse import Node

from project_name.app import app
from project_name.contracts import Orders
from project_name.letters import Letter


async def test_whoever_orders_gets_a_letter() -> None:
    async with Node(app) as node:
        order = await node.client(Orders).place("tea", 2)
        await node.settle()
        assert (await node.collection(Letter).get(order.id)).text == "2 of tea it is"
