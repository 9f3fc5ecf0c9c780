"""Editors and readers of the countries, while the machine that has them dies and comes back:

hanse sim examples/countries/worlds.py:atlas --seeds 20
hanse sim examples/countries/worlds.py:readers --seeds 20
"""

import asyncio
from typing import Any

from app import State, app

from hanse import Fault, World, simulation
from hanse.sim.http import Http
from hanse.sim.sse import SseEvent

NAMES = ("Lutetia", "Massilia", "Lugdunum")
STALE = 412


@simulation(app, seconds=20.0, sometimes=("edited",))
async def atlas(world: World) -> None:
    states = world.collection(State)
    edited: dict[str, State] = {}

    def edits_are_there() -> None:
        now = {state.id: state for state in world.rows(State)}
        for id, state in edited.items():
            assert now[id].rev >= state.rev, f"{id} was edited at {state.rev}, and is at {now[id].rev}"

    async def edit(number: int) -> None:
        try:
            page = await states.find(lambda state: state.country == "FR", limit=20)
            state = world.chance.choice(page.items)
            written = await states.patch(state.id, if_match=state.rev, name=f"{NAMES[number % 3]} {number}")
        except Fault:
            return
        edited[written.id] = written
        world.sometimes("edited")

    world.eventually("every edit lasts", edits_are_there)
    async with asyncio.TaskGroup() as editors:
        async for number in world.arrivals(rate=5.0):
            editors.create_task(edit(number))


class Reader:
    """Somebody who has the page of France open: sees each change once, in order, whatever becomes of the connection."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.states: dict[str, dict[str, Any]] = {}
        self.last_id = ""
        self.told = asyncio.Event()

    async def read(self, http: Http) -> None:
        while True:
            try:
                async with http.stream("GET", "/states?country=FR", last_event_id=self.last_id) as events:
                    if self.last_id:
                        self.world.sometimes("resumed")
                    else:
                        self.states.clear()
                    async for event in events:
                        self.see(event)
                        self.last_id = event.id
                        self.told.set()
            except Fault:
                pass
            await asyncio.sleep(1.0)

    def see(self, event: SseEvent) -> None:
        told = event.json()
        match event.event:
            case "snapshot":
                assert told["key"] not in self.states, f"{told['key']} comes twice in one snapshot"
                self.states[told["key"]] = told["value"]
            case "updated":
                assert told["before"] == self.states[told["key"]], f"{told['before']} was never told of"
                assert told["rev"] > told["before"]["rev"], f"{told['value']} was told of before"
                self.states[told["key"]] = told["value"]
            case other:
                assert other == "ready", f"a {other} that nobody asked for"

    def is_right(self) -> bool:
        rows = {state.id: state for state in self.world.rows(State) if state.country == "FR"}
        told = {id: (state["rev"], state["name"]) for id, state in self.states.items()}
        return told == {state.id: (state.rev, state.name) for state in rows.values()}


@simulation(app, seconds=20.0, sometimes=("edited", "somebody else was first", "resumed"))
async def readers(world: World) -> None:
    """Over HTTP, as browsers come: editors say which revision they have seen, readers resume where they were."""
    reader = Reader(world)

    async def edit(http: Http, number: int) -> None:
        try:
            page = await http.request("GET", "/states?country=FR&limit=5")
            if page.ok:
                state = world.chance.choice(page.json()["items"])
                tag, name = f'"{state["rev"]}"', f"{NAMES[number % 3]} {number}"
                answer = await http.request(
                    "PATCH", f"/states/{state['id']}", headers={"If-Match": tag}, json={"name": name}
                )
                world.sometimes("somebody else was first" if answer.status == STALE else "edited")
        except Fault:
            pass

    async with world.http() as http, asyncio.TaskGroup() as group:
        reading = group.create_task(reader.read(http))
        async with asyncio.TaskGroup() as editors:
            async for number in world.arrivals(rate=5.0):
                editors.create_task(edit(http, number))
        async with asyncio.timeout(120.0):
            while not reader.is_right():
                reader.told.clear()
                await reader.told.wait()
        reading.cancel()
