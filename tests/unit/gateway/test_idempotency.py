"""Under an Idempotency-Key a request takes effect once, and a repeat gets the first answer, status and headers too."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hanse.gateway.gateway import Gateway
from hanse.node.node import Node

Door = Any
Value = Any
KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'

pytestmark = pytest.mark.virtual_time


def same(first: Value, second: Value) -> bool:
    names = ("etag", "location", "content-type")
    told = [[answer.status, answer.body, *(answer.headers.get(name) for name in names)] for answer in (first, second)]
    return bool(told[0] == told[1])


@pytest.mark.parametrize("key", ["", '""', "k" * 256, '"a', "a b", "ä", "a,b"])
async def test_a_key_that_is_none_is_refused(door: Door, key: str) -> None:
    answer = await door("POST", "/orders", {"sku": "tea"}, idempotency_key=key)
    assert answer.status == (201 if key == "" else 400)


@pytest.mark.parametrize("condition", ["*", '"1", "2"'])
async def test_a_repeat_of_many_conditions_could_not_be_told(door: Door, condition: str) -> None:
    answer = await door("PATCH", "/orders/1", {"sku": "tea"}, idempotency_key=KEY, if_match=condition)
    assert (answer.status, "one ETag" in answer.json["detail"]) == (400, True)


async def test_another_payload_under_the_key_is_422(door: Door) -> None:
    await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY)
    answer = await door("POST", "/orders", {"sku": "ink"}, idempotency_key=KEY)

    assert (answer.status, answer.json["code"]) == (422, "key_reused")
    assert len((await door("GET", "/orders")).json["items"]) == 1


async def test_one_in_flight_is_409_and_says_when_to_ask_again(door: Door) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(door("POST", "/rpc/shop/nap", {"seconds": 5}, idempotency_key=KEY))
        await asyncio.sleep(1)
        second = await door("POST", "/rpc/shop/nap", {"seconds": 5}, idempotency_key=KEY)

    assert (second.status, second.json["code"], second.headers["retry-after"]) == (409, "under_way", "1")
    assert same(first.result(), await door("POST", "/rpc/shop/nap", {"seconds": 5}, idempotency_key=KEY))


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("POST", "/orders", {"sku": "tea"}),
        ("POST", "/orders", [{"sku": "tea"}, {"sku": "ink"}]),
        ("DELETE", "/orders?id=1", None),
        ("PUT", "/orders/1", {"sku": "tea"}),
        ("PUT", "/orders/new", {"sku": "tea"}),
        ("PATCH", "/orders/1", {"sku": "ink"}),
        ("DELETE", "/orders/1", None),
        ("POST", "/rpc/shop/reserve", {"sku": "ink"}),
        ("POST", "/stock/tea", {"count": 3}),
    ],
)
async def test_a_repeat_gets_the_first_answer(door: Door, method: str, path: str, value: Value) -> None:
    await door("PUT", "/orders/1", {"sku": "old"})
    first = await door(method, path, value, idempotency_key=KEY)
    await door("PUT", "/orders/1", {"sku": "newer"})
    before = (await door("GET", "/orders")).body
    second = await door(method, path, value, idempotency_key=KEY)

    assert first.status < 300
    assert same(first, second)
    assert (await door("GET", "/orders")).body == before


async def test_a_key_with_and_without_quotes_is_one(door: Door) -> None:
    first = await door("POST", "/orders", {"sku": "tea"}, idempotency_key='"abc"')
    assert same(first, await door("POST", "/orders", {"sku": "tea"}, idempotency_key="abc"))


async def test_a_key_counts_for_one_operation(door: Door) -> None:
    assert (await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY)).status == 201
    assert (await door("PUT", "/orders/1", {"sku": "tea"}, idempotency_key=KEY)).status == 201


async def test_what_failed_may_be_asked_again(door: Door) -> None:
    assert (await door("POST", "/orders", {}, idempotency_key=KEY)).status == 422
    assert (await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY)).status == 201


async def test_a_key_is_kept_as_long_as_the_log(opened: Callable[[Gateway], Door], node: Node, shop: type[Any]) -> None:
    door = opened(Gateway.everything([shop]))
    first = await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY)
    store = node.hosted[0].store
    await store.trim(node.host.now() - 1, keep_after=0)
    assert same(first, await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY))

    await store.trim(node.host.now() + 1, keep_after=0)
    assert not same(first, await door("POST", "/orders", {"sku": "tea"}, idempotency_key=KEY))
