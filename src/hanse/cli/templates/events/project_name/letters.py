"""Writes a letter about each order."""

from hanse import Collection, Resource, Service, on

from project_name.contracts import OrderPlaced


class Letter(Resource):
    text: str


class Letters(Service):
    letters: Collection[Letter]

    @on(OrderPlaced, key=lambda event: event.order.id)
    async def confirm(self, event: OrderPlaced) -> None:
        """Takes effect once, however often the event comes."""
        order = event.order
        await self.letters.create(Letter(id=order.id, text=f"{order.quantity} of {order.sku} it is"))
