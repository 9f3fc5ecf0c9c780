"""The stream of a resource's changes as Server-Sent Events."""

import asyncio
import gc
import re
from typing import Any
from weakref import ref

import pytest

from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.gateway.told import event_of
from hanse.kernel.host import Host
from hanse.node.node import Node
from hanse.service.rows import Line
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Any
Wire = Any

pytestmark = pytest.mark.virtual_time


async def until(wire: Wire, name: str) -> dict[str, Any]:
    while True:
        event: dict[str, Any] = await wire.event()
        if event["event"] == name:
            return event


async def test_a_filter_that_cannot_be_is_a_problem(door: Door) -> None:
    answer = await door("GET", "/orders?color=red", accept="text/event-stream")

    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_a_cursor_that_is_none_is_a_problem(door: Door) -> None:
    answer = await door("GET", "/orders", accept="text/event-stream", last_event_id="yesterday")

    assert (answer.status, answer.json["code"]) == (400, "malformed")


async def test_the_rows_come_first_and_then_their_changes(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})
    wire = door.open("/orders")
    start = await wire.next()
    row, ready = await wire.event(), await wire.event()
    await door("PATCH", "/orders/1", {"count": 5})
    updated = await wire.event()
    await door("DELETE", "/orders/1")
    deleted = await wire.event()

    assert (b"content-type", b"text/event-stream") in start["headers"]
    assert (row["event"], row["data"]["key"], "id" in row) == ("snapshot", "1", False)
    assert ready["data"] == {"cursor": ready["id"]}
    assert (updated["event"], updated["data"]["value"]["count"], updated["data"]["before"]["count"]) == (
        "updated",
        5,
        0,
    )
    assert updated["data"]["cursor"] == updated["id"]
    assert (deleted["event"], deleted["data"]["value"], deleted["data"]["before"]["sku"]) == ("deleted", None, "tea")


async def test_a_reader_resumes_after_its_last_event(door: Door) -> None:
    wire = door.open("/orders")
    await until(wire, "ready")
    await door("PUT", "/orders/1", {"sku": "tea"})
    last = await wire.event()
    wire.leave()
    await wire.ended.wait()
    await door("PATCH", "/orders/1", {"count": 1})
    await door("PATCH", "/orders/1", {"count": 2})

    again = door.open("/orders", last_event_id=last["id"])
    await again.next()
    assert [(await again.event())["data"]["value"]["count"] for _ in range(2)] == [1, 2]
    also = door.open(f"/orders?after={last['id']}")
    await also.next()
    assert (await also.event())["data"]["value"]["count"] == 1


async def test_a_filter_makes_a_view(door: Door) -> None:
    wire = door.open("/orders?sku=tea")
    await until(wire, "ready")
    await door("PUT", "/orders/1", {"sku": "rum"})
    await door("PUT", "/orders/1", {"sku": "tea"})
    await door("PUT", "/orders/1", {"sku": "rum"})

    assert [(await wire.event())["event"] for _ in range(2)] == ["created", "deleted"]


async def test_changes_from_now_on_come_without_the_rows(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})
    wire = door.open("/orders?snapshot=false")
    await wire.next()

    assert (await wire.event())["event"] == "ready"


