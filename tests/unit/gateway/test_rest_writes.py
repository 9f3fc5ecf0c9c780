"""Writes: conditions, preferences, patches, several rows at once."""

import asyncio
from typing import Any

import pytest

from hanse.contract.model import Resource
from hanse.contract.openapi_rest import ResourcePath
from hanse.gateway.expansion import Expansion
from hanse.gateway.exposed import ExposedRows
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import PreconditionFailed
from hanse.node.node import Node
from hanse.service.rows import ROWS_MAX

Door = Any
Opened = Any
Json = Any

pytestmark = pytest.mark.virtual_time

JSON_PATCH = "application/json-patch+json"


@pytest.fixture
async def tea(door: Door) -> Json:
    return (await door("POST", "/orders", {"id": "1", "sku": "tea", "tags": ["a"]})).json


@pytest.fixture
def careful(opened: Opened, order: type[Resource]) -> Door:
    return opened(Gateway().resources(order, require_match=True))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("condition", ["", "*"])
async def test_who_names_no_revision_where_one_is_required_is_told_the_way(
    careful: Door, method: str, condition: str
) -> None:
    created = await careful("POST", "/orders", {"id": "1", "sku": "tea"})
    answer = await careful(method, "/orders/1", {"sku": "rum"}, if_match=condition)

    assert answer.status == 428
    assert "If-Match" in answer.json["detail"]
    assert (await careful(method, "/orders/1", {"sku": "rum"}, if_match=created.headers["etag"])).status < 300


async def test_a_new_row_needs_no_revision_but_says_that_it_is_new(careful: Door) -> None:
    assert (await careful("PUT", "/orders/1", {"sku": "tea"})).status == 428
    assert (await careful("PUT", "/orders/1", {"sku": "tea"}, if_none_match="*")).status == 201
    assert (await careful("DELETE", "/orders?id=1")).status == 405


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_at_another_revision_fails(door: Door, tea: Json, method: str) -> None:
    for headers in ({"if_match": '"0"'}, {"if_match": '"98", "99"'}, {"if_none_match": f'"{tea["rev"]}"'}):
        assert (await door(method, "/orders/1", {"sku": "rum"}, **headers)).status == 412
    assert (await door(method, "/orders/1", {"sku": "rum"}, if_none_match='"0"')).status < 300


async def test_revision_0_is_no_way_to_create(door: Door) -> None:
    assert (await door("PUT", "/orders/1", {"sku": "rum"}, if_match='"0"')).status == 412


async def test_if_none_match_any_lets_only_a_new_row_be_put(door: Door, tea: Json) -> None:
    assert (await door("PUT", f"/orders/{tea['id']}", {"sku": "rum"}, if_none_match="*")).status == 412
    assert (await door("PUT", "/orders/2", {"sku": "rum"}, if_none_match="*")).status == 201
    assert (await door("PUT", "/orders/3", {"sku": "rum"}, if_none_match='"7"')).status == 201
    assert (await door("PATCH", "/orders/1", {"sku": "rum"}, if_none_match="*")).status == 412
    assert (await door("PATCH", "/orders/9", {"sku": "rum"}, if_none_match="*")).status == 404


async def test_a_read_at_another_revision_fails(door: Door, tea: Json) -> None:
    assert (await door("GET", "/orders/1", if_match='"0"')).status == 412
    assert (await door("GET", "/orders/1", if_match=f'"{tea["rev"]}"')).status == 200
    assert (await door("GET", "/orders/1", if_match="*")).status == 200


async def test_a_json_patch_edits_and_tells_which_operation_does_not_fit(door: Door, tea: Json) -> None:
    patch = [
        {"op": "test", "path": "/rev", "value": tea["rev"]},
        {"op": "add", "path": "/tags/-", "value": "b"},
    ]
    patched = await door("PATCH", "/orders/1", patch, content_type=JSON_PATCH)
    refused = await door("PATCH", "/orders/1", patch, content_type=f"{JSON_PATCH}; charset=utf-8")

    assert patched.json["tags"] == ["a", "b"]
    assert (refused.status, refused.json["code"]) == (409, "patch_conflict")
    assert refused.json["errors"][0]["pointer"] == "/0"
    assert (await door("PATCH", "/orders/1", {}, content_type=JSON_PATCH)).status == 422
    assert (await door("PATCH", "/orders/1", [{"op": "x"}], content_type=JSON_PATCH)).status == 422


