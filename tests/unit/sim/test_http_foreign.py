"""A door need not be ours: applications of Starlette, which run on anyio, work in worlds, and follow the seed."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hanse import App, Service, World, rpc
from hanse.node.node import Node
from hanse.sim.door import Application
from hanse.sim.run import Outcome, run_once
from hanse.sim.setup import Setup
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token

DAY = 1_700_000_000


class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return f"Hello, {name}!"


class Door:
    """Not a gateway of ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.done: list[str] = []

    def asgi(self, node: Node, /) -> Application:
        async def hello(request: Request) -> Response:
            with node.context():
                return PlainTextResponse(await node.client(Greeter).hello(request.query_params["name"]))

        async def tasks(request: Request) -> Response:
            found: list[int] = []

            async def find(number: int) -> None:
                await anyio.sleep(0.1 * (3 - number))
                found.append(number)

            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(find, number)
            with anyio.move_on_after(1.0):
                await anyio.Event().wait()
            return JSONResponse(found, background=BackgroundTask(self.done.append, request.url.path))

        async def counted(request: Request) -> Response:
            async def count() -> AsyncIterator[str]:
                for number in range(3):
                    yield f"data: {number}\n\n"
                    await anyio.sleep(1.0)

            return StreamingResponse(count(), media_type="text/event-stream")

        def plain(request: Request) -> Response:
            return PlainTextResponse("without await")

        routes = [Route("/hello", hello), Route("/tasks", tasks), Route("/counted", counted), Route("/plain", plain)]
        return Starlette(routes=[*routes, Mount("/files", StaticFiles(directory=self._folder))])

    async def drain(self, node: Node | None = None, /) -> None:
        pass


def tell(door: Door, story: Story) -> Outcome:
    setup = Setup(app=App("greeter", Greeter, gateway=door))
    told = Simulation(name="told", story=story, setup=setup, profile="calm", seeds=1, seconds=10.0)
    outcome = run_once(told, Token(profile="calm", seed=0, plan=()))
    assert [f"{one.check}: {one.detail}" for one in outcome.violations] == []
    return outcome


async def story(world: World) -> None:
    async with world.http() as http:
        assert (await http.request("GET", "/hello?name=Ada")).text == "Hello, Ada!"
        assert (await http.request("GET", "/tasks")).json() == [2, 1, 0]
        async with http.stream("GET", "/counted") as events:
            assert [event.data async for event in events] == ["0", "1", "2"]
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(http.request("GET", path)) for path in ("/plain", "/files/a.txt", "/files/b.txt")
            ]
        assert [(answer.result().status, answer.result().text) for answer in asked] == [
            (200, "without await"),
            (200, "in a file"),
            (404, "Not Found"),
        ]


def test_an_application_on_anyio_runs_in_a_world_as_the_seed_says(tmp_path: Path) -> None:
    _ = (tmp_path / "a.txt").write_text("in a file")
    os.utime(tmp_path / "a.txt", (DAY, DAY))
    door, real = Door(tmp_path), anyio.to_thread.run_sync
    assert len({tell(door, story).hash for _ in range(3)}) == 1
    assert door.done == ["/tasks"] * 3
    assert anyio.to_thread.run_sync is real
