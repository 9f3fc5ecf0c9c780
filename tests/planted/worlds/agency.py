"""Clients have trips booked without waiting, and cancel some: each is booked whole or not at all, as its job says."""

import asyncio
from collections import Counter
from contextlib import suppress

from hanse import App, Collection, Fault, Gateway, Resource, Saga, Service, World, rpc, saga, simulation
from hanse.sim.http import Http
from hanse.sim.setup import Setup

SECONDS = 12.0
CLIENTS = 3
TAKES = "2s"
WHOLE = 2
REST = 0.2
TRIES = 300
ACCEPTED = 202


class Entry(Resource):
    trip: str
    by: int


class Agency(Service):
    entries: Collection[Entry]

    @rpc
    @saga
    async def book(self, s: Saga, trip: str) -> str:
        _ = await s.step(self._note, trip, 1).undo(self._note, trip, -1)
        await s.sleep(TAKES)
        return await s.step(self._note, trip, 1)

    async def _note(self, trip: str, by: int) -> str:
        return (await self.entries.create(Entry(trip=trip, by=by))).id


setup = Setup(app=App("agency", Agency, gateway=Gateway().rpc(Agency)))


async def story(world: World) -> None:
    jobs: dict[str, str] = {}
    ended: dict[str, str] = {}
    world.eventually("each trip is what its job says", lambda: jobs_are_right(world, jobs, ended))
    async with asyncio.TaskGroup() as group:
        for client in range(CLIENTS):
            _ = group.create_task(asks(world, client, jobs))
    async with world.http() as http:
        for trip, at in jobs.items():
            ended[trip] = await end_of(http, at)


async def asks(world: World, client: int, jobs: dict[str, str]) -> None:
    """One trip after the other, of which every second one is cancelled after a while."""
    number = 0
    async with world.http() as http:
        while world.time < world.seconds:
            trip = f"{client}-{number}"
            headers = {"prefer": "respond-async", "idempotency-key": trip}
            with suppress(Fault):
                answer = await http.request("POST", "/rpc/agency/book", headers=headers, json={"trip": trip})
                if answer.status == ACCEPTED:
                    jobs[trip] = answer.headers["location"]
                    number += 1
                    await asyncio.sleep(world.chance.uniform(0.0, 3.0))
                    if number % 2:
                        _ = await http.request("DELETE", jobs[trip])
            await asyncio.sleep(REST)


async def end_of(http: Http, at: str) -> str:
    """What became of a job, once that is known."""
    state = ""
    for _ in range(TRIES):
        with suppress(Fault):
            state = (await http.request("GET", at)).json().get("status", "")
        if state in {"done", "failed", "cancelled"}:
            break
        await asyncio.sleep(1.0)
    return state


def jobs_are_right(world: World, jobs: dict[str, str], ended: dict[str, str]) -> None:
    noted: Counter[str] = Counter()
    for entry in world.rows(Entry):
        noted[entry.trip] += entry.by
    for trip in jobs:
        state = ended.get(trip, "not asked for")
        world.sometimes(state)
        assert state in {"done", "cancelled"}, f"the job of the trip {trip} is {state}"
        left = noted[trip]
        assert left == (WHOLE if state == "done" else 0), f"the trip {trip} is {state}: {left} of {WHOLE} is left of it"


@simulation(setup, seconds=SECONDS, sometimes=("done", "cancelled"))
async def agency(world: World) -> None:
    await story(world)