async def test_a_cursor_of_another_log_begins_anew(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea"})
    wire = door.open("/orders?after=another.7")
    await wire.next()

    assert [(await wire.event())["event"] for _ in range(3)] == ["reset", "snapshot", "ready"]


def test_a_reset_takes_back_the_last_id() -> None:
    assert b"\nid\n" in event_of(Line("reset"), resumable=False)


async def test_a_quiet_stream_shows_that_it_lives(door: Door) -> None:
    wire = door.open("/orders?snapshot=false")
    pieces = [(await wire.next()).get("body", b"") for _ in range(5)]

    assert pieces[-2:] == [b":\n\n", b":\n\n"]
    assert asyncio.get_running_loop().time() == pytest.approx(30, abs=1)


async def test_who_sees_nothing_for_long_does_not_fall_behind_a_log_that_is_trimmed(
    door: Door, opened: Opened, order: type[Resource], node: Node, host: Host
) -> None:
    wire = door.open("/orders?sku=tea")
    _ = await until(wire, "ready")
    for number in range(3):
        await door("PUT", f"/orders/{number}", {"sku": "rum"})
    cursors: list[str] = []
    while not cursors:
        cursors = re.findall(r"^:\nid: (.*)$", (await wire.next()).get("body", b"").decode(), re.MULTILINE)
    wire.leave()
    await node.settle()
    assert await node.hosted[0].store.trim(host.now() + 1, keep_after=3) == 3
    await door("PUT", "/orders/9", {"sku": "tea"})

    other = opened(Gateway().resources(order))  # it has not followed all the while
    again = await other.open("/orders?sku=tea", last_event_id=cursors[0]).event()
    assert (again["event"], again["data"]["key"]) == ("created", "9")


async def test_a_stream_without_changes_yet_begins_at_once(door: Door) -> None:
    ready = await until(door.open("/orders"), "ready")
    wire = door.open("/orders", last_event_id=ready["id"])

    assert (await wire.next())["status"] == 200
    assert asyncio.get_running_loop().time() < 1


async def test_a_drain_ends_streams_with_a_hint_and_refuses_new_ones(opened: Opened, order: type[Resource]) -> None:
    gateway = Gateway().resources(order)
    door = opened(gateway)
    wire = door.open("/orders")
    await until(wire, "ready")
    await gateway.drain()
    last = await wire.next()

    assert b"retry: 1000" in last["body"]
    assert last["more_body"] is False
    assert (await door("GET", "/orders", accept="text/event-stream")).status == 503


async def test_a_drain_of_one_node_leaves_the_streams_of_others(
    node: Node, opened: Opened, order: type[Resource]
) -> None:
    gateway = Gateway().resources(order)
    wire = opened(gateway).open("/orders")
    await until(wire, "ready")
    async with Node(node.app, host=node.host) as other:
        _ = gateway.asgi(other)
        await gateway.drain(other)
        assert not wire.ended.is_set()
        await gateway.drain(node)
    await wire.ended.wait()


async def test_a_gateway_keeps_no_node_that_it_has_served(node: Node, order: type[Resource]) -> None:
    gateway = Gateway().resources(order)
    one = Node(node.app, host=node.host)
    _ = gateway.asgi(one)
    gone = ref(one)
    del one
    _ = gc.collect()
    assert gone() is None
    await gateway.drain()


async def test_too_many_streams_are_told_to_come_again(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway(limits=Limits(streams=1)).resources(order))
    await until(door.open("/orders"), "ready")

    answer = await door("GET", "/orders", accept="text/event-stream")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert (await door("GET", "/orders")).status == 200


async def test_a_client_that_does_not_read_is_cut(door: Door) -> None:
    wire = door.open("/orders", window=5)
    for _ in range(10):
        await door("POST", "/orders", {"sku": "tea"})
    await wire.ended.wait()

    assert wire.cut
    assert asyncio.get_running_loop().time() == pytest.approx(30, abs=10)


async def test_a_drain_does_not_wait_for_who_does_not_read(opened: Opened, order: type[Resource]) -> None:
    gateway = Gateway().resources(order)
    door = opened(gateway)
    wire = door.open("/orders", window=1)
    await asyncio.sleep(1)
    await gateway.drain()

    assert wire.cut


async def test_a_gone_client_frees_its_place(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway(limits=Limits(streams=1)).resources(order))
    wire = door.open("/orders")
    await until(wire, "ready")
    wire.leave()
    await wire.ended.wait()

    assert (await until(door.open("/orders"), "ready"))["event"] == "ready"


async def test_changes_that_are_not_exposed_cannot_be_followed(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway().resources(order, live=False))

    refused = await door("GET", "/orders", accept="text/event-stream")

    assert (refused.status, refused.json["code"]) == (406, "not_acceptable")
    assert refused.json["detail"] == "expected a client that accepts application/json or application/jsonl here"
    taken = await door("GET", "/orders", accept="text/event-stream, application/json;q=0.5")
    assert taken.json == {"items": [], "next": None}


async def test_one_row_and_a_query_are_no_streams(door: Door) -> None:
    created = await door("POST", "/orders", {"sku": "tea"})
    row = created.headers["location"]

    assert (await door("GET", row, accept="text/event-stream")).status == 406
    assert (await door("GET", row, accept="text/event-stream, */*")).status == 200
    assert (await door("QUERY", "/orders", {}, accept="text/event-stream")).status == 406


async def test_head_does_not_open_a_stream(door: Door) -> None:
    answer = await door("HEAD", "/orders", accept="text/event-stream")

    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("accept", "told"), [("text/event-stream", b"event: fault\ndata: {"), ("*/*", b'{"error":{')])
