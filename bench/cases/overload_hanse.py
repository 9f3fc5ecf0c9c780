"""A service whose calls wait for something, so that its limit of calls is what it can do: writes a row in each."""

import asyncio

from hanse import App, Collection, Gateway, Resource, Service, rpc

WAIT_SECONDS = 0.1
"""What each call waits for, such as a slow neighbour."""


class Sale(Resource):
    note: str


class Desk(Service):
    sales: Collection[Sale]

    @rpc
    async def sell(self, note: str) -> str:
        await asyncio.sleep(WAIT_SECONDS)
        return (await self.sales.create(Sale(note=note))).id


app = App("desk", Desk, gateway=Gateway().rpc(Desk))
