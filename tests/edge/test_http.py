"""What goes over the wire, both ways: bodies, heads, and requests that are none; on every engine."""

import asyncio
from pathlib import Path
from typing import cast

import h11
import pytest

from hanse.deploy.edge.builtin.engine import BuiltinEngine

from .conftest import ENGINES, PURE, Edge, showing
from .wire import PATIENCE, Connection, Exchange, Upstream, ask, connected, said, serving, until

pytestmark = pytest.mark.parametrize("running", [*sorted(ENGINES), PURE], indirect=True)

PIECE = b"x" * 65536


async def echo(exchange: Exchange) -> None:
    """Answer with the body that came."""
    request = await exchange.whole()
    await exchange.answer(200, request.body)


async def test_a_head_has_no_body_and_the_length_of_one(edge: Edge) -> None:
    one = Upstream("one", echo)

    async def large(exchange: Exchange) -> None:
        _ = await exchange.whole()
        await exchange.answer(200, b"four" if exchange.request.method == "HEAD" else b"get")

    one.handler = large
    async with serving(one), showing(edge, one), connected(edge.url) as connection:
        head = await connection.ask("HEAD", "/")
        after = await connection.ask("GET", "/")
    assert (head.status, head.headers["content-length"], head.body) == (200, "4", b"")
    assert after.body == b"get"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body_leave_the_connection_usable(edge: Edge, status: int) -> None:
    async def bare(exchange: Exchange) -> None:
        _ = await exchange.whole()
        await exchange.send(h11.Response(status_code=status, headers=[("ETag", '"7"')]))
        await exchange.send(h11.EndOfMessage())

    one = Upstream("one", bare)
    async with serving(one), showing(edge, one), connected(edge.url) as connection:
        got = [await connection.ask("GET", "/") for _ in range(2)]
    assert [(answer.status, answer.headers["etag"], answer.body) for answer in got] == [(status, '"7"', b"")] * 2


