"""Routes of one's own: what they refuse first, then what they take, give and are told of."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from starlette.responses import HTMLResponse, StreamingResponse

from hanse import (
    App,
    Collection,
    Context,
    Contract,
    Fault,
    Gateway,
    Header,
    Host,
    Identity,
    Misconfigured,
    Misdeclared,
    Model,
    Node,
    Request,
    Resource,
    Response,
    Service,
    current,
    rpc,
    scope,
)
from hanse.gateway.limits import Limits

Value = Any
Opened = Callable[[Gateway], Any]


class Basket(Model):
    sku: str
    count: int


class Elsewhere(Contract, Protocol):
    @rpc
    async def ask(self) -> str: ...


class Nobody(Resource):
    name: str


class SoldOut(Fault, status=410, detail="no {sku} left"):
    sku: str


class Handed(Service):
    @rpc
    async def key(self) -> str:
        return current().headers.idempotency_key


async def nothing() -> None: ...


async def unannotated(sku) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


async def unreturned(sku: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    del sku


async def two_bodies(one: Basket, two: dict[str, int]) -> None: ...


async def with_body(one: Basket) -> None: ...


async def everything(**rest: str) -> None: ...


async def by_position(sku: str, /) -> None: ...


async def in_vain(sku: Basket) -> None: ...


async def without_schema(lock: threading.Thread) -> None: ...


async def from_nowhere(thing: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def blocking(other: Elsewhere) -> None: ...


def sluggish() -> Iterator[int]:
    yield 1


WRONG: dict[str, tuple[str, str, Callable[..., object], str]] = {
    "an unknown placeholder": ("get", "/stock/{sku}", nothing, r"has \{sku\} in its path, but its parameters are none"),
    "no type": ("get", "/stock/{sku}", unannotated, "'sku' without a type; write `sku: str`"),
    "no result": ("get", "/stock/{sku}", unreturned, "write `-> None` if nothing"),
    "two bodies": ("post", "/stock", two_bodies, "wants two bodies, one and two"),
    "a body where there is none": ("get", "/stock", with_body, "which GET does not have"),
    "any argument": ("get", "/stock", everything, r"takes \*\*rest: str, which has no schema"),
    "an argument without a name": ("get", "/stock/{sku}", by_position, "leave out the `/`"),
    "a model in a path": ("get", "/stock/{sku}", in_vain, "'sku' in its path, which is text"),
    "no schema": ("post", "/stock", without_schema, "Thread has no schema"),
    "no such type": ("get", "/stock", from_nowhere, "names 'Missing', which does not exist"),
    "a client in a thread": ("get", "/stock", blocking, "cannot await other; write `async def`"),
    "a generator that blocks": ("get", "/stock", sluggish, "plain generator"),
    "no path": ("get", "stock", nothing, "expected a path"),
    "a class": ("get", "/stock", Basket, "expected a function for GET /stock"),
}


@pytest.mark.parametrize(("verb", "path", "function", "why"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_called_is_told_where_it_is_declared(
    verb: str, path: str, function: Callable[..., object], why: str
) -> None:
    with pytest.raises(Misdeclared, match=why):
        getattr(Gateway(), verb)(path)(function)


def test_a_path_and_a_name_are_taken_once() -> None:
    gateway = Gateway()
    gateway.get("/one")(nothing)

    with pytest.raises(Misdeclared, match="two routes are called 'nothing'; name one"):
        gateway.get("/two")(nothing)
    with pytest.raises(Misdeclared, match="GET /one is declared twice"):
        gateway.get("/one", name="other")(nothing)


def test_whoever_is_asked_for_has_to_be_in_the_app(node: Node) -> None:
    asking, reading = Gateway(), Gateway()

    @asking.get("/ask")
    async def ask(other: Elsewhere) -> str:
        return await other.ask()

    @reading.get("/read")
    async def first(rows: Collection[Nobody]) -> int:
        return await rows.count()

    with pytest.raises(Misconfigured, match="no service of the app 'shop' provides Elsewhere"):
        asking.asgi(node)
    with pytest.raises(Misconfigured, match=r"takes Collection\[Nobody\], which no service of the app 'shop' owns"):
        reading.asgi(node)


async def test_all_that_is_wrong_is_told_at_once(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.post("/baskets/{day}")
    async def fill(
        day: date, basket: Basket, count: Annotated[int, msgspec.Meta(le=9)], kind: Annotated[int, Header("x-kind")]
    ) -> None: ...

    answer = await opened(gateway)("POST", "/baskets/today?count=10", {"sku": 1}, x_kind="red")
    flaws = [(flaw["pointer"], flaw["code"]) for flaw in answer.json["errors"]]

    assert answer.status == 422
    assert [pointer for pointer, _ in flaws] == ["/day", "/count", "/kind", "/sku", "/count"]
    assert [code for _, code in flaws] == ["invalid", "range", "type", "type", "missing"]
    assert "and 2 more" in answer.json["detail"]


async def test_what_nobody_asked_for_is_refused(opened: Opened) -> None:
    gateway = Gateway()
    gateway.get("/one")(nothing)

    @gateway.get("/open")
    async def free(request: Request) -> str:
        return request.query

    door = opened(gateway)
    refused = await door("GET", "/one?two=3")

    assert (refused.status, refused.json["errors"][0]["code"]) == (422, "unknown_field")
    assert (await door("GET", "/open?two=3")).json == "two=3"


async def test_one_value_does_not_come_twice(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.get("/several")
    async def several(size: int = 0, *, tags: list[str] | None = None) -> list[str]:
        return [*(tags or []), str(size)]

    door = opened(gateway)
    refused = await door("GET", "/several?size=1&size=2")

    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/size")
    assert (await door("GET", "/several?size=1&tags=a&tags=b")).json == ["a", "b", "1"]


async def test_a_body_has_to_be_json_of_a_kind(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.post("/baskets")
    async def fill(basket: Basket | None = None) -> Basket | None:
        return basket

    door = opened(gateway)

    assert (await door("POST", "/baskets", b"{", content_type="application/json")).status == 400
    assert (await door("POST", "/baskets", b"{}", content_type="text/plain")).status == 415
    assert (await door("POST", "/baskets")).json is None
    assert (await door("POST", "/baskets", {"sku": "tea", "count": 2})).json == {"sku": "tea", "count": 2}


async def test_faults_and_failures_become_problems(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.get("/sold/{sku}", faults=(SoldOut,))
    async def sold(sku: str) -> None:
        raise SoldOut(sku)

    @gateway.get("/crash")
    def crash() -> None:
        raise ZeroDivisionError("secret")

    door = opened(gateway)
    gone, failed = await door("GET", "/sold/tea"), await door("GET", "/crash")

    assert (gone.status, gone.json["code"], gone.json["detail"]) == (410, "sold_out", "no tea left")
    assert (failed.status, failed.json["code"]) == (500, "internal")
    assert b"secret" not in failed.body


async def test_a_response_that_fails_halfway_is_cut(opened: Opened) -> None:
    gateway = Gateway()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise ZeroDivisionError("secret")

    @gateway.get("/half")
    async def half() -> StreamingResponse:
        return StreamingResponse(pieces())

    wire = opened(gateway).open("/half")
    await wire.ended.wait()

    assert wire.cut


async def test_a_route_ends_in_time(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.get("/never", timeout="10ms")
    async def never() -> None:
        await asyncio.Event().wait()

    @gateway.get("/late")
    async def late() -> None:
        raise TimeoutError

    door = opened(gateway)
    answer = await door("GET", "/never")

    assert (answer.status, answer.json["detail"]) == (504, "no answer from GET /never in time")
    assert (await door("GET", "/late")).status == 500


async def test_a_guard_holds(opened: Opened) -> None:
    async def identify(headers: Value) -> Identity:
        return Identity(subject=headers["x-who"], scopes=frozenset(headers.get("x-scope", "").split()))

    for gateway, wanted in ((Gateway(), 401), (Gateway(identify=identify), 403)):
        gateway.get("/closed", allow=scope("admin"))(nothing)
        assert (await opened(gateway)("GET", "/closed", x_who="ada")).status == wanted

    assert (await opened(gateway)("GET", "/closed", x_who="ada", x_scope="admin")).status == 204


async def test_values_come_from_where_they_are(opened: Opened, order: type[Resource], shop: type[Service]) -> None:
    gateway = Gateway("/api")

    async def stock(  # noqa: PLR0913 - one of each
        sku: str,
        inner: shop,  # type: ignore[valid-type]
        rows: Collection[order],  # type: ignore[valid-type]
        context: Context,
        *,
        tenant: Annotated[str, Header],
        colors: list[Literal["red", "green"]] = [],  # noqa: B006
        least: int | None = None,
    ) -> list[object]:
        counted: Any = inner
        assert context is current()
        return [sku, await counted.refill(sku, 3), await rows.count(), tenant, colors, least]

    gateway.get("/stock/{sku}")(stock)
    answer = await opened(gateway)("GET", "/api/stock/a%2Fb?colors=red&colors=green&least=7", tenant="ada")

    assert answer.json == ["a/b", 3, 0, "ada", ["red", "green"], 7]


@pytest.mark.parametrize(("query", "given"), [("", None), ("?key=5", "5"), ("?key=five", "five")])
async def test_one_of_several_plain_types_or_none_comes_from_the_query(
    opened: Opened, query: str, given: str | None
) -> None:
    gateway = Gateway()

    @gateway.get("/find")
    async def find(key: int | str | None = None) -> dict[str, int | str | None]:
        return {"key": key}

    assert (await opened(gateway)("GET", f"/find{query}")).json == {"key": given}


async def test_a_plain_function_runs_in_a_thread_with_its_context(opened: Opened) -> None:
    gateway = Gateway(limits=Limits(threads=1))

    @gateway.get("/where")
    def where() -> tuple[str, str]:
        return threading.current_thread().name, current().headers.correlation_id

    name, id = (await opened(gateway)("GET", "/where", x_request_id="mine")).json

    assert name.startswith("hanse-route")
    assert id == "mine"


async def test_results_are_sent_as_what_they_are(opened: Opened) -> None:
    gateway = Gateway()

    @dataclasses.dataclass
    class Point:
        x: int

    async def point() -> Point:
        return Point(2)

    @gateway.put("/bytes")
    async def reverse(data: bytes) -> bytes:
        return data[::-1]

    @gateway.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>")

    @gateway.patch("/made")
    async def made() -> Response:
        return Response.of({"a": 1}, status=202, headers={"Location": "/a"})

    @gateway.delete("/text")
    async def text() -> Response:
        return Response.of("gone", type="text/plain")

    gateway.post("/points", status=201)(point)
    door = opened(gateway)
    answers = [
        await door("POST", "/points"),
        await door("PUT", "/bytes", b"[[", content_type="image/png"),
        await door("GET", "/page"),
        await door("PATCH", "/made"),
        await door("DELETE", "/text"),
    ]

    assert [answer.body for answer in answers] == [b'{"x":2}', b"[[", b"<p>", b'{"a":1}', b"gone"]
    assert [answer.status for answer in answers] == [201, 200, 200, 202, 200]
    assert answers[1].headers["content-type"] == "application/octet-stream"
    assert answers[3].headers["location"] == "/a"
    assert answers[4].headers["content-type"] == "text/plain"


def test_a_header_cannot_hold_another() -> None:
    with pytest.raises(ValueError, match="expected one line"):
        Response.of(1, headers={"x": "a\r\nset-cookie: b"})


async def test_an_async_generator_is_a_stream(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.get("/count/{upto}")
    async def count(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number
        if not upto:
            raise SoldOut("zero")

    door = opened(gateway)
    lines, events = await door("GET", "/count/2"), door.open("/count/2")

    assert (lines.body, lines.headers["content-type"]) == (b"0\n1\n", "application/jsonl")
    assert [(await events.event())["data"] for _ in range(2)] == [0, 1]
    assert (await door("GET", "/count/0")).status == 410


async def test_only_the_head_of_a_stream_can_be_asked_for(opened: Opened) -> None:
    gateway, begun = Gateway(), list[int]()

    @gateway.get("/forever")
    async def forever() -> AsyncIterator[int]:
        while True:
            begun.append(1)
            yield 1

    answer = await opened(gateway)("HEAD", "/forever")

    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "application/jsonl")
    assert begun == []


async def test_items_may_come_from_any_iterator(opened: Opened) -> None:
    class Two:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    gateway = Gateway()

    @gateway.get("/two")
    def two() -> AsyncIterator[int]:
        return Two()

    assert (await opened(gateway)("GET", "/two")).body == b"1\n0\n"


async def test_an_idempotency_key_is_not_handed_on(host: Host) -> None:
    gateway = Gateway()

    @gateway.post("/key")
    async def key(handed: Handed) -> list[str]:
        return [await handed.key(), current().headers.idempotency_key]

    async with Node(App("keys", Handed), host=host) as node:
        sent: list[Any] = []

        async def receive() -> Value:
            return {"type": "http.request"}

        async def send(event: Value) -> None:
            sent.append(event)

        headers = [(b"idempotency-key", b"k")]
        await gateway.asgi(node)({"type": "http", "method": "POST", "path": "/key", "headers": headers}, receive, send)

    assert sent[1]["body"] == b'["",""]'


async def test_the_document_tells_of_routes(opened: Opened, order: type[Resource]) -> None:
    gateway = Gateway("/api").resources(order)

    @gateway.post("/stock/{sku}", name="get_order", faults=(SoldOut,))
    async def fill(sku: str, basket: Basket, at: date, tenant: Annotated[str, Header("X-Tenant")] = "") -> Basket:
        """Fill a basket."""
        del sku, at, tenant
        return basket

    @gateway.put("/raw")
    async def raw(data: bytes) -> bytes:
        return data

    document = (await opened(gateway)("GET", "/api/openapi.json")).json
    entry = document["paths"]["/stock/{sku}"]["post"]
    blob = document["paths"]["/raw"]["put"]

    assert (entry["operationId"], entry["summary"]) == ("route_get_order", "Fill a basket.")
    assert [(p["name"], p["in"], p["required"]) for p in entry["parameters"]] == [
        ("sku", "path", True),
        ("at", "query", True),
        ("x-tenant", "header", False),
    ]
    assert entry["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("Basket")
    assert set(entry["responses"]) == {"200", "410", "default"}
    assert list(blob["requestBody"]["content"]) == ["application/octet-stream"]
    assert (blob["operationId"], list(blob["responses"]["200"]["content"])) == ("raw", ["application/octet-stream"])


async def test_the_document_tells_who_may_call_and_what_comes(opened: Opened) -> None:
    gateway = Gateway()

    @gateway.get("/items", allow=scope("admin"))
    async def items() -> AsyncIterator[Basket]:
        yield Basket(sku="tea", count=1)

    @gateway.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("")

    gateway.delete("/nothing")(nothing)
    paths = (await opened(gateway)("GET", "/openapi.json")).json["paths"]
    stream = paths["/items"]["get"]

    assert set(stream["responses"]["200"]["content"]) == {"application/jsonl", "text/event-stream"}
    assert {"401", "403"} <= set(stream["responses"])
    assert "the scope admin" in stream["description"]
    assert "content" not in paths["/page"]["get"]["responses"]["200"]
    assert set(paths["/nothing"]["delete"]["responses"]) == {"204", "default"}


class Small(msgspec.Struct, tag=True):
    n: int


class Large(msgspec.Struct, tag=True):
    s: list[str]


TEXTS = st.text(max_size=20) | st.sampled_from(["1", "-1e999", "9" * 400, "null", "true", "2026-01-01", "\ud800", "\0"])
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "n", "s", "x"]), inner),
    max_leaves=8,
)
BODIES = st.binary(max_size=50) | JSONS.map(lambda value: json.dumps(value).encode())


@given(path=TEXTS, query=st.dictionaries(st.sampled_from(["at", "kind", "many", "other"]), TEXTS), body=BODIES)
@settings(max_examples=150, deadline=None)
def test_no_input_is_a_failure_of_the_server(path: str, query: dict[str, str], body: bytes) -> None:
    gateway = Gateway()

    @gateway.post("/all/{number}")
    async def everything_at_once(
        number: float,
        body: Small | Large | list[Any] | None,
        at: datetime | None = None,
        kind: Literal["a", 1] = "a",
        many: tuple[int, ...] = (),
        head: Annotated[Decimal, Header("x-number")] = Decimal(0),
    ) -> list[object]:
        return [number, body, at, kind, many, head]

    async def ask() -> int:
        sent: list[Value] = []

        async def receive() -> Value:
            return {"type": "http.request", "body": body}

        async def send(event: Value) -> None:
            sent.append(event)

        where = quote(path, safe="", errors="surrogatepass")
        asked = urlencode(query, errors="surrogatepass")
        headers = [(b"content-type", b"application/json"), (b"x-number", path.encode("latin-1", "replace"))]
        scope = {"type": "http", "method": "POST", "path": f"/all/{where}", "raw_path": f"/all/{where}".encode()}
        async with Node(App("shop", Handed)) as node:
            await gateway.asgi(node)({**scope, "query_string": asked.encode(), "headers": headers}, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(ask()) < 500
