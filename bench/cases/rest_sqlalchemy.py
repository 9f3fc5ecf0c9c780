"""Sales over REST on SQLite, by FastAPI and SQLAlchemy's async session, as its documentation has it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, Index, event, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

engine = create_async_engine("sqlite+aiosqlite:///sales-orm.db")
sessions = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def _as_durable_as_the_others(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 10000"):
        connection.cursor().execute(f"PRAGMA {setting}")


class Base(DeclarativeBase):
    pass


class SaleRow(Base):
    __tablename__ = "sales"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    customer: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSON)
    amount: Mapped[float]


class PlaceRow(Base):
    __tablename__ = "places"
    # With the id, or SQLite would sort all that match for each page.
    __table_args__ = (Index("ix_places_region", "region", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    region: Mapped[str]
    country: Mapped[str]
    name: Mapped[str]
    people: Mapped[int]


class Sale(BaseModel):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Kept(Sale):
    model_config = ConfigDict(from_attributes=True)

    id: str


class Place(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    region: str
    country: str
    name: str
    people: int


class Page(BaseModel):
    items: list[Place]
    next: str | None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Opened = Annotated[AsyncSession, Depends(session)]


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/sales/{id}")
async def get(id: str, base: Opened) -> Kept:
    row = await base.get(SaleRow, id)
    if row is None:
        raise HTTPException(404)
    return Kept.model_validate(row)


@app.post("/sales", status_code=201)
async def create(sale: Sale, base: Opened) -> Kept:
    row = SaleRow(id=str(uuid4()), **sale.model_dump())
    base.add(row)
    await base.commit()
    return Kept.model_validate(row)


@app.get("/places")
async def page(
    base: Opened,
    region: str | None = None,
    country: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Page:
    asked = select(PlaceRow).order_by(PlaceRow.id).limit(limit + 1)
    if region is not None:
        asked = asked.where(PlaceRow.region == region)
    if country is not None:
        asked = asked.where(PlaceRow.country == country)
    if after is not None:
        asked = asked.where(PlaceRow.id > after)
    rows = (await base.scalars(asked)).all()
    items = [Place.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next=items[-1].id if len(rows) > limit else None)
