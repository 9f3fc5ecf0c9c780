"""Editors and readers of the countries, while the machine that has them dies and comes back:

    hanse sim examples/countries/worlds.py:atlas --seeds 20
"""

import asyncio

from app import State, app

from hanse import Fault, World, simulation

NAMES = ("Lutetia", "Massilia", "Lugdunum")


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
