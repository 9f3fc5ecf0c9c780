"""Lists: projections, queries as documents, JSON Lines, weak ETags."""

from typing import Any

import msgspec
import pytest

from hanse.contract.model import Resource
from hanse.gateway.accept import MEDIA_TYPES_MAX, liked_best, wants_only
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import LINES_PAGE

Door = Any
Opened = Any
Json = Any

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def stocked(door: Door) -> Door:
    for id, sku, count in (("a", "tea", 1), ("b", "rum", 2), ("c", "tea", 3)):
        await door("POST", "/orders", {"id": id, "sku": sku, "count": count})
    return door


def lines(body: bytes) -> list[Any]:
    return [msgspec.json.decode(line) for line in body.splitlines()]


@pytest.mark.parametrize("query", ["fields=color", "expand=sku", "sort=tags", "total=7"])
async def test_what_a_list_cannot_show_is_told(door: Door, query: str) -> None:
    answer = await door("GET", f"/orders?{query}")

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


async def test_a_row_has_only_the_fields_that_are_asked_for(stocked: Door) -> None:
    page = await stocked("GET", "/orders?fields=sku,count&limit=1")
    row = await stocked("GET", "/orders/a?fields=sku")

    assert list(page.json["items"][0]) == ["id", "rev", "sku", "count"]
    assert list(row.json) == ["id", "rev", "sku"]
    assert row.headers["etag"] == f'"{row.json["rev"]}"'


async def test_a_part_of_a_row_is_no_row_by_its_type_and_cannot_be_written_back(stocked: Door) -> None:
    whole = await stocked("GET", "/orders/a?fields=")
    part = await stocked("GET", "/orders/a?fields=sku")
    parts = await stocked("GET", "/orders?fields=sku")
    asked = await stocked("QUERY", "/orders", {"fields": ["sku"]})
    back = await stocked("PUT", "/orders/a", part.json, content_type=part.headers["content-type"])

    assert whole.headers["content-type"] == "application/json"
    assert {one.headers["content-type"] for one in (part, parts, asked)} == {"application/vnd.hanse.part+json"}
    assert back.status == 415


async def test_the_document_tells_parts_of_rows_from_rows(stocked: Door) -> None:
    paths = (await stocked("GET", "/openapi.json")).json["paths"]

    for path in ("/orders", "/orders/{id}"):
        content = paths[path]["get"]["responses"]["200"]["content"]
        assert "required" in str(content["application/vnd.hanse.part+json"]["schema"])


async def test_names_may_come_in_pieces_and_all_else_once(stocked: Door) -> None:
    rows = (await stocked("GET", "/orders?fields=sku&fields=count&sort=sku&sort=-count")).json["items"]
    twice = await stocked("GET", "/orders?limit=1&limit=2&total=true&total=true")

    assert list(rows[0]) == ["id", "rev", "sku", "count"]
    assert [row["id"] for row in rows] == ["b", "c", "a"]
    assert list((await stocked("GET", "/orders/a?fields=sku&fields=count")).json) == ["id", "rev", "sku", "count"]
    assert (twice.status, [error["pointer"] for error in twice.json["errors"]]) == (422, ["/limit", "/total"])


async def test_a_row_is_asked_for_nothing_else(stocked: Door) -> None:
    answer = await stocked("GET", "/orders/a?color=red&fields=sku")

    assert [error["pointer"] for error in answer.json["errors"]] == ["/color"]


async def test_a_page_that_is_known_is_not_sent_again(stocked: Door) -> None:
    first = await stocked("GET", "/orders?limit=2")
    again = await stocked("GET", "/orders?limit=2", if_none_match=first.headers["etag"])
    await stocked("PATCH", "/orders/a", {"count": 9})

    assert first.headers["etag"].startswith('W/"')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await stocked("GET", "/orders?limit=2", if_none_match=first.headers["etag"])).status == 200


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({"were": {}}, ["/were"]),
        ({"where": {"color": "red"}, "limit": 0}, ["/where/color", "/limit"]),
        ({"where": 7}, ["/where"]),
        ({"sort": [7]}, ["/sort"]),
        ({"sort": 7}, ["/sort"]),
        ({"fields": {"sku": True}}, ["/fields"]),
        ({"expand": ["sku"]}, ["/expand"]),
        ({"total": "yes", "cursor": 7}, ["/total", "/cursor"]),
    ],
)
async def test_a_query_that_cannot_be_is_told_by_its_members(door: Door, document: Json, pointers: list[str]) -> None:
    answer = await door("QUERY", "/orders", document)

    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == pointers


async def test_a_query_is_json_and_has_no_query_string(door: Door) -> None:
    assert (await door("QUERY", "/orders", b"{")).status == 400
    assert (await door("QUERY", "/orders", b"[]")).status == 422
    assert (await door("QUERY", "/orders", b"{}", content_type="text/plain")).status == 415
    assert (await door("QUERY", "/orders?limit=1", {})).status == 422


