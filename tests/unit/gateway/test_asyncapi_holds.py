"""What is really said over streams and sockets is what the AsyncAPI document says: all of it, and nothing else."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker

from hanse import App, Collection, Event, Gateway, Host, Model, Node, Resource, Service, rpc
from hanse.kernel.tasks import Tasks

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Wire = Any
Value = Any

pytestmark = pytest.mark.virtual_time


class Size(Model):
    width: int
    height: int = 1


class Box(Resource):
    label: str
    size: Size | None = None
    tags: tuple[str, ...] = ()


class Packed(Event):
    box: str


class Store(Service, events=(Packed,)):
    boxes: Collection[Box]

    @rpc
    async def pack(self, box: str) -> Size:
        await self.emit(Packed(box=box))
        return Size(width=2)

    @rpc
    async def counting(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number


class Document:
    """The messages of an AsyncAPI document, as validators; what it does not name is not allowed."""

    def __init__(self, document: Mapping[str, Value]) -> None:
        self._components = document["components"]
        self._channels = document["channels"]
        self._operations = document["operations"]
        self.seen: set[str] = set()

    def names(self, operation: str) -> list[str]:
        """The messages of an operation; of its channel, where it does not say."""
        found = self._operations[operation]
        channel = found["channel"]["$ref"].rpartition("/")[2]
        chosen = [one["$ref"].rpartition("/")[2] for one in found.get("messages", [])]
        told = self._channels[channel]["messages"]
        return [told[name]["$ref"].rpartition("/")[2] for name in chosen or told]

    def valid(self, message: Value, names: list[str]) -> list[str]:
        """Those of the messages that this may be."""
        found = [name for name in names if not self.errors(message, name)]
        self.seen.update(found)
        return found

    def errors(self, message: Value, name: str) -> list[str]:
        payload = self._components["messages"][name]["payload"]
        if "$ref" in payload:
            payload = self._components["schemas"][payload["$ref"].rpartition("/")[2]]
        schema = {"additionalProperties": False, **payload, "components": self._components}
        validator: Value = Draft7Validator(schema, format_checker=FormatChecker())
        return [error.message for error in validator.iter_errors(message)]


@pytest.fixture
async def store(host: Host, tasks: Tasks, door: Door) -> AsyncIterator[tuple[Door, Node]]:
    gateway = Gateway().resources(Box).events(Packed, emit=True).rpc(Store)
    async with Node(App("store", Store), host=host) as node:
        yield type(door)(gateway.asgi(node), tasks), node


SAID: list[dict[str, Value]] = [
    {"op": "ping"},
    {"op": "subscribe", "collection": "boxes", "id": "all"},
    {"op": "subscribe", "collection": "boxes", "id": "some", "where": {"label": "a"}, "fields": ["label"]},
    {"op": "listen", "topic": "packed", "id": "events"},
    {"op": "create", "collection": "boxes", "value": {"label": "a", "size": {"width": 1}}, "key": "1"},
    {"op": "create", "collection": "boxes", "values": [{"label": "b"}, {"label": "c"}], "minimal": True},
    {"op": "get", "collection": "boxes", "key": "1", "fields": "label"},
    {"op": "list", "collection": "boxes", "sort": ["-label"], "limit": 2, "total": True},
    {"op": "list", "collection": "boxes", "all": True},
    {"op": "put", "collection": "boxes", "key": "1", "value": {"label": "z"}, "idempotency_key": "k"},
    {"op": "patch", "collection": "boxes", "key": "1", "value": {"tags": ["x"]}, "strict": True},
    {"op": "patch", "collection": "boxes", "key": "1", "form": "json", "value": [{"op": "remove", "path": "/tags/0"}]},
    {"op": "call", "service": "store", "operation": "pack", "arguments": {"box": "1"}},
    {"op": "call", "service": "store", "operation": "counting", "arguments": {"upto": 2}},
    {"op": "delete", "collection": "boxes", "key": "1"},
    {"op": "subscribe", "collection": "boxes", "id": "late", "after": "gone.1"},
    {"op": "unsubscribe", "id": "late"},
    # What is refused for other reasons than its form.
    {"op": "get", "collection": "boxes", "key": "none"},
    {"op": "create", "collection": "boxes", "value": {"tags": 1}},
    {"op": "call", "service": "store", "operation": "rob"},
    {"op": "listen", "topic": "packed", "id": "wrong", "after": "x"},
]
REFUSED: list[Value] = [{"op": "dance", "id": 7}, {"op": "get", "id": 8, "colour": "red"}, [], "no"]


async def test_all_that_is_said_over_a_socket_is_in_the_document(store: tuple[Door, Node]) -> None:
    door, node = store
    document = Document((await door("GET", "/asyncapi.json")).json)
    asks, tells = document.names("ask"), document.names("tell")
    wire = await door.socket()
    for number, message in enumerate(SAID):
        said = {"id": number, **message}
        assert document.valid(said, asks) == [f"live_{message['op']}"], said
        await wire.say(said)
        await _hear_until_answered(wire, document, tells, said["id"])
    for message in REFUSED:
        assert document.valid(message, asks) == []
        await wire.say(message)
        await _hear_until_answered(wire, document, tells, None)
    await node.client(Store).pack("2")
    while "emitted" not in str(heard := await wire.hear()):
        assert len(document.valid(heard, tells)) == 1, heard
    assert document.valid(heard, tells) == ["live_emitted"]

    wire.leave("websocket")
    assert document.seen == {*asks, *tells}


async def _hear_until_answered(wire: Wire, document: Document, tells: list[str], id: int | str | None) -> None:
    while True:
        heard = await wire.hear()
        found = document.valid(heard, tells)
        assert len(found) == 1, (heard, {name: document.errors(heard, name) for name in tells})
        telling = "item" in heard or heard.get("event") in {"snapshot", "reset"}
        if "error" in heard or (heard["id"] == id and not telling):
            return


async def test_all_that_streams_tell_is_in_the_document(store: tuple[Door, Node]) -> None:
    door, node = store
    document = Document((await door("GET", "/asyncapi.json")).json)
    await door("PUT", "/boxes/1", {"label": "a"})
    rows, events = door.open("/boxes"), door.open("/events/packed")
    told = [await rows.event(), await rows.event()]
    assert (await events.event())["event"] == "ready"
    await door("PUT", "/boxes/2", {"label": "b", "size": {"width": 3}})
    await door("PATCH", "/boxes/1", {"tags": ["x"]})
    await door("DELETE", "/boxes/1")
    await node.client(Store).pack("2")
    told += [await rows.event() for _ in range(3)]
    told.append(await door.open("/boxes", last_event_id="gone.1").event())

    assert [one["event"] for one in told] == ["snapshot", "ready", "created", "updated", "deleted", "reset"]
    for one in told:
        assert f"boxes_{one['event']}" in document.valid(one["data"], document.names("follow_boxes")), one
    changes = [one["data"] for one in told if one["event"] in {"created", "updated", "deleted"}]
    assert all(one["at"].endswith("Z") for one in changes)
    name = "store.packed.v1"
    assert document.valid((await events.event())["data"], document.names(name)) == [name]