async def test_a_drain_ends_the_items_of_a_call_with_a_fault(
    opened: Opened, shop: type[Service], accept: str, told: bytes
) -> None:
    gateway = Gateway().rpc(shop)
    door = opened(gateway)
    wire = door.open("/rpc/shop/forever", method="POST", accept=accept)
    await asyncio.sleep(1)
    await gateway.drain()
    pieces = [(await wire.next()).get("body", b"") for _ in range(wire.came.qsize())]

    assert pieces[-1].startswith(told)
    assert b'"code":"unavailable"' in pieces[-1]


async def test_a_drain_needs_no_help_from_the_server(opened: Opened, order: type[Resource]) -> None:
    gateway = Gateway().resources(order)
    door = opened(gateway)
    inner = door.app

    async def unaided(scope: dict[str, Any], receive: Wire, send: Wire) -> None:
        await inner({**scope, "extensions": None}, receive, send)

    door.app = unaided
    wire = door.open("/orders", window=2)
    await asyncio.sleep(1)
    await gateway.drain()

    assert not wire.cut
    assert asyncio.get_running_loop().time() < 5


async def test_the_end_of_a_stream_is_not_waited_for_for_ever(door: Door) -> None:
    wire = door.open("/count/4", window=6)
    await wire.ended.wait()

    assert wire.cut
    assert asyncio.get_running_loop().time() == pytest.approx(30, abs=1)


async def test_who_is_too_slow_is_cut_and_resumes(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway(limits=Limits(view_bytes=100_000)).resources(order))
    wire = door.open("/orders", window=4)
    ready = await until(wire, "ready")
    for number in range(40):
        await door("PUT", f"/orders/{number}", {"sku": "tea", "note": "x" * 10_000})
    await wire.ended.wait()
    again = door.open("/orders", last_event_id=ready["id"])
    keys = [(await again.event())["data"]["key"] for _ in range(40)]

    assert wire.cut
    assert asyncio.get_running_loop().time() < 5
    assert keys == [str(number) for number in range(40)]


async def test_fields_narrow_what_is_told(door: Door) -> None:
    wire = door.open("/orders?fields=sku")
    await until(wire, "ready")
    await door("PUT", "/orders/1", {"sku": "tea"})
    await door("DELETE", "/orders/1")
    created, deleted = await wire.event(), await wire.event()

    assert created["data"]["value"].keys() == deleted["data"]["before"].keys() == {"id", "rev", "sku"}
    assert (await door("GET", "/orders?fields=color", accept="text/event-stream")).status == 422


async def test_a_feed_that_fails_amid_a_stream_ends_it_with_the_fault(node: Node, door: Door) -> None:
    wire = door.open("/orders")
    await until(wire, "ready")
    await node.stop()

    assert (await wire.event())["data"]["code"] == "unavailable"
    await wire.ended.wait()


async def test_a_snapshot_that_fails_on_its_way_ends_with_the_fault(node: Node, door: Door) -> None:
    for number in range(40):
        await door("PUT", f"/orders/{number}", {"sku": "tea", "note": "x" * 10_000})
    wire = door.open("/orders", window=2)
    await until(wire, "snapshot")
    _, fault = await asyncio.gather(node.stop(), until(wire, "fault"))

    assert fault["data"]["code"] == "unavailable"
    await wire.ended.wait()
    assert not wire.cut


async def test_a_feed_that_fails_before_its_answer_is_a_problem(opened: Opened, order: type[Resource]) -> None:
    door = opened(Gateway(limits=Limits(views=1)).resources(order))
    wire = door.open("/orders?sku=tea")
    await until(wire, "ready")
    refused = await door("GET", "/orders?sku=rum", accept="text/event-stream")

    assert (refused.status, refused.json["code"]) == (503, "overloaded")
    assert wire.came.empty()