async def test_a_query_gives_what_the_same_query_string_gives(stocked: Door) -> None:
    document = {"where": {"sku": "tea"}, "sort": ["-count"], "limit": 1, "fields": ["count"], "total": True}
    query = await stocked("QUERY", "/orders", document)
    string = await stocked("GET", "/orders?sku=tea&sort=-count&limit=1&fields=count&total=true")
    rest = await stocked("QUERY", "/orders", {**document, "cursor": query.json["next"]})

    assert query.json == string.json
    assert query.headers["etag"] == string.headers["etag"]
    assert "link" not in query.headers
    assert [row["id"] for row in rest.json["items"]] == ["a"]


async def test_a_query_of_nothing_is_everything(stocked: Door) -> None:
    answer = await stocked("QUERY", "/orders")

    assert [row["id"] for row in answer.json["items"]] == ["a", "b", "c"]


async def test_a_list_as_lines_has_all_rows_of_all_pages(door: Door) -> None:
    count = 2 * LINES_PAGE + 3
    await door("POST", "/orders", [{"sku": "tea", "count": n} for n in range(count)])

    answer = await door("GET", "/orders?sort=count&fields=count", accept="application/jsonl")

    assert answer.headers["content-type"] == "application/jsonl"
    assert [line["count"] for line in lines(answer.body)] == list(range(count))


async def test_a_list_as_lines_keeps_to_a_limit_and_a_filter(stocked: Door) -> None:
    limited = await stocked("GET", "/orders?limit=2", accept="application/jsonl")
    queried = await stocked("QUERY", "/orders", {"where": {"sku": "tea"}}, accept="application/jsonl")
    none = await stocked("GET", "/orders?sku=gin", accept="application/jsonl")

    assert [line["id"] for line in lines(limited.body)] == ["a", "b"]
    assert [line["id"] for line in lines(queried.body)] == ["a", "c"]
    assert (none.status, none.body) == (200, b"")


async def test_lines_have_no_total_and_their_errors_a_status(door: Door) -> None:
    assert (await door("GET", "/orders?total=true", accept="application/jsonl")).status == 422
    assert (await door("GET", "/orders?cursor=nonsense", accept="application/jsonl")).status == 400


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl", "text/event-stream"])
async def test_head_has_no_body_and_ends(stocked: Door, accept: str) -> None:
    answer = await stocked("HEAD", "/orders", accept=accept)

    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("query", ["expand=sku", "total=true"])
async def test_a_stream_of_changes_tells_what_it_cannot_give(door: Door, query: str) -> None:
    assert (await door("GET", f"/orders?{query}", accept="text/event-stream")).status == 422


async def test_options_tell_what_each_path_takes(door: Door) -> None:
    rows, row = await door("OPTIONS", "/orders"), await door("OPTIONS", "/orders/1")
    route = await door("OPTIONS", "/stock/tea")

    assert rows.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST, QUERY"
    assert rows.headers["accept-query"] == "application/json"
    assert row.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert row.headers["accept-patch"].startswith("application/merge-patch+json, application/json-patch+json")
    assert "accept-patch" not in route.headers


async def test_what_is_for_reading_only_can_be_queried_and_not_written(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway().resources(order, write=False))

    assert (await door("QUERY", "/orders", {})).status == 200
    assert (await door("DELETE", "/orders?id=1")).status == 405
    assert (await door("OPTIONS", "/orders/1")).headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("accept", "liked"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html", "json"),
        ("application/jsonl", "jsonl"),
        ("application/json, application/jsonl", "json"),
        ("application/json;q=0.5, Application/JSONL ; q=0.6", "jsonl"),
        ("application/jsonl;q=0", "json"),
        ("application/jsonl;q=7", "jsonl"),
        ("application/jsonlines", "json"),
        ("text/event-stream, */*;q=0.1", "event-stream"),
        ("x/y," * MEDIA_TYPES_MAX + "application/jsonl", "json"),
    ],
)
def test_a_client_is_given_what_it_names_and_likes_best(accept: str, liked: str) -> None:
    offers = ["application/json", "application/jsonl", "text/event-stream"]

    assert liked_best(accept, offers).rpartition("/")[2] == liked


@pytest.mark.parametrize(
    ("accept", "only"),
    [
        ("", False),
        ("text/html", False),
        ("Text/Event-Stream", True),
        ("text/event-stream, text/html", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream, */*;q=0", True),
        ("text/event-stream, */*;q=0.1", False),
        ("text/event-stream, application/*", False),
        ("text/event-stream, application/jsonl", False),
        ("x/y," * MEDIA_TYPES_MAX + "text/event-stream", False),
    ],
)
def test_a_client_that_waits_for_a_stream_alone_wants_nothing_else(accept: str, *, only: bool) -> None:
    kind, offers = "text/event-stream", ["application/json", "application/jsonl"]
    assert wants_only(accept, kind, offers) is only
    assert not wants_only(accept, kind, [*offers, kind])