async def test_chunks_and_trailers_go_both_ways(edge: Edge) -> None:
    async def chunked(exchange: Exchange) -> None:
        request = await exchange.whole()
        trailer = [("X-Sum", request.trailers.get("x-sum", "none"))]
        await exchange.send(h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")]))
        await exchange.send(h11.Data(data=request.body[:3]))
        await exchange.send(h11.Data(data=request.body[3:]))
        await exchange.send(h11.EndOfMessage(headers=trailer))

    one = Upstream("one", chunked)
    async with serving(one), showing(edge, one), connected(edge.url) as connection:
        await connection.send_head("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        await connection.send(h11.Data(data=b"hello "))
        await connection.send(h11.Data(data=b"world"))
        await connection.send(h11.EndOfMessage(headers=[("X-Sum", "11"), ("X-Forwarded-For", "6.6.6.6")]))
        answer = await connection.answer()
    assert answer.body == b"hello world"
    assert one.asked[0].headers["transfer-encoding"] == "chunked"
    if edge.features.trailers:
        assert one.asked[0].trailers == {"x-sum": "11"}
        assert answer.trailers == {"x-sum": "11"}


async def test_a_body_that_ends_with_its_connection_is_whole(edge: Edge) -> None:
    if not edge.features.exact:
        pytest.skip("it ends its own connection then")

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _ = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold ")
        await writer.drain()
        writer.write(b"news")

    one = Upstream("one", raw=old)
    async with serving(one):
        _ = await edge.show_one(one)
        async with connected(edge.url) as connection:
            got = [(await connection.ask("GET", "/")).body for _ in range(2)]
        bare = await said(edge.url, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert got == [b"old news"] * 2
    assert bare.endswith(b"\r\n\r\nold news")
    assert b"chunked" not in bare.lower()


async def test_a_client_that_asks_first_is_told_to_go_on(edge: Edge) -> None:
    async def continues(exchange: Exchange) -> None:
        await exchange.send(h11.InformationalResponse(status_code=100, headers=[]))
        await echo(exchange)

    one = Upstream("one", continues)
    async with serving(one), showing(edge, one), connected(edge.url) as connection:
        await connection.send_head("POST", "/", [("Expect", "100-continue"), ("Content-Length", "2")])
        event = await connection.event()
        await connection.send(h11.Data(data=b"hi"))
        await connection.send(h11.EndOfMessage())
        answer = await connection.answer()
    assert isinstance(event, h11.InformationalResponse)
    assert (event.status_code, answer.status, answer.body) == (100, 200, b"hi")


async def test_a_client_that_asks_first_may_be_refused(edge: Edge) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(413, b"too large", [("Connection", "close")])

    one = Upstream("one", refuses)
    async with serving(one), showing(edge, one), connected(edge.url) as connection:
        await connection.send_head("POST", "/", [("Expect", "100-continue"), ("Content-Length", "9999999")])
        answer = await connection.answer()
    assert (answer.status, answer.body) == (413, b"too large")
    assert not edge.features.exact or answer.headers["connection"] == "close"


async def test_an_answer_before_the_body_was_read_arrives(edge: Edge) -> None:
    if not edge.features.exact:
        pytest.skip("such an answer may be lost in it")

    async def refuses(exchange: Exchange) -> None:
        _ = await exchange.event()
        await exchange.answer(413, b"too large", [("Connection", "close")])

    one = Upstream("one", refuses)
    async with serving(one), showing(edge, one), connected(edge.url) as connection, asyncio.timeout(PATIENCE):
        await connection.send_head("POST", "/", [("Content-Length", str(1 << 30))])
        answering = asyncio.ensure_future(connection.answer())  # noqa: TID251 - it is awaited below
        while not answering.done():
            try:
                await connection.send(h11.Data(data=PIECE))
            except ConnectionError:
                break
        answer = await answering
    assert (answer.status, answer.body) == (413, b"too large")


async def test_requests_that_come_at_once_are_answered_in_order(edge: Edge) -> None:
    async def slow_first(exchange: Exchange) -> None:
        request = await exchange.whole()
        if request.target == "/0":
            await exchange.send(h11.InformationalResponse(status_code=103, headers=[("Link", "</a.css>")]))
        await exchange.answer(200, request.target.encode() + request.body)

    one = Upstream("one", slow_first)
    request = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    last = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with serving(one):
        _ = await edge.show_one(one)
        got = await said(edge.url, b"".join(request % number for number in range(30)) + last)
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 ")[1:] if not part.startswith(b"103")]
    assert bodies == [b"/%dhi" % number for number in range(30)] + [b"/end"]


async def test_a_server_is_told_who_asks_and_claims_of_strangers_are_not_believed(edge: Edge) -> None:
    one = Upstream("one")
    claims = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-Prefix", "//evil"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Hanse-Shadow", "1"),
        ("X_Hanse_Shadow", "1"),
    ]
    async with serving(one):
        _ = await edge.show_one(one)
        _ = await ask(edge.url, headers=[("Host", "shop.example"), *claims])
    told = one.asked[0].headers
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("http", "shop.example")
    assert told["host"] == "shop.example"
    assert "6.6.6.6" not in "".join(told.values())
    assert {"x-forwarded-prefix", "forwarded", "x-hanse-shadow", "x_hanse_shadow"}.isdisjoint(told)


async def test_a_proxy_that_is_trusted_is_believed(edge: Edge) -> None:
    one = Upstream("one")
    said_before = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "shop")]
    async with serving(one):
        _ = await edge.show_one(one, proxies=("127.0.0.0/8",))
        _ = await ask(edge.url, headers=said_before)
    told = one.asked[0].headers
    assert told["x-forwarded-for"].replace(" ", "") == "192.0.2.7,127.0.0.1"
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", "shop")


async def test_each_request_has_a_trace_and_an_id(edge: Edge) -> None:
    one = Upstream("one")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with serving(one):
        _ = await edge.show_one(one)
        first = await ask(edge.url)
        second = await ask(edge.url, headers=[("traceparent", trace), ("X-Request-ID", "mine")])
        _ = await ask(edge.url, headers=[("traceparent", "nonsense")])
    made, kept, replaced = (request.headers for request in one.asked)
    assert len(made["traceparent"]) == len(replaced["traceparent"]) == len(trace)
    assert kept["traceparent"] == trace
    assert first.headers["x-request-id"] == made["x-request-id"]
    assert second.headers["x-request-id"] == kept["x-request-id"] == "mine"


async def test_what_belongs_to_a_connection_stays_there(edge: Edge) -> None:
    if not edge.features.exact:
        pytest.skip("it hands on what `Connection` names")

    async def talkative(exchange: Exchange) -> None:
        _ = await exchange.whole()
        own = [("Connection", "X-Own"), ("X-Own", "1"), ("Keep-Alive", "timeout=5"), ("X-Kept", "1")]
        await exchange.answer(200, b"", own)

    one = Upstream("one", talkative)
    asked = [("Connection", "X-Mine, Cookie"), ("X-Mine", "1"), ("Cookie", "a=b"), ("TE", "gzip"), ("X-Kept", "1")]
    async with serving(one):
        _ = await edge.show_one(one)
        answer = await ask(edge.url, headers=asked)
    assert {"x-own", "keep-alive"}.isdisjoint(answer.headers)
    assert {"x-mine", "te"}.isdisjoint(one.asked[0].headers)
    assert answer.headers["x-kept"] == one.asked[0].headers["x-kept"] == "1"


