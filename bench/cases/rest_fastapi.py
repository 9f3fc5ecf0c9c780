"""Sales over REST on SQLite, by FastAPI and the standard library's sqlite3, on the event loop."""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from rest_by_hand import add, load, opened

app = FastAPI()
base = opened()


class Sale(BaseModel):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Kept(Sale):
    id: str


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/sales/{id}")
async def get(id: str) -> Kept:
    value = load(base, id)
    if value is None:
        raise HTTPException(404)
    return Kept(id=id, **Sale.model_validate_json(value).model_dump())


@app.post("/sales", status_code=201)
async def create(sale: Sale) -> Kept:
    return Kept(id=add(base, sale.model_dump_json()), **sale.model_dump())


class Price(BaseModel):
    id: str
    customer: str
    total: float


@app.post("/sales/{id}/price")
async def price(id: str, sale: Sale, quantity: int = 1, express: bool = False) -> Price:  # noqa: FBT001, FBT002 - a query
    return Price(id=id, customer=sale.customer, total=sale.amount * quantity + (5 if express else 0))
