"""REST for the rows of a resource."""

from typing import Any

import pytest

from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.kernel.tasks import Tasks
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Any
Value = Any

pytestmark = pytest.mark.virtual_time


async def test_what_does_not_exist_is_a_problem_with_its_code(door: Door) -> None:
    answer = await door("GET", "/orders/42")

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == "not_found"
    assert answer.json["detail"] == "there is no order '42'"
    assert answer.json["title"] == "Not Found"


async def test_an_invalid_row_is_refused_with_every_error(door: Door) -> None:
    answer = await door("POST", "/orders", {"amount": "much", "count": "many"})

    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == ["/sku", "/amount", "/count"]


async def test_a_body_that_is_no_json_is_malformed(door: Door) -> None:
    assert (await door("POST", "/orders", b"{")).status == 400
    assert (await door("PATCH", "/orders/1", b"{")).status == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_of_another_type_is_refused(door: Door, content_type: str) -> None:
    answer = await door("POST", "/orders", b"{}", content_type=content_type)

    assert answer.status == 415
    assert "application/json" in answer.json["detail"]


async def test_a_body_over_the_limit_is_refused(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway(body_max=10).resources(order))

    assert (await door("POST", "/orders", {"sku": "a long name"})).status == 413


async def test_a_created_row_can_be_read_where_its_location_says(door: Door) -> None:
    created = await door("POST", "/orders", {"sku": "tea"})
    read = await door("GET", created.headers["location"])

    assert created.status == 201
    assert read.json == created.json
    assert read.headers["etag"] == created.headers["etag"] == f'"{created.json["rev"]}"'


async def test_a_created_row_is_found_below_the_path_it_is_mounted_at(door: Door) -> None:
    inner = door.app

    async def mounted(scope: Value, receive: Value, send: Value) -> None:
        path = f"/shop{scope['path']}"
        await inner({**scope, "root_path": "/shop", "path": path, "raw_path": path.encode()}, receive, send)

    door.app = mounted
    assert (await door("POST", "/orders", {"sku": "tea", "id": "1"})).headers["location"] == "/shop/orders/1"
    await door("POST", "/orders", {"sku": "tea", "id": "2"})
    assert (await door("GET", "/orders?limit=1")).headers["link"].startswith("</shop/orders?limit=1&cursor=")


async def test_an_id_may_hold_a_slash(door: Door) -> None:
    created = await door("POST", "/orders", {"sku": "tea", "id": "a/b c"})

    assert created.headers["location"] == "/orders/a%2Fb%20c"
    assert (await door("GET", "/orders/a%2Fb%20c")).json["id"] == "a/b c"


async def test_a_path_that_is_no_text_is_malformed(door: Door) -> None:
    assert (await door("GET", "/orders/%ff")).status == 400


async def test_a_second_row_of_one_id_is_a_conflict(door: Door) -> None:
    await door("POST", "/orders", {"sku": "tea", "id": "1"})

    assert (await door("POST", "/orders", {"sku": "tea", "id": "1"})).status == 409


async def test_a_list_has_pages_with_a_link_to_the_next(door: Door) -> None:
    for id in "abc":
        await door("POST", "/orders", {"sku": "tea", "id": id})

    first = await door("GET", "/orders?limit=2&sort=-id&total=true")
    link = first.headers["link"]
    second = await door("GET", link[1 : link.index(">")])

    assert [row["id"] for row in first.json["items"]] == ["c", "b"]
    assert first.json["total"] == 3
    assert [row["id"] for row in second.json["items"]] == ["a"]
    assert second.json["next"] is None
    assert second.headers["link"] == '</orders?limit=2&sort=-id&total=true>; rel="first"'


async def test_a_cursor_of_another_list_is_malformed(door: Door) -> None:
    assert (await door("GET", "/orders?cursor=nonsense")).status == 400


async def test_a_filter_that_cannot_be_names_what_can(door: Door) -> None:
    answer = await door("GET", "/orders?color=red&limit=0")

    assert answer.status == 422
    assert "it has id, rev, sku" in answer.json["errors"][0]["detail"]
    assert answer.json["errors"][1]["pointer"] == "/limit"


async def test_a_filter_narrows_the_list(door: Door) -> None:
    await door("POST", "/orders", {"sku": "tea", "count": 3})
    await door("POST", "/orders", {"sku": "rum", "count": 4})

    assert [row["sku"] for row in (await door("GET", "/orders?count[gte]=4")).json["items"]] == ["rum"]


async def test_what_the_client_knows_is_not_sent_again(door: Door) -> None:
    created = await door("POST", "/orders", {"sku": "tea", "id": "1"})
    answer = await door("GET", "/orders/1", if_none_match=created.headers["etag"])

    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == created.headers["etag"]
    assert (await door("GET", "/orders/1", if_none_match='"0"')).status == 200


