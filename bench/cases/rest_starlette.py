"""Sales over REST on SQLite, by Starlette and msgspec by hand."""

import msgspec
from rest_by_hand import add, load, opened
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


base = opened()
sales = msgspec.json.Decoder(Sale)
encode = msgspec.json.encode


def kept(id: str, sale: Sale) -> bytes:
    return encode(Kept(sale.number, sale.customer, sale.tags, sale.amount, id=id))


async def livez(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def get(request: Request) -> Response:
    id = request.path_params["id"]
    value = load(base, id)
    if value is None:
        return JSONResponse({"status": 404}, 404)
    return Response(kept(id, sales.decode(value)), media_type="application/json")


async def create(request: Request) -> Response:
    try:
        sale = sales.decode(await request.body())
    except msgspec.ValidationError as error:
        return JSONResponse({"status": 422, "detail": str(error)}, 422)
    id = add(base, encode(sale).decode())
    return Response(kept(id, sale), 201, {"location": f"/sales/{id}"}, "application/json")


class Price(msgspec.Struct):
    id: str
    customer: str
    total: float


async def price(request: Request) -> Response:
    try:
        sale = sales.decode(await request.body())
        quantity = msgspec.convert(request.query_params.get("quantity", "1"), int, strict=False)
        express = msgspec.convert(request.query_params.get("express", "false"), bool, strict=False)
    except msgspec.ValidationError as error:
        return JSONResponse({"status": 422, "detail": str(error)}, 422)
    total = sale.amount * quantity + (5 if express else 0)
    return Response(encode(Price(request.path_params["id"], sale.customer, total)), media_type="application/json")


app = Starlette(
    routes=[
        Route("/livez", livez),
        Route("/sales/{id}", get),
        Route("/sales", create, methods=["POST"]),
        Route("/sales/{id}/price", price, methods=["POST"]),
    ]
)
