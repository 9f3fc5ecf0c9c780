"""WebSocket: subscriptions, calls and writes over one connection."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.kernel.faults import Unauthenticated
from hanse.kernel.message import Identity
from hanse.kernel.tasks import Tasks
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Any
Value = Any
Wire = Any

pytestmark = pytest.mark.virtual_time


async def ask(wire: Wire, **message: Value) -> Value:
    await wire.say(message)
    return await wire.hear()


async def test_a_wrong_message_is_answered_under_its_id(door: Door) -> None:
    wire = await door.socket()

    assert (await ask(wire, op="dance", id=7))["error"]["status"] == 422
    assert (await ask(wire, op="get", id="a"))["id"] == "a"
    assert (await ask(wire, op="get", id=3, collection="orders", key="1"))["error"]["code"] == "not_found"
    assert (await ask(wire, op="get", id=4, collection="secrets", key="1"))["error"]["code"] == "not_found"
    assert (await ask(wire, op="call", id=5, service="shop", operation="rob"))["error"]["status"] == 404


async def test_who_keeps_sending_garbage_is_closed(opened: Opened, order: type[Resource]) -> None:
    wire = await opened(Gateway(limits=Limits(garbage=2)).resources(order)).socket()
    await wire.say("{")
    assert (await wire.hear())["error"]["code"] == "malformed"
    await wire.say("]")
    assert (await wire.hear())["id"] is None

    assert (await wire.hear())["code"] == 1007
    await wire.ended.wait()


async def test_a_message_over_the_limit_closes(opened: Opened, order: type[Resource]) -> None:
    wire = await opened(Gateway(limits=Limits(message_bytes=10)).resources(order)).socket()
    await wire.say({"op": "get", "id": 1})

    assert (await wire.hear())["code"] == 1009


async def test_bytes_are_no_message(door: Door) -> None:
    wire = await door.socket()
    wire.sent.put_nowait({"type": "websocket.receive", "bytes": b"{}"})

    assert (await wire.hear())["error"]["code"] == "malformed"


async def test_a_handshake_elsewhere_is_refused(door: Door) -> None:
    wire = door.open("/elsewhere", kind="websocket")

    assert (await wire.next())["status"] == 404


async def test_a_handshake_from_another_site_is_refused(door: Door) -> None:
    wire = door.open("/live", kind="websocket", origin="http://evil.test", host="ours.test")

    assert (await wire.next())["status"] == 403


async def test_a_server_without_refusals_just_closes(door: Door) -> None:
    inner = door.app

    async def older(scope: Value, receive: Value, send: Value) -> None:
        await inner({**scope, "extensions": {}}, receive, send)

    door.app = older
    assert await door.open("/elsewhere", kind="websocket").next() == {"type": "websocket.close", "code": 1008}


async def test_a_request_without_a_handshake_is_told_what_is_missing(door: Door) -> None:
    plain, lacking = await door("GET", "/live"), await door("GET", "/live", upgrade="websocket")

    assert (plain.status, plain.headers["upgrade"]) == (426, "websocket")
    assert lacking.status == 501
    assert "hanse[standard]" in lacking.json["detail"]


async def test_rows_are_written_and_read(door: Door) -> None:
    wire = await door.socket()
    created = await ask(wire, op="create", id=1, collection="orders", key="1", value={"sku": "tea"})
    put = await ask(
        wire, op="put", id=2, collection="orders", key="1", value={"sku": "rum"}, rev=created["result"]["rev"]
    )
    patched = await ask(wire, op="patch", id=3, collection="orders", key="1", value={"count": 4})
    stale = await ask(wire, op="patch", id=4, collection="orders", key="1", value={"count": 4}, rev=1)
    read = await ask(wire, op="get", id=5, collection="orders", key="1")
    listed = await ask(wire, op="list", id=6, collection="orders", where={"sku": "rum"}, sort="-count", total=True)
    deleted = await ask(wire, op="delete", id=7, collection="orders", key="1", rev=patched["result"]["rev"])

    assert put["result"]["value"]["sku"] == "rum"
    assert stale["error"]["code"] == "precondition_failed"
    assert (
        read["result"]
        == patched["result"]
        == {"key": "1", "rev": patched["result"]["rev"], "value": listed["result"]["items"][0]}
    )
    assert listed["result"]["total"] == 1
    assert deleted == {"id": 7, "result": None}


async def test_a_page_that_cannot_be_is_refused(door: Door) -> None:
    wire = await door.socket()

    assert (await ask(wire, op="list", id=1, collection="orders", limit=0))["error"]["errors"][0]["pointer"] == "/limit"
    assert (await ask(wire, op="list", id=1, collection="orders", sort="tags"))["error"]["status"] == 422


async def test_what_is_exposed_for_reading_cannot_be_written(opened: Opened, order: type[Resource]) -> None:
    wire = await opened(Gateway().resources(order, write=False, live=False)).socket()

    assert (await ask(wire, op="delete", id=1, collection="orders", key="1"))["error"]["status"] == 403
    assert (await ask(wire, op="subscribe", id=1, collection="orders"))["error"]["status"] == 403


async def test_operations_are_called(door: Door) -> None:
    wire = await door.socket()

    called = await ask(wire, op="call", id=1, service="shop", operation="reserve", arguments={"sku": "rum"})
    failed = await ask(wire, op="call", id=2, service="shop", operation="reserve", arguments={"sku": "tea"})
    assert called == {"id": 1, "result": {"rum": 1}}
    assert failed["error"]["code"] == "out_of_stock"


async def test_a_slow_call_delays_no_other(door: Door) -> None:
    wire = await door.socket()
    await wire.say({"op": "call", "id": 1, "service": "shop", "operation": "nap", "arguments": {"seconds": 1}})
    await wire.say({"op": "call", "id": 2, "service": "shop", "operation": "who"})

    assert [(await wire.hear())["id"] for _ in range(2)] == [2, 1]


async def test_too_many_calls_at_once_are_told_to_come_again(opened: Opened, shop: type[Service]) -> None:
    wire = await opened(Gateway(limits=Limits(asks=1)).rpc(shop)).socket()
    for id in (1, 2):
        await wire.say({"op": "call", "id": id, "service": "shop", "operation": "nap", "arguments": {"seconds": 1}})

    assert (await wire.hear())["error"]["code"] == "overloaded"
    assert (await wire.hear())["result"] == "rested"
    assert "result" in await ask(wire, op="call", id=3, service="shop", operation="who")


async def test_a_streaming_operation_is_told_item_by_item(door: Door) -> None:
    wire = await door.socket()
    await wire.say({"op": "call", "id": 1, "service": "shop", "operation": "counting", "arguments": {"upto": 2}})

    assert [await wire.hear() for _ in range(3)] == [
        {"id": 1, "item": 0},
        {"id": 1, "item": 1},
        {"id": 1, "result": None},
    ]


async def test_a_stream_can_be_stopped(door: Door) -> None:
    wire = await door.socket()

    assert (await ask(wire, op="call", id=1, service="shop", operation="forever"))["item"] == 1
    assert await ask(wire, op="unsubscribe", id=1) == {"id": 1, "result": None}
    assert (await ask(wire, op="unsubscribe", id=1))["error"]["code"] == "not_found"


async def test_a_subscription_tells_rows_and_then_changes(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})
    wire = await door.socket()
    await wire.say({"op": "subscribe", "id": 1, "collection": "orders", "where": {"sku": "tea"}})
    row, ready = await wire.hear(), await wire.hear()
    await door("DELETE", "/orders/1")
    deleted = await wire.hear()

    assert (row["event"], row["key"], row["value"]["sku"], "cursor" in row) == ("snapshot", "1", "tea", False)
    assert ready == {"id": 1, "event": "ready", "cursor": ready["cursor"]}
    assert (deleted["event"], deleted["value"]) == ("deleted", None)


async def test_a_subscription_resumes_after_a_cursor(door: Door) -> None:
    wire = await door.socket()
    ready = await ask(wire, op="subscribe", id=1, collection="orders")
    await door("PUT", "/orders/1", {"sku": "tea"})
    again = await ask(await door.socket(), op="subscribe", id=1, collection="orders", after=ready["cursor"])
    lost = await ask(await door.socket(), op="subscribe", id=1, collection="orders", after="another.1")

    assert (again["event"], again["key"]) == ("created", "1")
    assert lost == {"id": 1, "event": "reset"}


async def test_one_socket_follows_several_collections_under_ids_of_their_own(door: Door) -> None:
    wire = await door.socket()
    await ask(wire, op="subscribe", id="a", collection="orders", snapshot=False)
    assert (await ask(wire, op="subscribe", id="a", collection="orders"))["error"]["code"] == "conflict"
    await ask(wire, op="subscribe", id="b", collection="orders", where={"sku": "rum"})
    await door("PUT", "/orders/1", {"sku": "tea"})

    assert (await wire.hear())["id"] == "a"


@pytest.mark.parametrize(("where", "after"), [({"color": 1}, ""), ({"$or": [{"count": "x"}]}, ""), (None, "x")])
async def test_a_subscription_that_cannot_be_is_refused(door: Door, where: Value, after: str) -> None:
    wire = await door.socket()

    refused = await ask(wire, op="subscribe", id=1, collection="orders", where=where, after=after)
    assert refused["error"]["status"] in {400, 422}
    assert (await ask(wire, op="subscribe", id=1, collection="orders"))["event"] == "ready"


async def test_too_many_subscriptions_are_refused(opened: Opened, order: type[Resource]) -> None:
    wire = await opened(Gateway(limits=Limits(subscriptions=1)).resources(order)).socket()
    await ask(wire, op="subscribe", id=1, collection="orders")

    assert (await ask(wire, op="subscribe", id=2, collection="orders"))["error"]["code"] == "overloaded"


async def test_a_drain_closes_with_the_code_for_restarts(opened: Opened, order: type[Resource]) -> None:
    gateway = Gateway().resources(order)
    door = opened(gateway)
    wire = await door.socket()
    await ask(wire, op="subscribe", id=1, collection="orders")
    await gateway.drain()

    assert (await wire.hear())["code"] == 1012
    assert (await door.open("/live", kind="websocket").next())["status"] == 503


async def test_a_drain_waits_for_calls_under_way_and_takes_no_new_ones(
    opened: Opened, shop: type[Service], tasks: Tasks
) -> None:
    gateway = Gateway().rpc(shop)
    wire = await opened(gateway).socket()
    await wire.say({"op": "call", "id": 1, "service": "shop", "operation": "nap", "arguments": {"seconds": 3}})
    await asyncio.sleep(1)
    drained = tasks.start(gateway.drain())
    await asyncio.sleep(1)
    refused = await ask(wire, op="call", id=2, service="shop", operation="who")

    assert (refused["id"], refused["error"]["code"]) == (2, "unavailable")
    assert (await ask(wire, op="call", id=3, service="shop", operation="forever"))["error"]["code"] == "unavailable"
    assert await wire.hear() == {"id": 1, "result": "rested"}
    assert (await wire.hear())["code"] == 1012
    await drained


async def test_a_drain_does_not_wait_for_answers_that_nobody_reads(opened: Opened, shop: type[Service]) -> None:
    gateway = Gateway().rpc(shop)
    wire = await opened(gateway).socket(window=1)
    for id in (1, 2):
        await wire.say({"op": "call", "id": id, "service": "shop", "operation": "who"})
    await asyncio.sleep(1)
    await gateway.drain()

    assert wire.cut
    assert asyncio.get_running_loop().time() < 60


async def test_a_client_that_does_not_read_is_cut(door: Door) -> None:
    wire = await door.socket(window=2)
    await wire.say({"op": "subscribe", "id": 1, "collection": "orders"})
    for _ in range(10):
        await door("POST", "/orders", {"sku": "tea"})
    await wire.ended.wait()

    assert wire.cut
    assert asyncio.get_running_loop().time() < 60


async def test_a_client_that_goes_leaves_nothing_behind(opened: Opened, order: type[Resource]) -> None:
    gateway = Gateway().resources(order)
    wire = await opened(gateway).socket()
    await ask(wire, op="subscribe", id=1, collection="orders")
    wire.leave("websocket")
    await wire.ended.wait()

    before = asyncio.get_running_loop().time()
    await gateway.drain()
    assert asyncio.get_running_loop().time() == before


async def test_a_client_that_is_lost_ends_its_conversation(door: Door) -> None:
    inner = door.app
    lost = asyncio.Event()

    async def losing(scope: Value, receive: Value, send: Value) -> None:
        async def sending(event: Value) -> None:
            if lost.is_set():
                raise ConnectionResetError
            await send(event)

        await inner(scope, receive, sending)

    door.app = losing
    wire = await door.socket()
    await ask(wire, op="subscribe", id=1, collection="orders")
    lost.set()
    await wire.say({"op": "call", "id": 2, "service": "shop", "operation": "who"})
    await wire.say("{")
    wire.leave("websocket")

    await wire.ended.wait()


async def test_a_page_can_see_that_the_server_is_there(door: Door) -> None:
    wire = await door.socket()

    assert await ask(wire, op="ping", id=1) == {"id": 1, "result": "pong"}


async def test_a_subscription_may_be_narrowed_to_fields(door: Door) -> None:
    wire = await door.socket()
    wrong = await ask(wire, op="subscribe", id=1, collection="orders", fields=["color"])
    await ask(wire, op="subscribe", id=2, collection="orders", fields=["sku"])
    await door("PUT", "/orders/1", {"sku": "tea"})
    created = await wire.hear()

    assert wrong["error"]["errors"][0]["pointer"] == "/fields"
    assert created["value"].keys() == {"id", "rev", "sku"}


async def test_who_is_too_slow_is_told_to_come_again_and_resumes(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway(limits=Limits(view_bytes=100_000)).resources(order))
    wire = await door.socket(window=1)
    await wire.say({"op": "subscribe", "id": 1, "collection": "orders"})
    ready = await wire.hear()
    for number in range(40):
        await door("PUT", f"/orders/{number}", {"sku": "tea", "note": "x" * 10_000})
    await asyncio.sleep(0.5)
    closed = None
    while closed is None:
        told = await wire.hear()
        closed = told.get("code")
    again = await door.socket()
    await again.say({"op": "subscribe", "id": 1, "collection": "orders", "after": ready["cursor"]})

    assert closed == 1013
    assert [(await again.hear())["key"] for _ in range(40)] == [str(number) for number in range(40)]


async def test_each_socket_asks_as_who_it_is_whoever_came_first(
    opened: Opened, order: type[Resource], shop: type[Service]
) -> None:
    async def identify(headers: Mapping[str, str]) -> Identity:
        if "x-name" not in headers:
            raise Unauthenticated
        return Identity(subject=headers["x-name"], scopes=frozenset({headers["x-name"]}))

    door = opened(Gateway(identify=identify).resources(order).rpc(shop))
    assert (await door.open("/live", kind="websocket").next())["status"] == 401
    assert (await door("GET", "/orders", accept="text/event-stream")).status == 401
    ada, admin = await door.socket(x_name="ada"), await door.socket(x_name="admin")
    for wire in (ada, admin):
        await ask(wire, op="subscribe", id=1, collection="orders")
    who = [await ask(wire, op="call", id=2, service="shop", operation="who") for wire in (ada, admin)]
    closed = [await ask(wire, op="call", id=3, service="shop", operation="close") for wire in (ada, admin)]

    assert [answer["result"]["who"] for answer in who] == ["ada", "admin"]
    assert (closed[0]["error"]["code"], closed[1]) == ("forbidden", {"id": 3, "result": None})
