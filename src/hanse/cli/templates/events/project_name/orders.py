"""Keeps orders, and tells of each."""

from hanse import Collection, Service

from project_name.contracts import Order, OrderPlaced, Orders


class OrderService(Service, Orders):
    orders: Collection[Order]

    async def place(self, sku: str, quantity: int = 1) -> Order:
        """The order and the news of it commit together, or not at all."""
        order = await self.orders.create(Order(sku=sku, quantity=quantity))
        await self.emit(OrderPlaced(order=order))
        return order