BAD = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two codings": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is none": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding twice": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    ),
    "a signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a host that is a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "space before a colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
    "a zero byte": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
    "a path that climbs": b"GET /public/%2e%2e/admin HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes that are no letters": b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a proxy to anywhere": b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
    "a target that is none": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "an endless header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "a chunk of no size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("what", BAD)
async def test_what_can_be_read_in_two_ways_reaches_nobody(edge: Edge, what: str) -> None:
    one = Upstream("one", echo)
    async with serving(one):
        _ = await edge.show_one(one)
        got = await said(edge.url, BAD[what] + b"GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await ask(edge.url, target="/after")).status == 200
    if what == "HTTP/2" and edge.features.grpc:
        # It speaks that, and what comes is none.
        assert not one.asked[:-1]
        return
    assert got.startswith(b"HTTP/1.1 ")
    if what == "a length and chunks" and not edge.features.exact:
        # Chunks count, and whoever is asked hears of no length: there is no other way to read it.
        assert all("content-length" not in request.headers for request in one.asked if request.target == "/")
        return
    assert got[9:12] in {b"400", b"404", b"405", b"414", b"422", b"431", b"501"}
    if what == "a target that is none":
        # Where it ends is as clear as where what comes behind it begins, which may be answered.
        assert all(request.target != "*" for request in one.asked)
        return
    assert [request.target for request in one.asked if request.target not in {"/after", "/"}] == []
    assert all(request.body == b"" for request in one.asked)
    assert len([request for request in one.asked if request.target == "/"]) <= (what == "a chunk of no size")


async def test_what_was_asked_before_nonsense_is_answered(edge: Edge) -> None:
    one = Upstream("one", echo)
    order = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\norder"
    async with serving(one):
        _ = await edge.show_one(one)
        got = await said(edge.url, order + b"\0nonsense\r\n\r\n")
    first, second = (part.partition(b"\r\n")[0] for part in got.split(b"HTTP/1.1 ")[1:])
    assert (first[:3], second.lower()) == (b"200", b"400 bad request")


async def test_a_folded_line_is_refused_or_unfolded(edge: Edge) -> None:
    one = Upstream("one")
    async with serving(one):
        _ = await edge.show_one(one)
        got = await said(edge.url, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400") or one.asked[0].headers["x"].split() == ["b", "c"]


async def test_a_request_with_a_whole_url_is_understood(edge: Edge) -> None:
    if not edge.features.exact:
        pytest.skip("it refuses a URL of another host")
    one = Upstream("one")
    async with serving(one):
        _ = await edge.show_one(one)
        request = b"GET http://shop.example/users?x=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"
        assert (await said(edge.url, request)).endswith(b"one")
    assert (one.asked[0].target, one.asked[0].headers["host"]) == ("/users?x=1", "shop.example")


async def test_an_upgrade_that_is_no_websocket_is_not_handed_on(edge: Edge) -> None:
    one = Upstream("one", echo)
    async with serving(one):
        _ = await edge.show_one(one)
        upgrade = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")]
        async with connected(edge.url) as connection:
            got = [await connection.ask("POST", "/", headers=upgrade, body=b"with a body") for _ in range(2)]
    assert [answer.body for answer in got] == [b"with a body"] * 2
    assert {"upgrade", "http2-settings"}.isdisjoint(one.asked[0].headers)


def memory(edge: Edge) -> int:
    """Most that the engine's process has had in memory, in bytes."""
    process = cast("BuiltinEngine", edge.engine).pid
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@pytest.mark.parametrize("way", ["up", "down"])
async def test_large_bodies_are_streamed_in_little_memory(edge: Edge, way: str) -> None:
    pieces = 1600  # 100 MiB

    async def transfers(exchange: Exchange) -> None:
        if way == "up":
            size = 0
            while isinstance(event := await exchange.event(), h11.Data):
                size += len(event.data)
            await exchange.answer(200, str(size).encode())
            return
        _ = await exchange.whole()
        await exchange.send(h11.Response(status_code=200, headers=[("Content-Length", str(pieces * len(PIECE)))]))
        for _ in range(pieces):
            await exchange.send(h11.Data(data=PIECE))
        await exchange.send(h11.EndOfMessage())

    one = Upstream("one", transfers)
    async with serving(one), showing(edge, one), connected(edge.url) as connection:
        before, size = memory(edge), 0
        if way == "up":
            await connection.send_head("PUT", "/", [("Content-Length", str(pieces * len(PIECE)))])
            for _ in range(pieces):
                await connection.send(h11.Data(data=PIECE))
            await connection.send(h11.EndOfMessage())
            size = int((await connection.answer()).body)
        else:
            await connection.send_head("GET", "/")
            await connection.send(h11.EndOfMessage())
            _ = await connection.head()
            while isinstance(event := await connection.event(), h11.Data):
                size += len(event.data)
        grown = memory(edge) - before
    assert size == pieces * len(PIECE)
    assert grown < 24 * 1024 * 1024


async def test_whoever_reads_slowly_slows_down_whoever_writes(edge: Edge) -> None:
    """Nobody reads at first: what is written then lies in sockets of the system, and not in the edge."""
    pieces, sent = 1_000, 0  # 63 MiB

    async def settled() -> int:
        """What was sent when no more goes, while the edge has had many turns."""
        before = -1
        while before != sent:
            before = sent
            for _ in range(30):
                _ = await edge.engine.figures()
        return sent

    async def pours(exchange: Exchange) -> None:
        nonlocal sent
        _ = await exchange.whole()
        await exchange.send(h11.Response(status_code=200, headers=[("Content-Length", str(pieces * len(PIECE)))]))
        for _ in range(pieces):
            await exchange.send(h11.Data(data=PIECE))
            sent += 1
        await exchange.send(h11.EndOfMessage())

    one = Upstream("one", pours)
    async with serving(one), showing(edge, one), connected(edge.url) as connection, asyncio.timeout(PATIENCE):
        before, size = memory(edge), 0
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
        await connection.send_head("GET", "/")
        await connection.send(h11.EndOfMessage())
        await until(lambda: sent > 0)
        assert await settled() < pieces
        assert memory(edge) - before < 24 * 1024 * 1024
        connection.writer.transport.resume_reading()  # type: ignore[attr-defined]
        _ = await connection.head()
        while isinstance(event := await connection.event(), h11.Data):
            size += len(event.data)
    assert size == pieces * len(PIECE)


async def test_a_server_that_reads_slowly_slows_down_its_client(edge: Edge) -> None:
    pieces, sent = 1_000, 0
    reads = asyncio.Event()

    async def reads_later(exchange: Exchange) -> None:
        _, size = await reads.wait(), 0
        while isinstance(event := await exchange.event(), h11.Data):
            size += len(event.data)
        await exchange.answer(200, str(size).encode())

    async def pour(connection: Connection) -> None:
        nonlocal sent
        await connection.send_head("PUT", "/", [("Content-Length", str(pieces * len(PIECE)))])
        for _ in range(pieces):
            await connection.send(h11.Data(data=PIECE))
            sent += 1
        await connection.send(h11.EndOfMessage())

    one = Upstream("one", reads_later)
    async with (
        serving(one),
        showing(edge, one),
        connected(edge.url) as connection,
        asyncio.timeout(PATIENCE),
        asyncio.TaskGroup() as group,
    ):
        memory_before, before = memory(edge), -1
        pouring = group.create_task(pour(connection))
        await until(lambda: bool(one.asked))
        while before != sent:
            before = sent
            for _ in range(30):
                _ = await edge.engine.figures()
        assert sent < pieces
        assert memory(edge) - memory_before < 24 * 1024 * 1024
        reads.set()
        await pouring
        answer = await connection.answer()
    assert int(answer.body) == pieces * len(PIECE)


async def test_a_client_that_leaves_is_noticed_by_the_server(edge: Edge) -> None:
    one = Upstream("one")
    begun = asyncio.Event()

    async def hears(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _ = await reader.readuntil(b"\r\n\r\n")
        begun.set()
        if not await reader.read():
            one.gone.set()

    one.raw = hears
    async with serving(one), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(one)
        async with connected(edge.url) as connection:
            await connection.send_head("GET", "/")
            await connection.send(h11.EndOfMessage())
            _ = await begun.wait()
        _ = await one.gone.wait()
        assert await edge.engine.drained(edge.server(one).id, PATIENCE)
    counts = await edge.counted()
    assert (counts.gone, counts.errors) == (1, 0)
