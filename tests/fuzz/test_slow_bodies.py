"""Clients that send their bodies slowly hold no place of those who do not, over real sockets."""

import asyncio
from collections.abc import Callable
from typing import Any

from flask import Flask

from hanse.gateway.asgi import Receive, Scope, Send
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits

Served = Any
Serve = Any

HEAD = b"POST /things HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
BODY = b'{"name": "tea"}'


async def trickling(served: Served, number: int, head: bytes = HEAD % len(BODY)) -> list[Any]:
    """So many clients that have sent the beginning of a body, as the server knows."""
    lines = [await served.connect() for _ in range(number)]
    for line in lines:
        line.writer.write(head + BODY[:3])
    await figure(served, "hanse_bodies_awaited", lambda value: value == number)
    return lines


async def figure(served: Served, name: str, holds: Callable[[float], bool]) -> None:
    """Wait until a figure is as it should be."""
    async with asyncio.timeout(10):
        while True:
            text: str = (await served.ask("GET", "/metrics", host="localhost")).body.decode()
            if holds(float(text.split(f"\n{name} ")[1].partition("\n")[0])):
                return


async def test_bodies_that_trickle_take_no_place_of_requests(serve: Serve) -> None:
    async with serve(limits=Limits(requests=2)) as served:
        held = await trickling(served, 20)
        assert (await served.ask("POST", "/things", {"name": "rum"})).status == 201
        assert (await served.ask("GET", "/things")).status == 200

        for line in held[:2]:
            line.writer.write(BODY[3:])
        assert {(await line.answer()).status for line in held[:2]} == {201}


async def test_bodies_for_a_mounted_application_take_none_either(serve: Serve) -> None:
    async def whole(_scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    wsgi = Flask("wsgi")
    wsgi.add_url_rule("/things", view_func=lambda: "kept", methods=["POST"])
    gateway = Gateway(limits=Limits(requests=1)).mount("/asgi", whole).mount("/wsgi", wsgi.wsgi_app)
    async with serve(gateway=gateway) as served:
        for path in (b"/asgi/things", b"/wsgi/things"):
            held = await trickling(served, 3, HEAD.replace(b"/things", path) % len(BODY))
            assert (await served.ask("POST", path.decode(), {"name": "rum"})).status == 200
            for line in held:
                await figure(served, "http_server_active_requests", lambda value: value == 0)
                line.writer.write(BODY[3:])
                assert (await line.answer()).status == 200


async def test_a_body_that_is_whole_needs_a_place(serve: Serve) -> None:
    async with serve(limits=Limits(requests=1)) as served:
        [late] = await trickling(served, 1)
        busy = await served.connect()
        busy.writer.write(HEAD.replace(b"/things", b"/rpc/things/nap") % len(b'{"seconds": 1}') + b'{"seconds": 1}')
        await figure(served, "http_server_active_requests", lambda value: value == 1)
        late.writer.write(BODY[3:])

        refused = await late.answer()
        assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
        assert (await busy.answer()).status == 200


async def test_bodies_that_are_waited_for_have_a_limit(serve: Serve) -> None:
    async with serve(limits=Limits(bodies=2)) as served:
        held = await trickling(served, 2)
        refused = await served.raw(HEAD % len(BODY) + BODY[:3])
        assert (refused.status, refused.json["detail"]) == (503, "the limit of 2 bodies that are waited for is reached")

        held[0].writer.close()
        await figure(served, "hanse_bodies_awaited", lambda value: value == 1)
        await trickling_one_more(served)


async def trickling_one_more(served: Served) -> None:
    line = await served.connect()
    line.writer.write(HEAD % len(BODY) + BODY[:3])
    await figure(served, "hanse_bodies_awaited", lambda value: value == 2)
    line.writer.write(BODY[3:])
    assert (await line.answer()).status == 201


async def test_bytes_of_bodies_that_are_waited_for_have_a_limit(serve: Serve, thing: type) -> None:
    gateway = Gateway(limits=Limits(bodies_bytes=5), body_max=20).resources(thing)
    async with serve(gateway=gateway) as served:
        held = await trickling(served, 6)
        held[0].writer.write(BODY[3:])
        refused = await held[0].answer()

    assert (refused.status, refused.json["detail"]) == (
        503,
        "the limit of 20 bytes of bodies that are waited for is reached",
    )


async def test_a_body_slower_than_the_least_rate_is_408(serve: Serve) -> None:
    async with serve(limits=Limits(body_grace_seconds=0.1, body_rate=1_000)) as served:
        [line] = await trickling(served, 1)
        answer = await line.answer()

        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.json["detail"] == "expected 1000 bytes of the body a second, got 3 in all"
