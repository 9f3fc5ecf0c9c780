"""Pages of other origins use a gateway where Cors lists them, and nowhere else."""

from collections.abc import Callable
from typing import Any

import pytest

from hanse.gateway.cors import Cors
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Misdeclared

Door = Any
Value = Any
Opened = Callable[[Gateway], Door]

PAGE = "https://shop.example"
OTHER = "https://evil.example"

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def listed(opened: Opened, shop: type[Any], order: type[Any]) -> Door:
    cors = Cors([PAGE, "https://*.partner.example"], credentials=True, headers=["X-Shop"], expose=["X-Left"])
    return opened(Gateway(cors=cors).resources(order).rpc(shop))


@pytest.mark.parametrize(
    "origins",
    [
        "https://a.example",
        ["*"],
        ["https://a.example/"],
        ["a.example"],
        ["https://a.example/path"],
        ["null"],
        ["https://*"],
    ],
)
def test_what_is_no_origin_is_misdeclared(origins: Value) -> None:
    with pytest.raises(Misdeclared):
        Cors(origins)


def test_everybody_with_credentials_is_misdeclared() -> None:
    with pytest.raises(Misdeclared, match="list the origins"):
        Cors("*", credentials=True)


@pytest.mark.parametrize("name", ["a b", "", "a\nb"])
def test_what_is_no_header_is_misdeclared(name: str) -> None:
    with pytest.raises(Misdeclared, match="name of a header"):
        Cors([PAGE], headers=[name])


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "http://shop.example",
        "https://shop.example:444",
        "https://shop.example.evil",
        "https://partner.example",
        "https://evilpartner.example",
        "https://a.partner.example.evil",
        "https://a/.partner.example",
        "null",
    ],
)
async def test_a_page_that_is_not_listed_is_told_nothing(listed: Door, origin: str) -> None:
    read = await listed("GET", "/orders", origin=origin, host="api")
    written = await listed("POST", "/orders", {"sku": "tea"}, origin=origin, host="api")
    asked = await listed("OPTIONS", "/orders", origin=origin, access_control_request_method="POST")

    assert [answer.status for answer in (read, written, asked)] == [200, 403, 403]
    assert not [name for name in {**read.headers, **written.headers, **asked.headers} if name.startswith("access-")]


@pytest.mark.parametrize("origin", [PAGE, "https://www.partner.example", "https://a.b.partner.example"])
async def test_a_page_that_is_listed_reads_and_writes(listed: Door, origin: str) -> None:
    written = await listed("POST", "/orders", {"sku": "tea"}, origin=origin, sec_fetch_site="cross-site", cookie="a=b")

    assert written.status == 201
    assert written.headers["access-control-allow-origin"] == origin
    assert written.headers["access-control-allow-credentials"] == "true"
    assert {"etag", "location", "x-left"} <= set(written.headers["access-control-expose-headers"].split(", "))


async def test_a_page_may_read_errors_too(listed: Door) -> None:
    for path, status in (("/nothing", 404), ("/orders?x=1", 422), ("/orders/%zz", 400)):
        answer = await listed("GET", path, origin=PAGE)
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, PAGE)


async def test_caches_know_that_the_origin_counts(listed: Door) -> None:
    for headers in ({}, {"origin": PAGE}, {"origin": OTHER}):
        assert "Origin" in (await listed("GET", "/orders/1", **headers)).headers["vary"]


async def test_a_browser_that_asks_first_is_told_what_may_be(listed: Door) -> None:
    answer = await listed("OPTIONS", "/orders/1", origin=PAGE, access_control_request_method="PATCH")

    assert (answer.status, answer.body) == (204, b"")
    assert {"PATCH", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    askable = set(answer.headers["access-control-allow-headers"].split(", "))
    assert {"if-match", "idempotency-key", "content-encoding", "x-shop"} <= askable
    assert answer.headers["access-control-max-age"] == "600"


async def test_options_of_a_program_are_no_question_of_a_browser(listed: Door) -> None:
    answer = await listed("OPTIONS", "/orders")
    assert "allow" in answer.headers
    assert "access-control-allow-methods" not in answer.headers


async def test_everybody_is_anybody_but_not_with_cookies(opened: Opened, shop: type[Any]) -> None:
    door = opened(Gateway(cors=Cors("*")).rpc(shop))
    answer = await door("POST", "/rpc/shop/who", {}, origin=OTHER, sec_fetch_site="cross-site")
    with_cookies = await door("POST", "/rpc/shop/who", {}, origin=OTHER, sec_fetch_site="cross-site", cookie="a=b")

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers
    assert with_cookies.status == 403


async def test_a_stream_is_for_the_same_pages(listed: Door) -> None:
    wire = listed.open("/orders", origin=PAGE)
    start = await wire.next()
    wire.leave()

    assert (b"access-control-allow-origin", PAGE.encode()) in start["headers"]


async def test_a_socket_is_for_the_same_pages(listed: Door) -> None:
    allowed = await listed.socket(origin=PAGE, host="api")
    allowed.leave("websocket")
    refused = await listed.open("/live", kind="websocket", origin=OTHER, host="api").next()

    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 403)


async def test_without_cors_nothing_is_said(door: Door) -> None:
    answer = await door("GET", "/orders", origin=PAGE)
    assert not [name for name in answer.headers if name.startswith("access-")]