async def test_a_body_of_another_type_is_told_which_are_taken(door: Door) -> None:
    created = await door("POST", "/orders", b"{}", content_type="text/plain")
    patched = await door("PATCH", "/orders/1", b"{}", content_type="text/plain")

    assert (created.status, created.headers["accept"]) == (415, "application/json")
    assert (patched.status, patched.json["code"]) == (415, "unsupported_media_type")
    assert patched.headers["accept-patch"] == (await door("OPTIONS", "/orders/1")).headers["accept-patch"]


async def test_a_list_is_no_merge_patch(door: Door, tea: Json) -> None:
    assert (await door("PATCH", f"/orders/{tea['id']}", [])).status == 422


async def test_who_wants_little_gets_little(door: Door) -> None:
    created = await door("POST", "/orders", {"id": "1", "sku": "tea"}, prefer="return=minimal")
    patched = await door("PATCH", "/orders/1", {"count": 2}, prefer="return=minimal")
    whole = await door("PUT", "/orders/1", {"sku": "tea"}, prefer="return=representation")

    assert (created.status, created.body, created.headers["location"]) == (204, b"", "/orders/1")
    assert (patched.status, patched.body) == (204, b"")
    assert created.headers["preference-applied"] == patched.headers["preference-applied"] == "return=minimal"
    assert patched.headers["etag"]
    assert (whole.status, whole.headers["preference-applied"]) == (200, "return=representation")
    assert (await door("GET", "/orders/1")).json["sku"] == "tea"


async def test_strictly_a_field_that_does_not_exist_is_told(door: Door, tea: Json) -> None:
    body = {"sku": "tea", "colour": 1, "address": {"city": "Köln", "street": 2}}
    strict = {"prefer": "handling=strict"}
    asks = [
        (await door("POST", "/orders", body, **strict), ["/colour", "/address/street"]),
        (await door("PUT", "/orders/1", body, **strict), ["/colour", "/address/street"]),
        (await door("PATCH", "/orders/1", {"adress": None}, **strict), ["/adress"]),
        (await door("POST", "/orders", [{"sku": "a"}, {"sku": "b", "x": 1}], **strict), ["/1/x"]),
    ]

    for answer, pointers in asks:
        assert answer.status == 422
        assert [error["pointer"] for error in answer.json["errors"]] == pointers
        assert {error["code"] for error in answer.json["errors"]} == {"unknown_field"}
    assert (await door("PATCH", f"/orders/{tea['id']}", body)).status == 200


async def test_strictly_a_json_patch_names_no_field_that_does_not_exist(door: Door, tea: Json) -> None:
    patch = [
        {"op": "add", "path": "/adress", "value": {}},
        {"op": "add", "path": "/address", "value": {"city": "Köln", "street": 2}},
        {"op": "copy", "from": "/labels/any", "path": "/address/street"},
        {"op": "add", "path": "/labels/any", "value": 1},
        {"op": "move", "from": "/nots", "path": "/note"},
        7,
    ]
    answer = await door("PATCH", "/orders/1", patch, content_type=JSON_PATCH, prefer="handling=strict")

    assert tea["address"] is None
    assert [error["pointer"] for error in answer.json["errors"]] == [
        "/0/path",
        "/1/value/street",
        "/2/path",
        "/4/from",
    ]


async def test_a_resource_may_be_strict_unless_the_client_prefers_otherwise(
    opened: Opened, order: type[Resource]
) -> None:
    door = opened(Gateway().resources(order, strict=True))
    body = {"sku": "tea", "colour": 1}

    assert (await door("POST", "/orders", body)).status == 422
    lenient = await door("POST", "/orders", body, prefer="handling=lenient")
    assert (lenient.status, lenient.headers["preference-applied"]) == (201, "handling=lenient")
    assert (await door("POST", "/orders", b"{")).status == 400


async def test_rows_are_created_together_or_not_at_all(door: Door, tea: Json) -> None:
    invalid = await door("POST", "/orders", [{"sku": "rum"}, {}])
    taken = await door("POST", "/orders", [{"sku": "rum"}, {"sku": "rum", "id": tea["id"]}])

    assert (invalid.status, invalid.json["errors"][0]["pointer"]) == (422, "/1/sku")
    assert (taken.status, taken.json["errors"][0]["pointer"]) == (409, "/1/id")
    assert (await door("POST", "/orders", [])).status == 422
    assert (await door("POST", "/orders", b"[")).status == 400
    assert (await door("POST", "/orders", [{"sku": "x"}] * (ROWS_MAX + 1))).status == 422
    assert (await door("GET", "/orders?total=true")).json["total"] == 1


