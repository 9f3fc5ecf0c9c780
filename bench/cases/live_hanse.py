"""Rows and events that everybody follows; who calls `change` or `tell` makes some, in one commit."""

from hanse import App, Collection, Event, Gateway, Resource, Service, rpc


class Item(Resource):
    number: int
    customer: str
    amount: float


class Told(Event):
    number: int
    customer: str
    amount: float


class Board(Service, events=(Told,)):
    items: Collection[Item]

    @rpc
    async def change(self, times: int) -> None:
        for _ in range(times):
            await self.items.create(Item(number=123456, customer="Ada Lovelace, London#", amount=1234.56))

    @rpc
    async def tell(self, times: int) -> None:
        for _ in range(times):
            await self.emit(Told(number=123456, customer="Ada Lovelace, London#", amount=1234.56))


app = App("board", Board, gateway=Gateway().resources(Item).rpc(Board).events(Told))
