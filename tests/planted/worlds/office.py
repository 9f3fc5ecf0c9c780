"""Clients have a printer work for them without waiting: what was taken on is printed once, and answered."""

import asyncio
from collections import Counter

from hanse import App, Collection, Fault, Gateway, Resource, Service, World, progress, rpc, simulation
from hanse.sim.setup import Setup

SECONDS = 12.0
CLIENTS = 3
TAKES = 0.05
REST = 0.2


class Line(Resource):
    text: str


class Printer(Service):
    lines: Collection[Line]

    @rpc
    async def print(self, text: str) -> str:
        await progress(0.5, "half of it")
        await asyncio.sleep(TAKES)
        return (await self.lines.create(Line(text=text))).id


setup = Setup(app=App("office", Printer, gateway=Gateway().rpc(Printer)))


async def story(world: World) -> None:
    accepted: set[str] = set()
    world.always("nothing is printed twice", lambda: printed_once(world))
    async with asyncio.TaskGroup() as group:
        for client in range(CLIENTS):
            _ = group.create_task(asks(world, client, accepted))
    world.eventually("what was taken on is printed", lambda: accepted <= {line.text for line in world.rows(Line)})


async def asks(world: World, client: int, accepted: set[str]) -> None:
    """One job after the other, each asked for until it is taken on."""
    number = 0
    async with world.http() as http:
        while world.time < world.seconds:
            text = f"{client}-{number}"
            headers = {"prefer": "respond-async", "idempotency-key": text}
            try:
                answer = await http.request("POST", "/rpc/printer/print", headers=headers, json={"text": text})
            except Fault:
                await asyncio.sleep(REST)
                continue
            if answer.status == 202:
                accepted.add(text)
                number += 1
            await asyncio.sleep(REST)


def printed_once(world: World) -> bool:
    return all(count == 1 for count in Counter(line.text for line in world.rows(Line)).values())


@simulation(setup, seconds=SECONDS)
async def office(world: World) -> None:
    await story(world)
