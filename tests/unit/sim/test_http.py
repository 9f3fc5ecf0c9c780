"""Whoever comes from outside: requests and event streams, through the network, to the gateway of an app."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from hanse import App, Collection, Fault, Gateway, Resource, Service, World, rpc
from hanse.kernel.faults import DeadlineExceeded, Misconfigured, Unavailable
from hanse.sim.door import ABORT, AHEAD_MAX, Application, Door, Event, Receive, Send
from hanse.sim.http import Http, NoStream
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import KEEPALIVE_SECONDS, Network
from hanse.sim.plan import Plan, Replace
from hanse.sim.run import Outcome, run, run_once
from hanse.sim.setup import Setup, placed
from hanse.sim.simulation import Simulation, Story
from hanse.sim.sse import SseEvent
from hanse.sim.token import Token
from hanse.sim.trace import Trace

Script = Callable[[Any, Any, Any], Awaitable[None]]
Use = Callable[["Outside"], Awaitable[None]]

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream")]}
"""As applications send it: in any case."""


class Outside:
    """A client, a door, and the network between them."""

    def __init__(self, application: Application | None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self.net = Network(loop, Trace(keep=False), 0)
        self.lane = Lane(loop, "shop")
        self.door = None if application is None else Door(self.net, self.lane, application)
        self.http = Http(self.net, loop.home, lambda: self.door)

    @property
    def links(self) -> list[Any]:
        return self.net.links_of("shop", ["client"])

    def kill(self, *, dark: bool = False) -> None:
        assert self.door is not None
        self.lane.kill()
        self.net.died(self.door.port, dark=dark)


def outside(application: Application | None, use: Use) -> None:
    async def main() -> None:
        world = Outside(application)
        try:
            await use(world)
        finally:
            world.lane.kill()
            world.net.loop.bury([world.lane])

    run(main())


def time() -> float:
    return asyncio.get_running_loop().time()


async def echo(scope: Event, receive: Receive, send: Send) -> None:
    request = await receive()
    headers = [(name, value) for name, value in scope["headers"] if name.startswith(b"x-")]
    body = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} ".encode() + request["body"]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body[:5], "more_body": True})
    await send({"type": "http.response.body", "body": body[5:]})


async def counting(scope: Event, receive: Receive, send: Send) -> None:
    """Counts, a number a second, for as long as somebody listens."""

    async def count() -> None:
        await send(HEAD)
        number = int(dict(scope["headers"]).get(b"last-event-id", 0))
        while True:
            number += 1
            await send({"type": "http.response.body", "body": b"id: %d\ndata: x\n\n" % number, "more_body": True})
            await asyncio.sleep(1)

    await while_there(receive, count)
    Seen.gone_at = time()


class Seen:
    gone_at: float = 0.0
    sent: int = 0


async def while_there(receive: Receive, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Work until the client has gone."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        await until_gone(receive)
        _ = working.cancel()


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def test_a_request_is_answered() -> None:
    async def use(world: Outside) -> None:
        answer = await world.http.request("PUT", "/a%20b?c=d", headers={"X-One": "1"}, json={"e": 1})
        assert (answer.status, answer.headers) == (201, {"x-one": "1"})
        assert answer.text == 'PUT /a b c=d {"e":1}'
        assert (await world.http.request("GET", "/")).text == "GET /  "
        assert time() > 2 * world.net.latency_low

    outside(echo, use)


def test_an_answer_may_be_json() -> None:
    async def application(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b'{"left":3}'})

    async def use(world: Outside) -> None:
        assert (await world.http.request("GET", "/")).json() == {"left": 3}

    outside(application, use)


def test_nobody_listens_yet() -> None:
    async def use(world: Outside) -> None:
        with pytest.raises(Unavailable, match="nobody listens to GET /"):
            _ = await world.http.request("GET", "/")
        assert time() > 0

    outside(None, use)


async def hanging(scope: Event, receive: Receive, send: Send) -> None:
    await until_gone(receive)
    Seen.gone_at = time()


@pytest.mark.parametrize("dark", [False, True])
def test_who_dies_breaks_connections(*, dark: bool) -> None:
    async def use(world: Outside) -> None:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(quiet(world.http.request("GET", "/")))
            await asyncio.sleep(1)
            world.kill(dark=dark)
            assert await asked == "unavailable"
        assert (time() >= 1 + KEEPALIVE_SECONDS) is dark
        with pytest.raises(Unavailable, match="broke before all of GET / was answered"):
            _ = await world.http.request("GET", "/")

    outside(hanging, use)


def test_a_long_cut_breaks_connections_and_both_ends_know() -> None:
    async def use(world: Outside) -> None:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(quiet(world.http.request("GET", "/")))
            await asyncio.sleep(1)
            world.net.cut(world.links)
            assert await asked == "unavailable"
            assert time() == 1 + KEEPALIVE_SECONDS
            await asyncio.sleep(1)
        assert Seen.gone_at == 1 + KEEPALIVE_SECONDS

    outside(hanging, use)


def test_a_short_cut_takes_only_time() -> None:
    async def use(world: Outside) -> None:
        world.net.cut(world.links)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(world.http.request("GET", "/"))
            await asyncio.sleep(1)
            world.net.mend(world.links)
        assert asked.result().status == 201
        assert time() > 1

    outside(echo, use)


def test_what_is_not_answered_in_time_is_told_so_and_left() -> None:
    async def use(world: Outside) -> None:
        with pytest.raises(DeadlineExceeded, match="GET /slow"):
            _ = await world.http.request("GET", "/slow", timeout="2s")
        await asyncio.sleep(1)
        assert 2 < Seen.gone_at < 2.1

    outside(hanging, use)


def test_who_leaves_cuts_what_is_open() -> None:
    async def use(world: Outside) -> None:
        async with asyncio.TaskGroup() as group:
            async with world.http as http:
                asked = group.create_task(quiet(http.request("GET", "/")))
                await asyncio.sleep(1)
            assert await asked == "unavailable"
        with pytest.raises(Unavailable, match="nobody listens"):
            _ = await world.http.request("GET", "/")
        await asyncio.sleep(1)
        assert 1 < Seen.gone_at < 1.1

    outside(hanging, use)


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_fails_is_no_answer(caplog: pytest.LogCaptureFixture, *, begun: bool) -> None:
    async def failing(scope: Event, receive: Receive, send: Send) -> None:
        if begun:
            await send(HEAD)
        raise ValueError("no")

    async def use(world: Outside) -> None:
        if begun:
            with pytest.raises(Unavailable, match="broke"):
                _ = await world.http.request("GET", "/")
        else:
            assert (await world.http.request("GET", "/")).status == 500

    with caplog.at_level(logging.ERROR, "hanse.sim"):
        outside(failing, use)
    assert "the door failed at GET /" in caplog.text


def test_an_application_can_cut_the_connection() -> None:
    async def cutting(scope: Event, receive: Receive, send: Send) -> None:
        scope["extensions"][ABORT]()
        await send(HEAD)

    async def use(world: Outside) -> None:
        with pytest.raises(Unavailable, match="broke"):
            _ = await world.http.request("GET", "/")

    outside(cutting, use)


def test_events_come_as_they_are_sent_and_go_on_where_they_were() -> None:
    async def use(world: Outside) -> None:
        async with world.http.stream("GET", "/") as events:
            assert await anext(events) == SseEvent("1", "message", "x")
            assert time() < 0.1
            assert (await anext(events)).id == "2"
            assert 1 < time() < 1.1
        await asyncio.sleep(2)
        assert 1 < Seen.gone_at < 2.1
        async with world.http.stream("GET", "/", last_event_id=events.last_id) as events:
            assert (await anext(events)).id == "3"

    outside(counting, use)


def test_a_stream_that_ends_has_ended_and_one_that_breaks_has_not() -> None:
    async def ending(scope: Event, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"data: x\n\ndata: y\n\n", "more_body": False})

    async def use(world: Outside) -> None:
        async with world.http.stream("GET", "/") as events:
            assert [event.data async for event in events] == ["x", "y"]

    outside(ending, use)

    async def killed(world: Outside) -> None:
        async with world.http.stream("GET", "/") as events:
            _ = await anext(events)
            world.kill()
            with pytest.raises(Unavailable, match="broke"):
                _ = await anext(events)

    outside(counting, killed)


def test_what_is_no_stream_of_events_is_told() -> None:
    async def use(world: Outside) -> None:
        with pytest.raises(NoStream, match="GET /a was answered with 201 and no stream of events: GET /a") as told:
            async with world.http.stream("GET", "/a"):
                pass
        assert told.value.answered == 201

    outside(echo, use)


def test_a_stream_is_read_where_it_is_entered() -> None:
    async def use(world: Outside) -> None:
        with pytest.raises(Misconfigured, match="async with"):
            _ = await anext(world.http.stream("GET", "/"))

    outside(counting, use)


def test_a_server_waits_for_a_client_that_does_not_read() -> None:
    async def pouring(scope: Event, receive: Receive, send: Send) -> None:
        async def pour() -> None:
            await send(HEAD)
            while True:
                await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
                Seen.sent += 1

        Seen.sent = 0
        await while_there(receive, pour)

    async def use(world: Outside) -> None:
        async with world.http.stream("GET", "/") as events:
            await asyncio.sleep(10)
            assert Seen.sent == AHEAD_MAX
            for _ in range(3):
                _ = await anext(events)
            await asyncio.sleep(1)
            assert Seen.sent == AHEAD_MAX + 3

    outside(pouring, use)


def test_a_door_that_closes_lets_what_is_under_way_be_answered() -> None:
    async def slow(scope: Event, receive: Receive, send: Send) -> None:
        await asyncio.sleep(float(scope["path"][1:]))
        await echo(scope, receive, send)

    async def use(world: Outside) -> None:
        assert world.door is not None
        async with asyncio.TaskGroup() as group:
            short, long = (group.create_task(quiet(world.http.request("GET", path))) for path in ("/2", "/9"))
            await asyncio.sleep(1)
            closing = group.create_task(world.door.close(5.0))
            await asyncio.sleep(0.1)
            assert await quiet(world.http.request("GET", "/0")) == "unavailable"
            await closing
        assert (short.result(), long.result()) == (201, "unavailable")

    outside(slow, use)


async def quiet(asked: Awaitable[Any]) -> object:
    try:
        return (await asked).status
    except Fault as fault:
        return fault.code


# The doors of worlds.


class Note(Resource):
    text: str = ""


class Notes(Service):
    notes: Collection[Note]


class Clock(Service):
    @rpc
    async def now(self) -> str:
        return "late"


def notes(*services: type[Service]) -> App:
    return App("notes", *(services or (Notes, Clock)), gateway=Gateway().resources(Note))


app = notes()


def tell(story: Story, setup: App | Setup = app, *, plan: Plan = (), seconds: float = 20.0) -> Outcome:
    found = Simulation(
        name="told",
        story=story,
        setup=setup if isinstance(setup, Setup) else Setup(app=setup),
        profile="calm",
        seeds=1,
        seconds=seconds,
    )
    outcome = run_once(found, Token(profile="calm", seed=0, plan=plan))
    assert [f"{one.check}: {one.detail}" for one in outcome.violations] == []
    return outcome


def test_the_outside_writes_and_follows_through_the_gateway() -> None:
    async def story(world: World) -> None:
        async with world.http() as http:
            made = await http.request("POST", "/notes", json={"text": "a"})
            row = made.json()
            async with http.stream("GET", "/notes") as events:
                assert [(await anext(events)).event for _ in range(2)] == ["snapshot", "ready"]
                tag = {"If-Match": made.headers["etag"]}
                edits = [
                    await http.request("PATCH", f"/notes/{row['id']}", headers=tag, json={"text": text})
                    for text in "bc"
                ]
                assert [(edit.ok, edit.status) for edit in edits] == [(True, 200), (False, 412)]
                assert (await anext(events)).json()["value"]["text"] == "b"
        assert [note.text for note in world.rows(Note)] == ["b"]

    _ = tell(story)


def test_a_door_is_shut_while_its_machine_is_down_and_open_again_after_that() -> None:
    async def story(world: World) -> None:
        async with world.http() as http:
            assert (await http.request("GET", "/notes")).status == 200
            world.crash(Notes)
            with pytest.raises(Unavailable):
                _ = await http.request("GET", "/notes")
            await world.restart(Notes)
            assert (await http.request("GET", "/notes")).status == 200
            world.power_cut(Notes)
            with pytest.raises(Unavailable):
                _ = await http.request("GET", "/notes")
            await world.restart(Notes)
            assert (await http.request("GET", "/notes")).status == 200

    _ = tell(story)


def test_streams_of_a_process_that_is_replaced_end_with_a_hint() -> None:
    async def story(world: World) -> None:
        async with world.http() as http:
            async with http.stream("GET", "/notes") as events:
                _ = await anext(events)
                assert [event async for event in events] == []
            again = await follow(http, events.last_id)
            assert again == "ready"

    async def follow(http: Http, last_id: str) -> str:
        while True:
            with suppress(Unavailable):
                async with http.stream("GET", "/notes", last_event_id="") as events:
                    return (await anext(events)).event
            await asyncio.sleep(0.1)

    _ = tell(story, plan=(Replace(at=5.0, seconds=5.0, machine="notes"),))


def test_the_door_may_be_at_another_machine_than_the_first() -> None:
    async def story(world: World) -> None:
        async with world.http() as http:
            world.crash(Clock)
            with pytest.raises(Unavailable):
                _ = await http.request("GET", "/notes")
            await world.restart(Clock)
            assert (await http.request("GET", "/notes")).status == 200

    _ = tell(story, Setup(app=app, door="clock"))


def test_a_door_has_to_be_somewhere() -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misconfigured, match="the app 'notes' has no door"):
            _ = world.http()

    _ = tell(story, App("notes", Notes))
    with pytest.raises(Misconfigured, match=r"expected Setup\(door=...\) to be one of notes, clock; got 'nowhere'"):
        _ = placed(Setup(app=app, door="nowhere"))


def test_one_seed_does_one_thing_over_http_too() -> None:
    async def story(world: World) -> None:
        async with world.http() as http:
            async for number in world.arrivals(rate=5.0):
                with suppress(Fault):
                    _ = await http.request("PUT", f"/notes/{number % 3}", json={"text": f"{number}"})
            answer = await http.request("GET", "/notes?total=true")
            assert answer.json()["total"] == 3

    assert tell(story).hash == tell(story).hash