async def test_a_row_is_put_whole(door: Door) -> None:
    created = await door("PUT", "/orders/1", {"sku": "tea", "note": "soon"})
    replaced = await door("PUT", "/orders/1", {"sku": "rum"})

    assert (created.status, created.headers["location"]) == (201, "/orders/1")
    assert (replaced.status, replaced.json["note"]) == (200, None)
    assert "location" not in replaced.headers


async def test_a_row_is_put_only_where_there_is_none(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"}, if_none_match="*")

    assert (await door("PUT", "/orders/1", {"sku": "tea"}, if_none_match="*")).status == 412


async def test_a_row_is_put_only_where_there_is_one(door: Door) -> None:
    assert (await door("PUT", "/orders/1", {"sku": "tea"}, if_match="*")).status == 412

    await door("PUT", "/orders/1", {"sku": "tea"})
    assert (await door("PUT", "/orders/1", {"sku": "rum"}, if_match="*")).status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("condition", ['"0"', '"none-of-ours"', '"0", "99"', 'W/"1"'])
async def test_a_write_at_another_revision_is_refused(door: Door, method: str, condition: str) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})
    value = None if method == "DELETE" else {"sku": "rum"}

    assert (await door(method, "/orders/1", value, if_match=condition)).status == 412


async def test_a_write_at_one_of_several_revisions_is_taken(door: Door) -> None:
    created = await door("PUT", "/orders/1", {"sku": "tea"})

    answer = await door("PATCH", "/orders/1", {"count": 2}, if_match=f'"0", {created.headers["etag"]}')
    assert (answer.status, answer.json["count"]) == (200, 2)


async def test_a_patch_merges(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea", "note": "soon", "address": {"city": "Bremen", "zip": "28"}})
    answer = await door(
        "PATCH", "/orders/1", {"note": None, "address": {"zip": "29"}}, content_type="application/merge-patch+json"
    )

    assert answer.json["note"] is None
    assert answer.json["address"] == {"city": "Bremen", "zip": "29"}


async def test_a_patch_of_nothing_is_not_found(door: Door) -> None:
    assert (await door("PATCH", "/orders/1", {"sku": "tea"})).status == 404
    assert (await door("PATCH", "/orders/1", {"sku": "tea"}, if_match='"1", "2"')).status == 412


async def test_a_deleted_row_is_gone(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})

    deleted = await door("DELETE", "/orders/1")
    assert (deleted.status, deleted.body) == (204, b"")
    assert "content-length" not in deleted.headers
    assert (await door("GET", "/orders/1")).status == 404


async def test_head_is_get_without_the_body(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})
    read, head = await door("GET", "/orders/1"), await door("HEAD", "/orders/1")

    assert head.body == b""
    assert head.headers["content-length"] == read.headers["content-length"]


async def test_another_method_is_told_what_is_possible(door: Door) -> None:
    answer = await door("PUT", "/orders")

    assert answer.status == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST, QUERY"


async def test_options_tell_what_is_possible(door: Door) -> None:
    answer = await door("OPTIONS", "/orders/1")

    assert answer.status == 204
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert "merge-patch" in answer.headers["accept-patch"]
    assert "accept-patch" not in (await door("OPTIONS", "/orders")).headers


async def test_what_is_exposed_for_reading_cannot_be_written(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway().resources(order, "/things", write=False))

    assert (await door("POST", "/things", {"sku": "tea"})).status == 405
    assert (await door("PATCH", "/things/1", {"sku": "tea"})).status == 405
    assert (await door("GET", "/things")).json == {"items": [], "next": None}


async def test_what_is_not_exposed_is_not_there(opened: Opened) -> None:
    door = opened(Gateway())

    assert (await door("GET", "/orders")).json["code"] == "no_route"
    assert (await door("POST", "/rpc/shop/who", {})).status == 404


async def test_a_page_of_another_site_may_read_but_not_write(door: Door) -> None:
    assert (await door("POST", "/orders", {"sku": "tea"}, origin="http://evil.test", host="ours.test")).status == 403
    assert (await door("GET", "/orders", origin="http://evil.test", host="ours.test")).status == 200


async def test_a_repeated_key_gets_the_first_answer(door: Door) -> None:
    first = await door("POST", "/orders", {"sku": "tea"}, idempotency_key="k")
    again = await door("POST", "/orders", {"sku": "tea"}, idempotency_key="k")

    assert again.json == first.json
    assert (await door("POST", "/orders", {"sku": "rum"}, idempotency_key="k")).status == 422
    assert len((await door("GET", "/orders", idempotency_key="k")).json["items"]) == 1


async def test_too_many_requests_at_once_are_told_to_come_again(
    opened: Opened, shop: type[Service], tasks: Tasks
) -> None:
    door = opened(Gateway(limits=Limits(requests=1)).rpc(shop))
    busy = tasks.start(door("POST", "/rpc/shop/nap", {"seconds": 1}))
    waiting = tasks.start(door("POST", "/rpc/shop/nap", {"seconds": 1}))

    assert (await waiting).status == 503
    assert (await waiting).headers["retry-after"] == "1"
    assert (await busy).json == "rested"
