"""Trips are booked by a saga: a seat, a room and a payment, or none of them. Whoever asks knows no more than a key."""

import asyncio
from collections import Counter

from hanse import (
    App,
    Collection,
    Event,
    Fault,
    Resource,
    Saga,
    SagaStuck,
    Service,
    World,
    on,
    policy,
    rpc,
    saga,
    simulation,
)
from hanse.kernel.settings import NodeSettings, Settings
from hanse.sim.setup import STORE, Setup

from .common import TRIES

SECONDS = 20.0
RATE = 2.0


class Declined(Fault, detail="{trip} is not paid for"):
    """The bank has said no."""

    trip: str


class Full(Fault, detail="there is no room for {trip}"):
    """The hotel has said no."""

    trip: str


class Entry(Resource):
    """One thing that was taken (`by` is 1) or given back (-1) for a trip; nothing but the order of these is known."""

    trip: str
    what: str
    by: int


class Asked(Event):
    trip: str


class Paid(Event):
    trip: str
    well: bool


class Trip(Resource):
    """One that somebody wants."""

    status: str = "wanted"


class Places(Service):
    """Seats and rooms: each call takes or gives back one more, whoever calls however often."""

    entries: Collection[Entry]

    @rpc
    async def take(self, trip: str, what: str) -> Entry:
        if what == "room" and trip.endswith("7"):
            raise Full(trip)
        return await self.entries.create(Entry(trip=trip, what=what, by=1))

    @rpc
    async def give_back(self, trip: str, what: str) -> None:
        await self.entries.create(Entry(trip=trip, what=what, by=-1))


class Bank(Service, events=(Paid,)):
    @on(Asked, key=lambda asked: asked.trip)
    async def pay(self, asked: Asked) -> None:
        await self.emit(Paid(trip=asked.trip, well=not asked.trip.endswith("3")))


class Agency(Service, events=(Asked,)):
    places: Places
    trips: Collection[Trip]

    @rpc
    @saga(timeout="5m", events=(Paid,))
    async def book(self, s: Saga, trip: str) -> str:
        _ = await s.step(self._want, trip).undo(self._drop)
        _ = await asyncio.gather(self._take(s.branch("seat"), trip, "seat"), self._take(s.branch("room"), trip, "room"))
        paid = await s.event(Paid, where=lambda paid: paid.trip == trip, timeout="4m")
        if not paid.well:
            raise Declined(trip)
        return await s.step(self._booked, trip)

    async def _take(self, s: Saga, trip: str, what: str) -> Entry:
        taking = s.step(self.places.take, trip, what).within("3s" if trip.endswith("5") else "4m")
        return await taking.undo(self.places.give_back, trip, what)

    async def _want(self, trip: str) -> str:
        await self.emit(Asked(trip=trip))
        return (await self.trips.create(Trip(id=trip))).id

    async def _booked(self, trip: str) -> str:
        return (await self.trips.patch(trip, status="booked")).id

    async def _drop(self, trip: str) -> None:
        await self.trips.delete(trip)


# None is kept in memory while it waits, so that each has to be roused.
setup = Setup(app=App("trips", Places, Bank, Agency), settings=Settings(node=NodeSettings(store=STORE, sagas_awake=0)))


async def story(world: World) -> None:
    asked: list[str] = []
    world.always("nothing is taken or given back twice", lambda: entries_are_unique(world))
    world.eventually("a trip is booked whole, or not at all", lambda: trips_are_whole(world, asked))
    world.eventually("a trip that nothing speaks against is booked", lambda: trips_are_booked(world, asked))
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            asked.append(f"trip-{number}")
            group.create_task(book(world, f"trip-{number}"))


async def book(world: World, trip: str) -> None:
    """Ask under one key until there is an answer."""
    agency = policy(world.client(Agency), idempotency_key=trip)
    for _ in range(TRIES):
        try:
            _ = await agency.book(trip)
        except (Declined, Full):
            world.sometimes("turned back")
            return
        except SagaStuck:
            return
        except Fault:
            await asyncio.sleep(world.chance.uniform(0.2, 2.0))
        else:
            world.sometimes("booked")
            return


def entries_are_unique(world: World) -> None:
    counted = Counter((entry.trip, entry.what, entry.by) for entry in world.rows(Entry))
    twice = [f"{trip}: {what} {by:+}" for (trip, what, by), count in counted.items() if count > 1]
    assert not twice, f"happened twice: {', '.join(sorted(twice))}"


def trips_are_whole(world: World, asked: list[str]) -> None:
    booked = {trip.id: trip.status for trip in world.rows(Trip)}
    left: Counter[tuple[str, str]] = Counter()
    for entry in world.rows(Entry):
        left[entry.trip, entry.what] += entry.by
    for trip in asked:
        wanted = int(trip in booked)
        assert booked.get(trip) != "wanted", f"{trip} is neither booked nor given up"
        for what in ("seat", "room"):
            assert left[trip, what] == wanted, f"{trip} has {left[trip, what]} {what}s, where {wanted} is right"


def trips_are_booked(world: World, asked: list[str]) -> None:
    booked = {trip.id for trip in world.rows(Trip)}
    lost = [trip for trip in asked if trip not in booked and not trip.endswith(("3", "5", "7"))]
    assert not lost, f"turned back for nothing: {', '.join(lost)}"


@simulation(setup, seconds=SECONDS, sometimes=("booked", "turned back"))
async def trips(world: World) -> None:
    await story(world)
