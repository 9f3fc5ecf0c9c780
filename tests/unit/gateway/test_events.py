"""Events over HTTP: followed without gap, emitted once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service

Value = Any


class Placed(Event):
    order_id: str
    count: int = 1


class Unheard(Event):
    pass


class Noted(Event):
    pass


class Seen(Resource):
    count: int


class Orders(Service, events=(Placed,)):
    @rpc
    async def place(self, id: str) -> None:
        await self.emit(Placed(order_id=id))


class Imports(Service, events=(Placed, Noted)):
    @rpc
    async def note(self) -> None:
        await self.emit(Noted())

    @rpc
    async def take(self, id: str) -> None:
        await self.emit(Placed(order_id=id))


class Watcher(Service, events=(Unheard,)):
    seen: Collection[Seen]

    @on(Placed)
    async def placed(self, event: Placed) -> None:
        await self.seen.create(Seen(id=event.order_id, count=event.count))


APP = App("shop", Orders, Imports, Watcher)
GIVEN = {"specversion": "1.0", "id": "7", "source": "/till", "type": "shop.placed.v1", "data": {"order_id": "a"}}


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(APP, host=host) as node:
        yield node


@pytest.fixture
def door(opened: Callable[[Gateway], Value]) -> Value:
    return opened(Gateway().events(Placed, emit=True))


async def emit(door: Value, value: object, **headers: str) -> Value:
    return await door("POST", "/events/placed", value, **headers)


async def told(wire: Value, *, name: str = "emitted") -> Value:
    event = await wire.event()
    assert event["event"] == name
    return event


async def beat(wire: Value) -> str:
    """The cursor that comes with a sign of life."""
    while True:
        for block in (await wire.next())["body"].decode().split("\n\n"):
            assert "data:" not in block
            if "id: " in block:
                return str(block.partition("id: ")[2])


def flaws(answer: Value) -> list[tuple[str, str]]:
    return [(flaw["pointer"], flaw["code"]) for flaw in answer.json["errors"]]


def test_what_is_no_event_or_declared_twice_or_not_exposed_at_all_is_refused() -> None:
    with pytest.raises(Misdeclared, match="expected an Event class"):
        Gateway().events(Seen)  # type: ignore[arg-type]
    with pytest.raises(Misdeclared, match="exposed already"):
        Gateway().events(Placed).events(Placed)
    with pytest.raises(Misdeclared, match="expected live or emit"):
        Gateway().events(Placed, live=False)


async def test_an_event_that_nobody_may_tell_of_is_refused(host: Host) -> None:
    gateway = Gateway().events(Unheard)
    async with Node(App("shop", Orders, gateway=gateway), host=host) as node:
        with pytest.raises(Misdeclared, match="no service of the app 'shop' tells of Unheard"):
            gateway.asgi(node)


async def test_events_are_private_unless_exposed(opened: Callable[[Gateway], Value]) -> None:
    door = opened(Gateway().rpc(Orders))
    assert (await door("GET", "/events/placed", accept="text/event-stream")).status == 404
    door = opened(Gateway().events(Placed))
    assert (await emit(door, {"order_id": "a"})).status == 405
    door = opened(Gateway().events(Placed, live=False, emit=True))
    assert (await door("GET", "/events/placed", accept="text/event-stream")).status == 405


async def test_a_client_that_wants_no_stream_is_told_what_there_is(door: Value) -> None:
    refused = await door("GET", "/events/placed", accept="application/json")
    assert (refused.status, refused.json["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    "query", ["after=x", "after=a.1,b", "after=" + "a.1," * 100 + "a.1", "limit=3", "after=&after="]
)
async def test_what_is_no_cursor_is_refused(door: Value, query: str) -> None:
    refused = await door("GET", f"/events/placed?{query}", accept="text/event-stream")
    assert refused.status in {400, 422}


async def test_every_flaw_of_an_event_is_told(door: Value) -> None:
    refused = await emit(door, {"count": "many"})
    assert refused.status == 422
    assert flaws(refused) == [("/order_id", "missing"), ("/count", "type")]
    assert (await emit(door, b"{")).status == 400
    assert (await emit(door, {"order_id": "a"}, content_type="text/plain")).status == 415


async def test_every_flaw_of_an_envelope_is_told(door: Value) -> None:
    async def sent(**changes: object) -> Value:
        return flaws(await emit(door, {**GIVEN, **changes}, content_type="application/cloudevents+json"))

    wrong = await sent(specversion="0.3", type="shop.other.v1", datacontenttype="text/xml", id="", source="x" * 256)
    assert [pointer for pointer, _ in wrong] == ["/specversion", "/type", "/datacontenttype", "/id", "/id"]
    assert await sent(data={"count": 1}) == [("/data/order_id", "missing")]
    without = {name: value for name, value in GIVEN.items() if name != "data"}
    refused = await emit(door, {**without, "data_base64": "e30="}, content_type="application/cloudevents+json")
    assert flaws(refused) == [("/data", "missing")]


async def test_an_envelope_is_told_once_however_often_it_comes(door: Value, node: Node) -> None:
    kind = "application/cloudevents+json"
    wire = door.open("/events/placed")
    await told(wire, name="ready")
    first = await emit(door, GIVEN, content_type=kind)
    again = await emit(door, GIVEN, content_type=kind)
    other = await emit(door, {**GIVEN, "data": {"order_id": "b"}}, content_type=kind)
    assert (first.status, first.json) == (again.status, again.json) == (202, {"id": first.json["id"], **again.json})
    assert other.status == 422
    assert (await emit(door, {**GIVEN, "id": "8", "data": {"order_id": "c"}}, content_type=kind)).status == 202
    seen = [(await told(wire))["data"]["data"]["order_id"] for _ in range(2)]
    assert seen == ["a", "c"]
    await node.settle()
    assert sorted([row.id for row in (await node.collection(Seen).find()).items]) == ["a", "c"]


async def test_mere_json_is_told_once_under_an_idempotency_key(door: Value) -> None:
    first = await emit(door, {"order_id": "a"}, idempotency_key="k")
    assert (await emit(door, {"order_id": "a"}, idempotency_key="k")).json == first.json
    assert (await emit(door, {"order_id": "a"})).json != first.json


async def test_the_feed_is_one_of_cloud_events_from_all_who_tell(door: Value, node: Node) -> None:
    wire = door.open("/events/placed")
    await told(wire, name="ready")
    await node.client(Orders).place("a")
    one = (await told(wire))["data"]
    await node.client(Imports).take("b")
    other = (await told(wire))["data"]
    assert one == {
        "specversion": "1.0",
        "id": one["id"],
        "source": "/shop/orders",
        "type": "shop.placed.v1",
        "time": one["time"],
        "datacontenttype": "application/json",
        "sequence": "1",
        "data": {"order_id": "a", "count": 1},
        **{name: one[name] for name in ("traceparent", "correlationid", "causationid") if name in one},
    }
    assert (other["source"], other["data"]["order_id"]) == ("/shop/imports", "b")


async def test_who_comes_back_with_a_cursor_misses_nothing_and_hears_nothing_twice(door: Value, node: Node) -> None:
    wire = door.open("/events/placed")
    await told(wire, name="ready")
    await node.client(Orders).place("a")
    cursor = (await told(wire))["id"]
    wire.leave()
    await node.client(Imports).take("b")
    await node.client(Orders).place("c")
    again = door.open("/events/placed", last_event_id=cursor)
    seen = [(await told(again))["data"]["data"]["order_id"] for _ in range(2)]
    assert sorted(seen) == ["b", "c"]
    other = door.open(f"/events/placed?after={cursor}")
    assert {(await told(other))["data"]["data"]["order_id"] for _ in range(2)} == {"b", "c"}


async def test_a_cursor_of_a_log_that_is_no_more_resets(door: Value, node: Node) -> None:
    wire = door.open("/events/placed", last_event_id="gone.7")
    assert (await told(wire, name="reset"))["data"] == {}
    assert "gone" not in (await told(wire, name="ready"))["id"]
    await node.client(Orders).place("a")
    assert (await told(wire))["data"]["data"]["order_id"] == "a"


async def test_a_log_that_was_trimmed_resets(door: Value, node: Node, host: Host) -> None:
    await node.client(Orders).place("a")
    await node.client(Orders).place("b")
    cursor = await node.topic(Placed).first.events.cursor()
    log = cursor.rpartition(".")[0]
    [orders] = [hosted for hosted in node.hosted if hosted.part.name == "orders"]
    await node.settle()
    assert await orders.store.trim(host.now() + 1, keep_after=2) == 2
    wire = door.open("/events/placed", last_event_id=f"{log}.1")
    await told(wire, name="reset")
    await told(wire, name="ready")


async def test_the_document_tells_of_them(door: Value) -> None:
    document = (await door("GET", "/openapi.json")).json
    assert document["x-hanse-topics"] == {"placed": {"path": "/events/placed", "live": True, "emit": True}}
    entry = document["paths"]["/events/placed"]
    assert (entry["get"]["operationId"], entry["post"]["operationId"]) == ("follow_placed", "emit_placed")
    assert json.dumps(entry["post"]).count("#/components/schemas/Placed") == 2


async def test_the_documents_list_what_a_feed_may_be_asked_and_that_is_taken(door: Value, node: Node) -> None:
    listed = (await door("GET", "/openapi.json")).json["paths"]["/events/placed"]["get"]["parameters"]
    names = [one["name"] for one in listed if one["in"] == "query"]
    heard = (await door("GET", "/asyncapi.json")).json["operations"]["follow_shop.placed.v1"]
    assert list(heard["bindings"]["http"]["query"]["properties"]) == names
    assert {"after", "order_id", "order_id[starts]", "count[gte]", "count[in]"} < set(names)
    assert [one["name"] for one in listed if one["in"] == "header"] == ["Last-Event-ID"]
    for one in listed[2:]:
        value = "1" if one["name"].startswith("count") else "a"
        wire = door.open(f"/events/placed?{one['name']}={value}")
        await told(wire, name="ready")
        wire.leave()


async def test_the_documents_tell_only_of_what_is_exposed(opened: Callable[[Gateway], Value]) -> None:
    async def told_of(gateway: Gateway) -> tuple[set[str], set[str]]:
        door = opened(gateway)
        path = (await door("GET", "/openapi.json")).json["paths"]["/events/placed"]
        operations = (await door("GET", "/asyncapi.json")).json["operations"]
        return set(path), {f"{one['action']} {name}" for name, one in operations.items() if "placed" in name}

    assert await told_of(Gateway().events(Placed)) == ({"get"}, {"send shop.placed.v1"})
    assert await told_of(Gateway().events(Placed, live=False, emit=True)) == ({"post"}, {"receive shop.placed.v1"})
    assert await told_of(Gateway().events(Placed, emit=True)) == (
        {"get", "post"},
        {"receive shop.placed.v1", "send follow_shop.placed.v1"},
    )


def test_everything_has_the_events_that_somebody_may_tell_of() -> None:
    declared = Gateway.everything([Orders, Watcher]).declared()
    assert [(one.path, one.emit) for one in declared.topics] == [("/events/placed", True), ("/events/unheard", True)]
    assert [one.kind for one in Gateway.everything([Watcher]).declared().topics] == [Unheard]


async def test_a_socket_cannot_listen_to_what_is_not_exposed(opened: Callable[[Gateway], Value]) -> None:
    wire = await opened(Gateway().events(Placed, live=False, emit=True).rpc(Orders)).socket()
    await wire.say({"op": "listen", "id": 1, "topic": "placed"})
    assert (await wire.hear())["error"]["code"] == "not_found"
    wire = await opened(Gateway().events(Placed)).socket()
    await wire.say({"op": "listen", "id": 1, "topic": "placed", "after": "x"})
    assert (await wire.hear())["error"]["code"] == "malformed"
    await wire.say({"op": "unsubscribe", "id": 1})
    assert (await wire.hear())["error"]["code"] == "not_found"


async def test_a_socket_listens_resumes_and_ends(door: Value, node: Node) -> None:
    wire = await door.socket()
    await wire.say({"op": "listen", "id": 1, "topic": "placed"})
    first = await wire.hear()
    assert (first["id"], first["event"]) == (1, "ready")
    await node.client(Orders).place("a")
    event = await wire.hear()
    assert (event["id"], event["event"], event["value"]["data"]["order_id"]) == (1, "emitted", "a")
    assert (event["key"], event["value"]["type"]) == (event["value"]["id"], "shop.placed.v1")
    await wire.say({"op": "unsubscribe", "id": 1})
    assert (await wire.hear()) == {"id": 1, "result": None}
    await node.client(Orders).place("b")
    await wire.say({"op": "listen", "id": 1, "topic": "placed", "after": event["cursor"]})
    assert (await wire.hear())["value"]["data"]["order_id"] == "b"
    await wire.say({"op": "listen", "id": 2, "topic": "placed", "after": "gone.1"})
    assert [(await wire.hear())["event"] for _ in range(2)] == ["reset", "ready"]


@pytest.mark.parametrize(
    ("query", "pointer"), [("colour=red", "/colour"), ("count[near]=1", "/count[near]"), ("count=x", "/count")]
)
async def test_a_filter_that_cannot_be_is_refused(door: Value, query: str, pointer: str) -> None:
    refused = await door("GET", f"/events/placed?{query}", accept="text/event-stream")
    assert (refused.status, [flaw["pointer"] for flaw in refused.json["errors"]]) == (422, [pointer])
    wire = await door.socket()
    await wire.say({"op": "listen", "id": 1, "topic": "placed", "where": {"colour": "red"}})
    assert (await wire.hear())["error"]["errors"][0]["pointer"] == "/where/colour"


async def test_only_events_that_match_are_told(door: Value) -> None:
    stream, wire = door.open("/events/placed?count[gte]=2"), await door.socket()
    await told(stream, name="ready")
    await wire.say({"op": "listen", "id": 1, "topic": "placed", "where": {"$or": [{"count": 3}, {"order_id": "c"}]}})
    assert (await wire.hear())["event"] == "ready"
    for name, count in (("a", 1), ("b", 2), ("c", 1), ("d", 3)):
        await emit(door, {"order_id": name, "count": count})

    assert [(await told(stream))["data"]["data"]["order_id"] for _ in range(2)] == ["b", "d"]
    assert [(await wire.hear())["value"]["data"]["order_id"] for _ in range(2)] == ["c", "d"]


@pytest.mark.virtual_time
async def test_the_cursor_of_a_quiet_topic_moves_on_with_the_log(
    door: Value, opened: Callable[[Gateway], Value], node: Node, host: Host
) -> None:
    stream = door.open("/events/placed")
    first = (await told(stream, name="ready"))["id"]
    [imports] = [hosted for hosted in node.hosted if hosted.part.name == "imports"]
    for _ in range(3):
        await node.client(Imports).note()
    moved = await beat(stream)
    assert await imports.store.trim(host.now() + 1, keep_after=3) == 3
    stream.leave()
    await node.client(Imports).take("a")

    for other in (opened(Gateway().events(Placed)), door):  # another gateway has not followed all the while
        assert (await told(other.open("/events/placed", last_event_id=moved)))["data"]["data"]["order_id"] == "a"
    other = opened(Gateway().events(Placed))
    assert (await other.open("/events/placed", last_event_id=first).event())["event"] == "reset"


@pytest.mark.virtual_time
async def test_the_cursor_moves_on_though_nothing_matches(door: Value, node: Node) -> None:
    wire = await door.socket()
    await wire.say({"op": "listen", "id": 1, "topic": "placed", "where": {"count": 7}})
    first = await wire.hear()
    cursors = [first["cursor"]]
    for name in "abc":
        await node.client(Orders).place(name)
        moved = await wire.hear()
        assert (moved["id"], moved["event"]) == (1, "ready")
        cursors.append(moved["cursor"])

    assert [cursor.partition(",")[0][-2:] for cursor in cursors] == [".0", ".1", ".2", ".3"]


@pytest.mark.virtual_time
async def test_a_crowd_with_one_filter_costs_those_who_tell_one_feed(door: Value, node: Node) -> None:
    def readers() -> int:
        stores: list[Value] = [hosted.store for hosted in node.hosted]
        return sum(len(store._listeners) for store in stores)

    async def listening(query: str) -> list[Value]:
        wires = [door.open(f"/events/placed?{query}") for _ in range(50)]
        for wire in wires:
            await told(wire, name="ready")
        return wires

    before = readers()
    wires = await listening("count=1")
    assert readers() == before + 2  # one for each service that may tell
    wires += await listening("count[lt]=2")
    assert readers() == before + 4
    await node.client(Orders).place("a")
    await node.client(Imports).take("b")

    heard = {tuple([(await told(wire))["data"]["data"]["order_id"] for _ in range(2)]) for wire in wires}
    assert heard == {("a", "b")}
