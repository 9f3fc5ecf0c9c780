"""The small pure decisions of the gateway: paths, conditions, origins, stories, heads."""

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.asgi import Request, Response, headers_in
from hanse.gateway.context import headers_of, tags_in
from hanse.gateway.depth import check_depth
from hanse.gateway.limits import HEADER_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX
from hanse.gateway.origin import check_origin
from hanse.gateway.pace import REFUSAL, Backlog, Head
from hanse.gateway.preconditions import is_known, revisions_in
from hanse.gateway.problem import problem_of, problem_response
from hanse.gateway.routes import Routes
from hanse.kernel.faults import Conflict, Forbidden, Malformed, Misdeclared, Overloaded, RemoteFault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import ANONYMOUS

HOST = Host.fixed(wall=0.0, seed=1)


async def handler(request: Request) -> Response:
    raise AssertionError(request)


async def other(request: Request) -> Response:
    raise AssertionError(request)


def request(method: str = "GET", **headers: str) -> Request:
    async def receive() -> dict[str, object]:
        raise AssertionError(method)

    async def send(event: object) -> None:
        raise AssertionError(event)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": "/a b", "headers": pairs}, receive, send)


@pytest.mark.parametrize("path", ["", "orders", "/orders?x", "/a{id}", "/{Id}", "/a#b"])
def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(Misdeclared, match="expected a path"):
        Routes().add(path, {"GET": handler})


def test_a_path_is_declared_once() -> None:
    routes = Routes()
    routes.add("/orders/{id}", {"GET": handler})
    routes.add("/orders/{id}", {"PUT": handler})

    with pytest.raises(Misdeclared, match="declared twice"):
        routes.add("/orders/{key}", {"GET": handler})


def test_a_literal_part_wins_and_gives_way_where_it_leads_nowhere() -> None:
    routes = Routes()
    routes.add("/orders/{id}", {"GET": handler})
    routes.add("/orders/search", {"GET": other})
    routes.add("/orders/search/deep", {"GET": other})
    routes.add("/orders/{id}/{line}", {"GET": handler})
    search, item, line = (
        routes.find(("orders", "search")),
        routes.find(("orders", "7")),
        routes.find(("orders", "search", "7")),
    )

    assert search is not None
    assert search[0].methods["GET"] is other
    assert item is not None
    assert item[1] == {"id": "7"}
    assert line is not None
    assert line[1] == {"id": "search", "line": "7"}
    assert routes.find(("orders", "")) is None
    assert routes.find(("orders", "a", "b", "c")) is None


@given(st.text())
def test_no_condition_does_more_than_name_no_revision(header: str) -> None:
    assert all(rev >= 0 for rev in revisions_in(header, weak=True))
    assert revisions_in(header, weak=False) <= revisions_in(header, weak=True)


def test_a_weak_tag_counts_for_reading_only() -> None:
    assert is_known('W/"7"', 7)
    assert is_known("*", 7)
    assert not is_known("", 7)
    assert revisions_in('W/"7"', weak=False) == frozenset()
    assert revisions_in(f'"{"9" * 30}"', weak=True) == frozenset()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "http://elsewhere"},
        {"sec_fetch_site": "none"},
        {"origin": "http://ours:80", "host": "ours:80"},
    ],
)
def test_programs_and_our_own_pages_pass(headers: dict[str, str]) -> None:
    check_origin(request(**headers))


