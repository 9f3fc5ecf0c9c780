"""A bookshop that moves to Hanse piece by piece: a site in Flask, prices in a class of their own, and what is new.

    pip install 'hanse[wsgi]' flask
    hanse run examples/moving/moving.py

The old site answers where it did, at `/`. What has moved is beside it: the books are rows at `/books`, the prices, a
class that knows nothing of Hanse, are a service, and `/quotes/{title}` asks both.
"""

from decimal import Decimal
from typing import Annotated, Protocol

from flask import Flask
from msgspec import Meta

from hanse import App, Collection, Contract, Fault, Gateway, Model, Resource, Service, expose, rpc


class NotInStock(Fault, status=404, detail="there is no book {title!r}"):
    title: str


# --- what there was before ---

MANY = 10

old = Flask("bookshop")


@old.get("/")
def start() -> str:
    return "<h1>Books</h1><p>since 1898</p>"


@old.get("/imprint")
def imprint() -> str:
    return "Buddenbrook & Sons, Lübeck"


class PriceList:
    """Prices, with a discount for many: a class that knows nothing of Hanse."""

    def __init__(self) -> None:
        self._discount = Decimal("0.10")

    def total(self, price: Decimal, copies: int) -> Decimal:
        whole = price * copies
        return whole * (1 - self._discount) if copies >= MANY else whole

    def set_discount(self, discount: Decimal) -> None:
        self._discount = discount


# --- what is new ---


class Book(Resource):
    title: str
    price: Decimal


class Shelf(Service):
    """The books that there are."""

    books: Collection[Book]

    @rpc(faults=(NotInStock,))
    async def named(self, title: str) -> Book:
        """The book of a title."""
        found = await self.books.find(lambda book: book.title == title, limit=1)
        for book in found.items:
            return book
        raise NotInStock(title)


class Prices(Contract, Protocol):
    """What books cost."""

    @rpc(idempotent=True)
    async def total(self, price: Decimal, copies: int) -> Decimal:
        """What so many copies cost."""
        ...


PriceService = expose(PriceList(), contract=Prices)


class Quote(Model):
    title: str
    copies: int
    total: Decimal


gateway = Gateway().resources(Book, path="/books").rpc(Prices).mount("/", old)


@gateway.get("/quotes/{title}", faults=(NotInStock,))
async def quote(title: str, shelf: Shelf, prices: Prices, copies: Annotated[int, Meta(ge=1, le=1000)] = 1) -> Quote:
    """What so many copies of a book cost today."""
    book = await shelf.named(title)
    return Quote(title=title, copies=copies, total=await prices.total(book.price, copies))


app = App("bookshop", Shelf, PriceService, gateway=gateway)
