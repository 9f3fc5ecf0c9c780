"""Each limit, from just inside to just past it, over a real socket."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from hanse.gateway.depth import check_depth
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import HEADER_BYTES_MAX, Limits
from hanse.kernel.faults import Malformed, TooLarge

Served = Any
Serve = Any


async def test_a_url_over_the_limit_is_414(served: Served) -> None:
    assert (await served.ask("GET", "/things/" + "a" * (8 * 1024 - 8))).status == 404
    over = await served.ask("GET", "/things?name=" + "a" * 8 * 1024)

    assert (over.status, over.json["code"]) == (414, "uri_too_long")


async def test_headers_over_the_limit_are_431(served: Served) -> None:
    assert (await served.ask("GET", "/things", **{f"x-{n}": "a" for n in range(96)})).status == 200
    over = await served.ask("GET", "/things", **{f"x-{n}": "a" for n in range(101)})

    assert (over.status, over.json["code"]) == (431, "headers_too_large")


async def test_header_bytes_over_the_limit_are_431(served: Served) -> None:
    answer = await served.ask("GET", "/things", x="a" * HEADER_BYTES_MAX)

    assert answer.status in {400, 431}


async def test_json_over_its_limits_is_refused(served: Served) -> None:
    async def status(value: object) -> int:
        answer: int = (await served.ask("POST", "/rpc/things/anything", value)).status
        return answer

    deep = b'{"value": ' + b"[" * 63 + b"]" * 63 + b"}"
    assert [await status(deep), await status(deep.replace(b"[]", b"[[]]"))] == [200, 400]
    assert [await status({"value": [1] * 10_000}), await status({"value": [1] * 10_001})] == [200, 413]
    assert [await status({"value": "x" * 65_536}), await status({"value": "x" * 65_537})] == [200, 413]
    assert [await status({"value": ["x" * 60_000] * 17}), await status({"value": ["x" * 60_000] * 18})] == [200, 413]


async def test_a_body_that_does_not_come_is_408_or_cut(serve: Serve) -> None:
    async with serve(limits=Limits(body_seconds=0.2, head_seconds=0.2)) as served:
        head = b"POST /things HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"
        assert (await served.raw(head)).status == 408


async def test_a_chunk_larger_than_any_body_is_given_up(serve: Serve) -> None:
    async with serve(limits=Limits(body_seconds=0.2)) as served:
        head = (
            b"POST /things HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert (await served.raw(head + b"ffffffffffffffff\r\n{}\r\n0\r\n\r\n")).status in {400, 408}


async def test_a_connection_that_asks_nothing_more_is_closed(serve: Serve) -> None:
    async with serve() as served:
        served.server.config.timeout_keep_alive = 1
        line = await served.connect()
        assert [(await line.ask("GET", "/things")).status for _ in range(2)] == [200, 200]
        async with asyncio.timeout(10):
            assert await line.closed()


async def test_a_head_that_does_not_end_is_cut(serve: Serve) -> None:
    async with serve(limits=Limits(head_seconds=0.2)) as served:
        assert (await served.raw(b"GET /things HTTP/1.1\r\nhost: t\r\nx: ")).status == 0


async def test_connections_of_one_address_over_the_limit_are_429(serve: Serve) -> None:
    async with serve(limits=Limits(connections_local=3)) as served:
        held = [await served.connect() for _ in range(3)]
        assert (await held[0].ask("GET", "/things")).status == 200
        over = await (await served.connect()).answer()
        assert (over.status, over.headers["retry-after"], over.headers["connection"]) == (429, "1", "close")

        held[0].writer.close()
        while (answer := await served.raw(b"GET /things HTTP/1.1\r\nhost: t\r\n\r\n")).status == 429:
            pass  # until the server has seen it go
        assert answer.status == 200


async def test_requests_at_once_over_the_limit_are_503(serve: Serve) -> None:
    async with serve(limits=Limits(requests=1)) as served:
        first, second = await served.connect(), await served.connect()
        busy = asyncio.ensure_future(first.ask("POST", "/rpc/things/nap", {"seconds": 0.3}))  # noqa: TID251 - a client
        while (over := await second.ask("GET", "/things")).status == 200:
            pass
        assert (over.status, over.headers["retry-after"]) == (503, "1")
        assert (await busy).status == 200


async def test_streams_over_the_limit_are_503(serve: Serve) -> None:
    async with serve(limits=Limits(streams=1)) as served:
        line = await served.connect()
        line.writer.write(b"GET /things HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n\r\n")
        assert (await line.head()).status == 200
        assert (await served.ask("GET", "/things", accept="text/event-stream")).status == 503


async def test_subscriptions_over_the_limit_are_refused(serve: Serve) -> None:
    async with serve(limits=Limits(subscriptions=2)) as served, connect(f"ws://127.0.0.1:{served.port}/live") as talk:
        for number in range(3):
            await talk.send(f'{{"op": "subscribe", "id": {number}, "collection": "things", "snapshot": false}}')
        said = [str(await talk.recv()) for _ in range(3)]

    assert sum('"overloaded"' in text for text in said) == 1


@pytest.mark.parametrize(("message", "code"), [("x" * 300, 1009), (b"x" * 300, 1009)])
async def test_a_message_over_the_limit_is_1009(serve: Serve, message: str | bytes, code: int) -> None:
    async with (
        serve(limits=Limits(message_bytes=256)) as served,
        connect(f"ws://127.0.0.1:{served.port}/live") as talk,
    ):
        await talk.send(message)
        with pytest.raises(ConnectionClosed):
            await talk.recv()

    assert talk.close_code == code


async def test_a_message_is_as_deep_and_wide_as_a_body_may_be(serve: Serve) -> None:
    async with serve() as served, connect(f"ws://127.0.0.1:{served.port}/live") as talk:
        call = '{"op": "call", "id": 1, "service": "things", "operation": "anything", "arguments": {"value": %s}}'
        await talk.send(call % ("[" + "1," * 10_000 + "1]"))
        told = str(await talk.recv())

    assert '"status":413' in told


async def test_a_gateway_may_take_larger_texts(serve: Serve, thing: type, things: type) -> None:
    limits = Limits(text_bytes=200_000)
    async with serve(gateway=Gateway(limits=limits).resources(thing).rpc(things)) as served:
        assert (await served.ask("POST", "/things", {"name": "x" * 150_000})).status == 201


@pytest.mark.parametrize("body", [b"[[]" * 100, b"[]]" * 200, b"[" + b"{},]" * 100])
def test_brackets_that_do_not_match_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="brackets match"):
        check_depth(body)


def test_what_is_wide_in_sum_is_not_wide() -> None:
    rows = b"[" + b",".join([b'{"a":1,"b":[1,2,3]}'] * 5_000) + b"]"
    assert check_depth(rows) == rows
    with pytest.raises(TooLarge, match="10000 items"):
        check_depth(b"[" + b",".join([b"{}"] * 10_001) + b"]")


def test_digits_that_are_no_number_are_left_alone() -> None:
    body = b'{"card": "12345678901234567890123", "pi": 3.14159265358979323846264, "max": 18446744073709551615}'
    assert check_depth(body) == body