async def test_rows_that_were_created_together_come_back_in_their_order(door: Door) -> None:
    whole = await door("POST", "/orders", [{"sku": "tea"}, {"sku": "rum"}])
    minimal = await door("POST", "/orders", [{"sku": "gin", "id": "g"}], prefer="return=minimal")
    ids = ",".join(row["id"] for row in whole.json["items"])

    assert (whole.status, [row["sku"] for row in whole.json["items"]]) == (201, ["tea", "rum"])
    assert list(minimal.json["items"][0]) == ["id", "rev"]
    assert {row["sku"] for row in (await door("GET", f"/orders?id[in]={ids}")).json["items"]} == {"tea", "rum"}


@pytest.mark.parametrize("query", ["", "?", "?sku=tea", "?id[in]=", "?id[in]=1&sku=tea", "?id[gt]=0", "?limit=3"])
async def test_rows_are_deleted_by_their_ids_alone(door: Door, tea: Json, query: str) -> None:
    assert (await door("DELETE", f"/orders{query}")).status == 422
    assert (await door("GET", f"/orders/{tea['id']}")).status == 200


async def test_rows_are_deleted_together_or_not_at_all(door: Door, tea: Json) -> None:
    await door("POST", "/orders", [{"sku": "rum", "id": "2"}, {"sku": "rum", "id": "3"}])
    missing = await door("DELETE", "/orders?id[in]=1,x,2")

    assert (missing.status, missing.json["code"]) == (404, "some_missing")
    assert [error["pointer"] for error in missing.json["errors"]] == ["/1"]
    assert (await door("DELETE", f"/orders?id[in]={tea['id']},2&id=3")).status == 204
    assert (await door("GET", "/orders")).json["items"] == []


async def test_no_socket_goes_round_a_revision_that_is_required(careful: Door) -> None:
    created = await careful("POST", "/orders", {"id": "1", "sku": "tea"})
    socket = await careful.socket()
    for op, value in (("put", {"sku": "rum"}), ("patch", {"sku": "rum"}), ("delete", None)):
        ask = {"op": op, "id": 1, "collection": "orders", "key": "1"}
        await socket.say(ask if value is None else {**ask, "value": value})
        assert (await socket.hear())["error"]["status"] in {403, 428}

    assert (await careful("GET", "/orders/1")).headers["etag"] == created.headers["etag"]


async def test_several_rows_are_written_once_under_a_key(door: Door) -> None:
    key = {"idempotency_key": "k-1"}
    first = await door("POST", "/orders", [{"sku": "tea"}, {"sku": "rum"}], **key)
    again = await door("POST", "/orders", [{"sku": "tea"}, {"sku": "rum"}], **key)
    other = await door("POST", "/orders", [{"sku": "gin"}], **key)
    ids = ",".join(row["id"] for row in first.json["items"])
    gone = [(await door("DELETE", f"/orders?id[in]={ids}", idempotency_key="k-2")).status for _ in range(2)]

    assert (again.status, again.json) == (first.status, first.json)
    assert other.status == 422
    assert gone == [204, 204]
    assert (await door("GET", "/orders")).json["items"] == []


async def test_a_json_patch_takes_effect_once_under_a_key(door: Door, tea: Json) -> None:
    patch = [{"op": "add", "path": "/tags/-", "value": "b"}]
    headers = {"content_type": JSON_PATCH, "idempotency_key": "k-1"}
    first = await door("PATCH", f"/orders/{tea['id']}", patch, **headers)
    again = await door("PATCH", f"/orders/{tea['id']}", patch, **headers)

    assert first.json["tags"] == again.json["tags"] == ["a", "b"]
    assert again.headers["etag"] == first.headers["etag"]


async def test_writes_over_whichever_is_there_do_not_hinder_each_other(node: Node, order: type[Resource]) -> None:
    rows = node.rows(order)
    await rows.create(b'{"sku": "tea"}', "1")
    exposed = ExposedRows(ResourcePath(order, "/orders"), rows, Expansion({}))
    written = await asyncio.gather(*(exposed.replace("1", b'{"sku": "rum"}') for _ in range(5)))

    assert len({one.rev for one in written}) == 5
    with pytest.raises(PreconditionFailed):
        await exposed.replace("2", b'{"sku": "cup"}')
