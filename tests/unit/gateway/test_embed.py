"""An app as one ASGI application: what was not started first."""

from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from hanse import App, Collection, Gateway, Misconfigured, Misdeclared, Resource, Service, Settings, asgi, rpc
from hanse.gateway.embed import NotStarted
from hanse.gateway.lifespan import lifespan_of
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.settings import NodeSettings

Value = Any


class Note(Resource):
    text: str


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def count(self) -> int:
        return await self.notes.count()


class Broken(Service):
    @rpc
    async def nothing(self) -> None: ...

    async def started(self) -> None:
        raise ConnectionError("no database")


def app() -> App:
    return App("notes", Notes, gateway=Gateway().resources(Note).rpc(Notes))


def asking(application: Value) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://here")


def test_an_app_without_a_gateway_has_nothing_to_serve() -> None:
    with pytest.raises(Misdeclared, match="the app 'notes' has no gateway"):
        asgi(App("notes", Notes))


async def test_what_nobody_started_says_how(caplog: pytest.LogCaptureFixture) -> None:
    door = asgi(app(), Settings())
    host = Starlette()
    host.mount("/inner", door)
    async with asking(host) as client:
        answer = await client.get("/inner/notes")

    assert (answer.status_code, answer.json()["code"]) == (503, "not_started")
    assert "lifespan=door.lifespan" in answer.json()["detail"]
    assert "was not started" in caplog.text
    with pytest.raises(NotStarted, match="running"):
        door.client(Notes)


async def test_it_runs_once_at_a_time_but_again() -> None:
    door = asgi(app(), Settings())
    async with door.running():
        with pytest.raises(Misconfigured, match="runs already"):
            async with door.running():
                raise AssertionError
    async with door.running() as node:
        states: list[str] = [node.state]
    assert [*states, node.state] == ["ready", "stopped"]


async def test_a_start_that_fails_is_told_to_the_server() -> None:
    door = asgi(App("broken", Broken, gateway=Gateway().rpc(Broken)), Settings())
    with pytest.raises(CouldNotStart, match="started failed: ConnectionError: no database"):
        async with lifespan_of(door, "the app", {}):
            raise AssertionError
    with pytest.raises(CouldNotStart):
        async with door.running():
            raise AssertionError


async def test_bad_settings_are_told_at_the_start() -> None:
    door = asgi(app(), Settings(node=NodeSettings(transport="pigeon:")))
    with pytest.raises(Misconfigured, match="pigeon:"):
        async with door.running():
            raise AssertionError


async def test_it_lives_in_fastapi_below_a_path() -> None:
    door = asgi(app(), Settings())
    fastapi = FastAPI(lifespan=door.lifespan)
    fastapi.mount("/inner", door)

    @fastapi.get("/count")
    async def count() -> list[int]:
        return [await door.client(Notes).count(), await door.collection(Note).count()]

    async with asking(fastapi) as client, fastapi.router.lifespan_context(fastapi):
        made = await client.post("/inner/notes", json={"text": "tea"})
        page = await client.get("/inner/notes?limit=1")
        counted = await client.get("/count")

    assert made.headers["location"] == f"/inner/notes/{made.json()['id']}"
    assert page.json()["items"] == [made.json()]
    assert counted.json() == [1, 1]


async def test_a_host_may_end_its_streams() -> None:
    door = asgi(app(), Settings())
    with pytest.raises(NotStarted):
        await door.drain()
    async with door.running(), asking(door) as client:
        await door.drain()
        refused = await client.get("/notes", headers={"accept": "text/event-stream"})

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
