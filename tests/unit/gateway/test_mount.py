"""Applications of other frameworks behind the door: limits, errors and life first."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from flask import Flask, request as flask_request
from starlette.applications import Starlette
from starlette.responses import StreamingResponse

from hanse import CouldNotStart, Gateway, Misdeclared, Node, Resource, current
from hanse.gateway.lifespan import lifespan_of
from hanse.gateway.limits import Limits

Value = Any
Opened = Callable[[Gateway], Any]


async def raw(scope: Value, receive: Value, send: Value) -> None:
    """Tells how much of a body came, and in what root."""
    assert scope["type"] == "http", "lifespans are unknown here"
    size = 0
    while True:
        event = await receive()
        size += len(event.get("body", b""))
        if event["type"] == "http.disconnect" or not event.get("more_body"):
            break
    told = f"{scope['root_path']}|{scope['path']}|{size}|{event['type']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": told})


def nobody(one: object) -> None: ...


@pytest.mark.parametrize("app", [3, Flask, nobody], ids=["a number", "a class", "a function of one"])
def test_only_applications_are_mounted(app: Value) -> None:
    with pytest.raises(Misdeclared, match="expected an ASGI or WSGI application"):
        Gateway().mount("/old", app)


def test_a_path_is_plain_and_taken_once(tmp_path: Path) -> None:
    with pytest.raises(Misdeclared, match="expected a path such as /old"):
        Gateway().mount("/old/{id}", raw)
    with pytest.raises(Misdeclared, match="/old has files or an application already"):
        Gateway().static("/old", tmp_path).mount("/old", raw)


async def exchange(door: Value, path: str, pieces: list[bytes], **headers: str) -> Value:
    """A body in pieces, without a length."""
    sent: list[Value] = []
    events = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting = iter([*events, {"type": "http.request", "body": b""}])

    async def receive() -> Value:
        return next(waiting)

    async def send(event: Value) -> None:
        sent.append(event)

    await door.app(door.scope("POST", path, headers), receive, send)
    return sent


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_the_limit_of_bodies_holds_inside(opened: Opened, kind: str) -> None:
    flask, kept = Flask("old"), []

    @flask.post("/keep")
    def keep() -> str:
        kept.append(flask_request.get_data())
        return "kept"

    door = opened(Gateway(body_max=1000).mount("/old", raw if kind == "asgi" else flask.wsgi_app))
    announced = await door("POST", "/old/keep", b"x" * 1001, content_length="1001")
    grown = await exchange(door, "/old/keep", [b"x" * 600] * 3, transfer_encoding="chunked")

    assert (announced.status, announced.json["code"]) == (413, "too_large")
    assert [event["type"] for event in grown] == ["http.response.start", "http.response.body"]
    assert grown[0]["status"] == 413
    assert kept == []


async def test_a_body_has_to_come_in_time(opened: Opened) -> None:
    door = opened(Gateway(limits=Limits(body_seconds=0.01)).mount("/old", raw))
    wire = door.open("/old/", method="POST", transfer_encoding="chunked")
    wire.sent.get_nowait()

    assert (await wire.next())["status"] == 408


async def test_a_client_that_goes_is_told_of(opened: Opened) -> None:
    door = opened(Gateway().mount("/old", raw))
    wire = door.open("/old/", method="POST", transfer_encoding="chunked")
    wire.sent.get_nowait()
    wire.sent.put_nowait({"type": "http.request", "body": b"abc", "more_body": True})
    wire.leave()

    assert (await wire.next())["status"] == 200
    assert (await wire.next())["body"] == b"/old|/old/|3|http.disconnect"


async def test_an_answer_that_began_before_the_body_was_too_large_is_cut(opened: Opened) -> None:
    async def eager(scope: Value, receive: Value, send: Value) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] == "http.request":
            pass
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"late"})

    door = opened(Gateway(body_max=10).mount("/old", eager))
    wire = door.open("/old/", method="POST", transfer_encoding="chunked")
    wire.sent.get_nowait()
    for _ in range(2):
        wire.sent.put_nowait({"type": "http.request", "body": b"123456", "more_body": True})
    await wire.ended.wait()

    assert wire.cut
    assert wire.came.empty()


async def test_what_speaks_wsgi_has_no_lifespan(opened: Opened) -> None:
    door = opened(Gateway().mount("/old", Flask("old")))
    async with lifespan_of(door.app, "the gateway", {}):
        assert (await door("GET", "/old/gone", host="here")).status == 404


async def test_a_failure_inside_is_answered_once(opened: Opened) -> None:
    fastapi = FastAPI()

    @fastapi.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("secret")

    async def silent(scope: Value, receive: Value, send: Value) -> None:
        raise ZeroDivisionError("secret")

    async def halfway(scope: Value, receive: Value, send: Value) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError("secret")

    door = opened(Gateway().mount("/fast", fastapi).mount("/silent", silent).mount("/half", halfway))
    theirs, ours = await door("GET", "/fast/crash"), await door("GET", "/silent/")
    cut = door.open("/half/")
    await cut.ended.wait()

    assert (theirs.status, theirs.body) == (500, b"Internal Server Error")
    assert (ours.status, ours.json["code"]) == (500, "internal")
    assert cut.cut


async def test_routes_win_and_the_longest_path_is_chosen(opened: Opened, order: type[Resource], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    gateway = Gateway().resources(order).mount("/", raw).mount("/old", raw).static("/old/files", tmp_path)
    door = opened(gateway)

    assert (await door("GET", "/orders")).json == {"items": [], "next": None}
    assert (await door("GET", "/old/x")).body == b"/old|/old/x|0|http.request"
    assert (await door("GET", "/older")).body == b"|/older|0|http.request"
    assert (await door("GET", "/old/files/a.txt")).body == b"a"
    assert (await door("GET", "/livez")).json == {"status": "ok"}


async def test_what_is_mounted_decides_by_itself_who_may_write(opened: Opened) -> None:
    async def identify(headers: Value) -> Value:
        raise AssertionError(headers)

    door = opened(Gateway(identify=identify).mount("/old", raw))
    answer = await door("POST", "/old/", b"abc", origin="https://elsewhere.example", host="here.example")

    assert answer.body == b"/old|/old/|3|http.request"


async def test_what_is_mounted_lives_with_the_node_and_finds_it(node: Node, opened: Opened) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        told.append("started")
        yield {"mine": 1}
        told.append("stopped")

    fastapi = FastAPI(lifespan=lifespan)

    @fastapi.get("/who")
    async def who(request: Request) -> list[object]:
        return [request.state.hanse is node, request.state.mine, current().headers.correlation_id]

    door = opened(Gateway().mount("/fast", fastapi).mount("/raw", raw))
    async with lifespan_of(door.app, "the gateway", {}):
        answer = await door("GET", "/fast/who", x_request_id="mine")
        assert told == ["started"]

    assert answer.json == [True, 1, "mine"]
    assert told == ["started", "stopped"]


async def test_what_does_not_start_is_named(opened: Opened) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise ConnectionError("no database")
        yield

    door = opened(Gateway().mount("/old", Starlette(lifespan=lifespan)))

    with pytest.raises(CouldNotStart, match=r"the application at /old did not start: ConnectionError: no database"):
        async with lifespan_of(door.app, "the gateway", {}):
            raise AssertionError


async def test_a_socket_inside_ends_with_the_node(opened: Opened) -> None:
    fastapi = FastAPI()

    @fastapi.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_text(await socket.receive_text())

    gateway = Gateway().mount("/fast", fastapi)
    wire = opened(gateway).open("/fast/echo", kind="websocket")
    assert (await wire.next())["type"] == "websocket.accept"
    wire.sent.put_nowait({"type": "websocket.receive", "text": "tea"})
    assert (await wire.next())["text"] == "tea"

    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.drain())
        closed = await wire.next()
        wire.leave("websocket")

    assert (closed["type"], closed["code"]) == ("websocket.close", 1012)


async def test_a_socket_that_fails_inside_is_closed(opened: Opened) -> None:
    fastapi = FastAPI()

    @fastapi.websocket("/late")
    async def late(socket: WebSocket) -> None:
        await socket.accept()
        raise ZeroDivisionError("secret")

    @fastapi.websocket("/early")
    async def early(socket: WebSocket) -> None:
        raise ZeroDivisionError("secret")

    door = opened(Gateway().mount("/fast", fastapi))
    late_wire, early_wire = (door.open(f"/fast/{path}", kind="websocket") for path in ("late", "early"))
    accepted, closed, refused = await late_wire.next(), await late_wire.next(), await early_wire.next()

    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 1011)
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 500)


async def test_an_event_stream_inside_ends_with_the_node(opened: Opened) -> None:
    fastapi = FastAPI()

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    @fastapi.get("/events")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    gateway = Gateway().mount("/fast", fastapi)
    door = opened(gateway)
    wire = door.open("/fast/events")
    began, first = await wire.next(), await wire.next()
    await gateway.drain()
    last = await wire.next()
    await wire.ended.wait()
    refused = await door("GET", "/fast/events")

    assert (refused.status, refused.json["code"]) == (503, "unavailable")
    assert (began["status"], first["body"]) == (200, b"data: 1\n\n")
    assert (last["body"], last.get("more_body", False)) == (b"", False)
    assert not wire.cut


async def test_flask_answers_in_its_root(opened: Opened) -> None:
    flask = Flask("old")

    @flask.post("/hello/<name>")
    def hello(name: str) -> dict[str, object]:
        root, body = flask_request.environ["SCRIPT_NAME"], flask_request.get_data(as_text=True)
        return {"name": name, "root": root, "url": flask_request.path, "body": body}

    door = opened(Gateway().mount("/old", flask))
    answer = await door("POST", "/old/hello/Ada", b"tea", content_type="text/plain", host="here")

    assert answer.json == {"name": "Ada", "root": "/old", "url": "/hello/Ada", "body": "tea"}
