"""The same by Starlette and msgspec by hand: validated, and kept in a dictionary."""

import itertools

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Sale(msgspec.Struct):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Kept(Sale, kw_only=True):
    id: str


class Order(msgspec.Struct):
    sale: Sale
    quantity: int = 1


class Price(msgspec.Struct):
    customer: str
    total: float


encode = msgspec.json.encode
orders = msgspec.json.Decoder(Order)
sales = msgspec.json.Decoder(Sale)
kept: dict[str, Kept] = {}
numbers = itertools.count(1)


async def livez(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def price(request: Request) -> Response:
    try:
        order = orders.decode(await request.body())
    except msgspec.ValidationError as error:
        return JSONResponse({"status": 422, "detail": str(error)}, 422)
    total = order.sale.amount * order.quantity
    return Response(encode(Price(order.sale.customer, total)), media_type="application/json")


async def create(request: Request) -> Response:
    try:
        sale = sales.decode(await request.body())
    except msgspec.ValidationError as error:
        return JSONResponse({"status": 422, "detail": str(error)}, 422)
    id = f"{next(numbers):x}"
    row = kept[id] = Kept(sale.number, sale.customer, sale.tags, sale.amount, id=id)
    return Response(encode(row), 201, {"location": f"/sales/{id}"}, "application/json")


application = app = Starlette(
    routes=[
        Route("/livez", livez),
        Route("/rpc/desk/price", price, methods=["POST"]),
        Route("/sales", create, methods=["POST"]),
    ]
)
