"""The edge for those inside: neighbours by name, for programs that ask a proxy; on our own engine, by both readers."""

from __future__ import annotations

import json

import pytest

from hanse.control.edge_table import EdgeRoute, Egress, Table

from .conftest import PURE, Edge
from .wire import Headers, Upstream, said, serving

pytestmark = pytest.mark.parametrize("running", ["builtin", PURE], indirect=True)

INSIDE = ("127.0.0.0/8",)


def table(edge: Edge, *upstreams: Upstream, passing: tuple[str, ...] = ()) -> Table:
    routes = (
        EdgeRoute(service=edge.service, host="users"),
        EdgeRoute(service=edge.service, host="127.0.0.1", path="/users", strip_prefix=True),
    )
    return edge.table(edge.pool(*upstreams), routes=routes, egress=Egress(passing=passing), proxies=INSIDE)


async def got(edge: Edge, target: str, headers: Headers = (), method: str = "GET") -> tuple[int, bytes]:
    """What a client of a proxy gets: it asks for a whole URL."""
    host = "127.0.0.1:1" if target.startswith("/") else "proxied"
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    request = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers)]) + "\r\n\r\n"
    head, _, body = (await said(edge.url, request.encode())).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


async def told(edge: Edge, target: str, method: str = "GET") -> tuple[int, str]:
    """The problem that it gets."""
    status, body = await got(edge, target, method=method)
    return status, str(json.loads(body)["detail"])


async def test_what_is_no_service_is_refused_and_who_is_there_is_told(edge: Edge) -> None:
    one = Upstream("one")
    async with serving(one):
        _ = await edge.show(table(edge, one))
        status, detail = await told(edge, f"http://127.0.0.2:{one.port}/users")
    assert status == 403
    assert detail.startswith(f"127.0.0.2:{one.port} is no service of this system; there are users; ")
    assert "edge.egress_hosts" in detail
    assert one.asked == []


UNKNOWN = (
    "127.0.0.1 is no service of this system; there are users; requests to hosts outside are passed on where "
    "edge.egress_hosts names them"
)


async def test_a_path_of_nobody_is_told(edge: Edge) -> None:
    _ = await edge.show(table(edge))
    assert await told(edge, "http://127.0.0.1/nobody/7") == (
        403,
        UNKNOWN,
    )
    assert await told(edge, "/nobody/7") == (404, "nothing of this system is at /nobody/7")


@pytest.mark.parametrize(
    ("method", "target"), [("CONNECT", "users:443"), ("GET", "https://users/7"), ("GET", "https://elsewhere/7")]
)
async def test_what_would_be_encrypted_is_not_handed_on_in_plain(edge: Edge, method: str, target: str) -> None:
    one = Upstream("one")
    async with serving(one):
        _ = await edge.show(table(edge, one, passing=("*",)))
        status, detail = await told(edge, target, method)
    assert (status, "let no HTTPS_PROXY name it" in detail) == (501, True), detail
    assert one.asked == []


async def test_a_neighbour_is_found_by_its_name_and_by_its_path(edge: Edge) -> None:
    one, two = Upstream("one"), Upstream("two")
    async with serving(one, two):
        _ = await edge.show(table(edge, one, two))
        places = ("http://users/7?x=1", "http://USERS:8080/7?x=1", "/users/7?x=1", "http://127.0.0.1:1/users/7?x=1")
        answers = [await got(edge, place) for place in places]
    assert sorted(answers) == [(200, b"one"), (200, b"one"), (200, b"two"), (200, b"two")]
    asked = [*one.asked, *two.asked]
    assert {request.target for request in asked} == {"/7?x=1"}
    assert sorted(request.headers["host"] for request in asked) == ["127.0.0.1:1", "127.0.0.1:1", "USERS:8080", "users"]


async def test_the_story_of_a_request_goes_on(edge: Edge) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    one = Upstream("one")
    async with serving(one):
        _ = await edge.show(table(edge, one))
        _ = await got(edge, "http://users/", [("traceparent", trace), ("X-Forwarded-For", "192.0.2.7")])
    headers = one.asked[0].headers
    assert (headers["traceparent"], headers["x-forwarded-for"]) == (trace, "192.0.2.7, 127.0.0.1")


async def test_a_host_outside_is_told_what_the_program_said_and_nothing_else(edge: Edge) -> None:
    outside = Upstream("outside")
    async with serving(outside):
        _ = await edge.show(table(edge, passing=("127.0.0.1",)))
        place = f"http://127.0.0.1:{outside.port}/7?x=1"
        before = [("Accept", "text/plain"), ("traceparent", "mine"), ("Proxy-Authorization", "Basic secret")]
        assert [await got(edge, place, before) for _ in range(2)] == [(200, b"outside")] * 2
    assert outside.asked[0].target == "/7?x=1"
    assert outside.asked[0].headers == {
        "host": f"127.0.0.1:{outside.port}",
        "accept": "text/plain",
        "traceparent": "mine",
    }
    assert outside.connections == len(outside.asked), "no connection to a stranger is kept"


async def test_a_host_outside_that_is_away_is_told_and_no_request_is_sent_twice(edge: Edge) -> None:
    gone = Upstream("gone")
    async with serving(gone):
        port = gone.port
    _ = await edge.show(table(edge, passing=("*",)))
    status, detail = await told(edge, f"http://127.0.0.1:{port}/")
    assert (status, "127.0.0.1" in detail) == (503, True), detail


async def test_a_request_tree_meets_one_release_of_each_service(edge: Edge) -> None:
    old, new = Upstream("old"), Upstream("new")
    target = edge.target({"2": 0, "1": 10_000})
    inner = {"routes": (EdgeRoute(service=edge.service, host="users"),), "egress": Egress(), "proxies": INSIDE}
    async with serving(old, new):
        pools = (edge.pool(old), edge.pool(new, release="2"))
        _ = await edge.show(edge.table(*pools, target=target, **inner))
        carried = [("baggage", "user=7"), ("baggage", "hanse-release=2")]
        assert await got(edge, "http://users/", carried) == (200, b"new")
        assert await got(edge, "http://users/", [("baggage", "hanse-release=3")]) == (200, b"old")
        assert await got(edge, "http://users/") == (200, b"old")
    assert new.asked[0].headers["baggage"] == "hanse-release=2,user=7"
    # Whoever is asked by them has to know what they know.
    assert [request.headers["baggage"] for request in old.asked] == ["hanse-release=3", "hanse-release=1"]
