"""Subscribers at a gateway that is not where the rows are, while machines die and the network between them is cut.

Each keeps a picture of what it follows. A change tells what the row was before: had one been left out, or told twice,
it would not fit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hanse import App, Collection, Fault, Gateway, Resource, Service, Setup, World, rpc, simulation
from hanse.sim.http import Http
from hanse.sim.sse import SseEvent

TEAMS = ("red", "blue")


class Player(Resource):
    team: str
    score: int = 0


class League(Service):
    players: Collection[Player]


class Front(Service):
    """Where the door is."""

    @rpc
    async def here(self) -> bool:
        return True


league = Setup(app=App("league", League, Front, gateway=Gateway().resources(Player)), door="front")


class Fan:
    """Follows one team, or all; comes back with its cursor whenever it is cut off."""

    def __init__(self, world: World, query: str, team: str = "") -> None:
        self.world = world
        self.path = f"/players{query}"
        self.team = team
        self.last_id = ""
        self.told = asyncio.Event()
        self.players: dict[str, dict[str, Any]] = {}

    async def watch(self, http: Http, pause: float) -> None:
        while True:
            try:
                async with http.stream("GET", self.path, last_event_id=self.last_id) as events:
                    if not self.last_id:
                        self.players.clear()
                    else:
                        self.world.sometimes("resumed")
                    async for event in events:
                        self.see(event)
                        self.last_id = event.id
                        self.told.set()
            except Fault:
                pass
            await asyncio.sleep(pause)

    def see(self, event: SseEvent) -> None:
        told = event.json()
        known = self.players.get(told.get("key", ""))
        match event.event:
            case "reset":
                self.world.sometimes("begun anew")
                self.players.clear()
            case "snapshot" | "created":
                assert known is None, f"{told} was told of before"
                self.players[told["key"]] = told["value"]
            case "updated":
                assert told["before"] == known, f"{told}, but what was told last is {known}"
                assert told["rev"] > told["before"]["rev"], f"{told} goes back"
                self.players[told["key"]] = told["value"]
            case "deleted":
                assert told["before"] == known, f"{told}, but what was told last is {known}"
                del self.players[told["key"]]
            case other:
                assert other in {"ready", "fault"}, f"a {other} that nobody asked for"

    def differs(self) -> str | None:
        rows = {row.id: (row.rev, row.score) for row in self.world.rows(Player) if self.team in {"", row.team}}
        told = {id: (row["rev"], row["score"]) for id, row in self.players.items()}
        return None if told == rows else f"{self.path} shows {told}, and there is {rows}"


async def played(world: World) -> None:
    fans = [
        *(Fan(world, f"?team={team}", team) for team in TEAMS),
        *(Fan(world, "") for _ in range(3)),
        *(Fan(world, "?team=red", "red") for _ in range(2)),
    ]
    players = world.collection(Player)

    async def play(number: int) -> None:
        id = f"player-{number % 7}"
        try:
            if number % 11 == 0:
                await players.delete(id)
            else:
                await players.put(Player(id=id, team=world.chance.choice(TEAMS), score=number))
            world.sometimes("played")
        except Fault:
            pass

    for number, fan in enumerate(fans):
        world.eventually(f"fan {number} sees what there is", fan.differs)
    async with world.http() as http, asyncio.TaskGroup() as group:
        watching = [group.create_task(fan.watch(http, 0.2 + n / 3)) for n, fan in enumerate(fans)]
        async with asyncio.TaskGroup() as games:
            async for number in world.arrivals(rate=8.0):
                games.create_task(play(number))
        await world.heal()
        async with asyncio.timeout(120):
            for fan in fans:
                while fan.differs():
                    fan.told.clear()
                    await fan.told.wait()
        for task in watching:
            task.cancel()


@simulation(league, seeds=6, seconds=20.0, sometimes=("played", "resumed"))
async def under_kills_and_partitions(world: World) -> None:
    await played(world)


@simulation(league, seeds=3, profile="deploy", seconds=20.0, sometimes=("played", "resumed"))
async def under_deploys(world: World) -> None:
    await played(world)


test_subscribers_see_no_gap_and_nothing_twice_under_kills_and_partitions = under_kills_and_partitions
test_subscribers_see_no_gap_and_nothing_twice_under_deploys = under_deploys
