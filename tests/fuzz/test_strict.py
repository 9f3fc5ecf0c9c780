"""What is no HTTP, or could be read in two ways, is refused with a problem; nothing fails inside."""

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest

Served = Any

GET = b"GET /things HTTP/1.1\r\nhost: t\r\n"
POST = b"POST /things HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n"
END = b"\r\n"

NO_HTTP = {
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "a length and chunks": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "another coding": POST + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no coding": POST + b"transfer-encoding: identity\r\n\r\n{}",
    "a length below nothing": POST + b"content-length: -1\r\n\r\n{}",
    "a length with a sign": POST + b"content-length: +2\r\n\r\n{}",
    "a length without end": POST + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "a chunk of no size": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "bytes for a method": b"\x00\x01 /things HTTP/1.1\r\nhost: t\r\n\r\n",
    "a null in the path": b"GET /th\x00ings HTTP/1.1\r\nhost: t\r\n\r\n",
    "a null in a header": GET + b"x: a\x00b\r\n\r\n",
    "a return alone": GET + b"x: a\rb: c\r\n\r\n",
    "a space behind a name": GET + b"x : a\r\n\r\n",
    "no host": b"GET /things HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"host: u\r\n\r\n",
    "two hosts in one": b"GET /things HTTP/1.1\r\nhost: t, u\r\n\r\n",
    "a host with a user": b"GET /things HTTP/1.1\r\nhost: a@b\r\n\r\n",
    "HTTP/0.9": b"GET /things\r\n\r\n",
    "HTTP/3.7": b"GET /things HTTP/3.7\r\nhost: t\r\n\r\n",
    "bytes in the path": b"GET /things/\xff HTTP/1.1\r\nhost: t\r\n\r\n",
    "bytes in the query": b"GET /things?name=\xff HTTP/1.1\r\nhost: t\r\n\r\n",
    "half an escape": b"GET /things/%zz HTTP/1.1\r\nhost: t\r\n\r\n",
    "half an escape at the end": b"GET /things?name=%4 HTTP/1.1\r\nhost: t\r\n\r\n",
    "an escaped null": b"GET /things/%00 HTTP/1.1\r\nhost: t\r\n\r\n",
    "a path in Latin": b"GET /things/%ff HTTP/1.1\r\nhost: t\r\n\r\n",
    "a query in Latin": b"GET /things?name=%ff HTTP/1.1\r\nhost: t\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "nothing known": b"\xff\xfe\r\n\r\n",
}


async def test_what_is_no_request_is_400_with_a_problem(served: Served) -> None:
    told = {name: await served.raw(data) for name, data in NO_HTTP.items()}

    assert {name: answer.status for name, answer in told.items()} == dict.fromkeys(NO_HTTP, 400)
    assert {answer.headers["content-type"] for answer in told.values()} == {"application/problem+json"}
    assert all(answer.json["detail"] for answer in told.values())


async def test_nothing_is_read_behind_a_request_of_two_lengths(served: Served) -> None:
    line = await served.connect()
    smuggled = NO_HTTP["a length and chunks"] + GET + END
    line.writer.write(smuggled)

    assert (await line.answer()).status == 400
    assert await line.reader.read() == b""


@pytest.mark.parametrize("method", ["TRACE", "FOO", "A" * 5000, "get"])
async def test_an_absurd_method_is_refused(served: Served, method: str) -> None:
    assert (await served.raw(f"{method} /things HTTP/1.1\r\nhost: t\r\n\r\n".encode())).status in {400, 405}


@pytest.mark.parametrize("target", [b"*", b"a:80", b"http://elsewhere/nothing", b"//", b"/../../etc/passwd"])
async def test_a_strange_target_leads_nowhere(served: Served, target: bytes) -> None:
    assert (await served.raw(b"OPTIONS " + target + b" HTTP/1.1\r\nhost: t\r\n\r\n")).status in {400, 404}


async def test_trailers_are_not_taken_for_headers(served: Served) -> None:
    chunks = b'transfer-encoding: chunked\r\n\r\n12\r\n{"name": "trailer"}\r\n0\r\n'
    answer = await served.raw(POST + chunks + b"if-match: 1\r\ncontent-length: 3\r\n" + END)

    assert answer.status in {201, 400}


JSON = {
    "not a number": (b'{"name": "a", "share": NaN}', 400),
    "without end": (b'{"name": "a", "share": Infinity}', 400),
    "too large for a float": (b'{"name": "a", "share": 1e999}', 400),
    "half a character": (rb'{"name": "\ud800"}', 400),
    "more than 64 bits": (b'{"name": "a", "count": 18446744073709551616}', 400),
    "less than 64 bits": (b'{"name": "a", "count": -9223372036854775809}', 400),
    "a number of a thousand digits": (b'{"name": "a", "count": ' + b"9" * 1000 + b"}", 400),
    "not UTF-8": (b'{"name": "\xff"}', 400),
    "a mark of byte order": (b'\xef\xbb\xbf{"name": "a"}', 400),
    "a day that is none": (b'{"name": "a", "day": "2026-02-30"}', 422),
    "a time beyond time": (b'{"name": "a", "lasts": "P99999999999D"}', 422),
    "an integer with an exponent": (b'{"name": "a", "count": 1e30}', 422),
    "a revision of many bits": (b'{"name": "a", "rev": 99999999999999999999}', 400),
}


