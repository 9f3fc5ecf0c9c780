"""The contract that rows are served under."""

from hanse import Resource
from hanse.service.rows import rows_contract


class Order(Resource, collection="orders_of_old"):
    sku: str


class OrderOfNow(Resource, collection="orders_of_old"):
    sku: str
    quantity: int = 1


def test_it_follows_from_the_name_of_the_collection_and_is_made_once() -> None:
    description = rows_contract(Order)
    assert description.operations["get"].address == "rows/orders_of_old.get"
    assert rows_contract(OrderOfNow) is description