@pytest.mark.parametrize(
    "headers", [{"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "null", "host": "ours"}]
)
def test_pages_of_others_do_not(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        check_origin(request(**headers))


def test_a_trace_that_is_none_is_replaced() -> None:
    asked = request(traceparent="nonsense", tracestate="a=b")
    headers = headers_of(asked, HOST)

    assert headers.tracestate == ""
    assert headers.traceparent[3:35] == asked.trace_id
    assert headers.identity is ANONYMOUS
    assert headers.correlation_id == asked.id


def test_a_key_counts_only_where_something_changes() -> None:
    assert headers_of(request("GET", idempotency_key="k"), HOST).idempotency_key == ""
    assert headers_of(request("POST", idempotency_key="k"), HOST).idempotency_key == "k"


def test_baggage_has_limits() -> None:
    assert tags_in("x" * (TAGS_BYTES_MAX + 1)) == {}
    assert len(tags_in(",".join(f"t{n}=1" for n in range(TAGS_MAX + 5)))) == TAGS_MAX
    assert tags_in("=1, ,a") == {}


def test_a_header_on_several_lines_is_joined() -> None:
    assert headers_in([(b"accept", b"a"), (b"host", b"h"), (b"accept", b"b")]) == {b"accept": b"a, b", b"host": b"h"}


def test_a_path_that_came_decoded_is_encoded_again() -> None:
    assert request().path == "/a%20b"


def test_a_fault_of_an_unknown_class_keeps_its_code() -> None:
    problem = problem_of(RemoteFault("sold_out", "all gone", {}), "t")

    assert (problem.code, problem.detail, problem.status, problem.trace_id) == ("sold_out", "all gone", 500, "t")


def test_a_status_without_a_name_is_an_error() -> None:
    class Odd(Conflict, status=499):
        pass

    assert problem_of(Odd("odd")).title == "Error"


def test_only_what_may_be_tried_again_says_when() -> None:
    assert (b"retry-after", b"3") in problem_response(Overloaded("limit", 2.5)).headers
    assert (b"retry-after", b"1") in problem_response(Unavailable("gone")).headers
    assert problem_response(Conflict("twice")).headers == ()


def test_a_head_has_a_limit_in_bytes() -> None:
    head = Head(0.0)

    assert not head.took(HEADER_BYTES_MAX, 1.0, answered=True, in_body=False)
    assert not head.took(10**9, 1.0, answered=True, in_body=True)
    assert head.took(1, 1.0, answered=True, in_body=False)
    assert b"431" in REFUSAL


def test_a_head_has_a_limit_in_time_until_its_request_is_there() -> None:
    head = Head(0.0)
    head.took(10, 4.0, answered=True, in_body=False)
    assert head.is_late(5.1, 5.0)

    head.took(10, 5.0, answered=False, in_body=True)
    assert not head.is_late(100.0, 5.0)

    head.took(1, 100.0, answered=True, in_body=False)
    assert not head.is_late(104.0, 5.0)
    assert head.is_late(105.1, 5.0)


def test_a_backlog_is_stuck_when_nothing_of_it_is_taken() -> None:
    backlog = Backlog()

    assert not backlog.is_stuck(0, 0.0, seconds=30.0)
    assert not backlog.is_stuck(9, 50.0, seconds=30.0)
    assert not backlog.is_stuck(9, 79.0, seconds=30.0)
    assert backlog.is_stuck(9, 80.0, seconds=30.0)
    assert not backlog.is_stuck(8, 81.0, seconds=30.0)
    assert not backlog.is_stuck(0, 200.0, seconds=30.0)


def test_a_key_that_is_kept_has_a_limit() -> None:
    with pytest.raises(Malformed, match="of 1 to 255"):
        headers_of(request("POST", idempotency_key="k" * 256), HOST)


@pytest.mark.parametrize("body", [b"[" * 65, b'{"a":' * 65, b'["' + b'\\"' * 99 + b'",' + b"[" * 64])
def test_what_is_nested_too_deeply_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="64 levels"):
        check_depth(body)


@pytest.mark.parametrize(
    "body", [b"[" * 64, b"[" + b"[]," * 99 + b"1]", b'"' + b"[" * 99 + b'"', b'"\\"' + b"{" * 99 + b'"', b"{}" * 99]
)
def test_what_is_wide_or_quoted_is_not_deep(body: bytes) -> None:
    assert check_depth(body) == body