async def test_json_that_others_would_read_differently_is_refused(served: Served) -> None:
    for name, (body, status) in JSON.items():
        for path, sent in (("/things", body), ("/rpc/things/echo", b'{"thing": %b}' % body)):
            answer = await served.ask("POST", path, sent)

            assert (name, path, answer.status) == (name, path, status)
            assert answer.json["detail"]


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_moment_at_the_edge_of_time_is_told_as_it_came(served: Served, at: str) -> None:
    """No UTC has it: it is kept, compared and answered with its own offset."""
    echoed = await served.ask("POST", "/rpc/things/echo", {"thing": {"name": "a", "at": at}})
    assert (echoed.status, echoed.json["at"]) == (200, at)

    created = await served.ask("POST", "/things", {"name": "a", "at": at})
    assert (created.status, created.json["at"]) == (201, at)
    for query in (f"at={quote(at)}", "at[gt]=2026-01-01T00:00:00Z", "sort=-at", "sort=at"):
        assert (await served.ask("GET", f"/things?{query}")).status == 200


async def test_a_body_that_comes_after_its_refusal_is_not_taken_for_a_head(served: Served) -> None:
    line = await served.connect()
    piece, pieces = b"x" * 65_600, 16
    line.writer.write(POST + b"content-length: %d\r\n\r\n" % (len(piece) * pieces))
    assert (await line.answer("POST")).status == 413

    for _ in range(pieces):
        line.writer.write(piece)
        await line.writer.drain()
        for _ in range(20):  # so that the server, which runs on this loop, has read the end by itself
            await asyncio.sleep(0)
    assert (await line.ask("GET", "/things")).status == 200


async def test_the_last_of_two_equal_keys_counts(served: Served) -> None:
    """As in browsers and most decoders; nothing behind the door reads the bytes in another way."""
    answer = await served.ask("POST", "/things", b'{"name": "first", "name": "last"}')

    assert answer.json["name"] == "last"


@pytest.mark.parametrize(
    "query", ["count[gt]=18446744073709551616", "labels.x=-9223372036854775809", "count=" + "9" * 99]
)
async def test_a_filter_of_more_than_64_bits_is_invalid(served: Served, query: str) -> None:
    assert (await served.ask("GET", f"/things?{query}")).status == 422


@pytest.mark.parametrize("price", ["NaN", "sNaN", "-Infinity", "inf"])
async def test_a_decimal_that_is_no_number_is_invalid_wherever_it_comes(served: Served, price: str) -> None:
    await served.ask("PUT", "/things/1", {"name": "a"})
    asked = [
        ("POST", "/things", {"name": "a", "price": price}),
        ("PUT", "/things/1", {"name": "a", "price": price}),
        ("PATCH", "/things/1", {"price": price}),
        ("POST", "/rpc/things/price", {"amount": price}),
        ("GET", f"/things?price[gt]={price}", None),
        ("GET", f"/things?share[lt]={price.removeprefix('s')}", None),
        ("GET", f"/parts/a?weight={price.removeprefix('s')}", None),
    ]
    answers = [await served.ask(*one) for one in asked]

    assert [answer.status for answer in answers] == [422] * len(asked)
    assert [error["pointer"] for error in answers[0].json["errors"]] == ["/price"]


@pytest.mark.parametrize("query", ["limit=1&limit=2", "cursor=a&cursor=b"])
async def test_what_is_asked_for_once_is_not_asked_for_twice(served: Served, query: str) -> None:
    assert (await served.ask("GET", f"/things?{query}")).status == 422
    assert (await served.ask("GET", "/parts/a?weight=1&weight=2")).status == 422
    assert (await served.ask("GET", "/parts/a?tags=1&tags=2")).status == 200


async def test_garbage_behind_a_request_whose_answer_has_begun_is_not_answered_in_its_midst(served: Served) -> None:
    """httptools reads ahead, and the connection is closed; h11 leaves it until the answer has ended."""
    line = await served.connect()
    line.writer.write(GET + b"accept: text/event-stream\r\n\r\n")
    assert (await line.head()).status == 200
    line.writer.write(b"\x00\x01 garbage\r\n\r\n")

    rest = b""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(0.5):
            while piece := await line.reader.read(4096):
                rest += piece
    assert b"HTTP/1.1" not in rest
