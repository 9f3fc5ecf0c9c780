"""A value looks the same in JSON whichever way it goes out: as a row, a result, an item, an event or a change."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID  # noqa: TID251 - the type only

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Model, Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any

pytestmark = pytest.mark.virtual_time


class Inner(Model):
    at: datetime
    price: Decimal


class Thing(Resource):
    at: datetime
    naive: datetime
    utc: datetime
    day: date
    clock: time
    span: timedelta
    price: Decimal
    ref: UUID
    blob: bytes
    real: float
    large: int
    inner: Inner
    moments: list[datetime]
    prices: dict[str, Decimal]
    maybe: datetime | None = None


class Refused(Fault, status=409):
    thing: Thing


EAST = timezone(timedelta(hours=5, minutes=30))
JSON = {
    "at": "2026-01-01T12:00:00.000001+05:30",
    "naive": "2026-01-01T12:00:00",
    "utc": "2026-01-01T12:00:00Z",
    "day": "2026-01-01",
    "clock": "12:00:00+05:30",
    "span": "P1DT0.5S",
    "price": "1234567890123456789012345678.90",
    "ref": "0190a0a0-0000-7000-8000-00000000000a",
    "blob": "AP/+",
    "real": 0.1,
    "large": 2**63 - 1,
    "inner": {"at": "2026-01-01T12:00:00+05:30", "price": "1.50"},
    "moments": ["0001-01-01T00:00:00+05:30"],
    "prices": {"EUR": "0E-10"},
    "maybe": "2026-01-01T12:00:00-03:00",
}
SEEN: list[Thing] = []


class Things(Service):
    things: Collection[Thing]

    @rpc
    async def echo(self, thing: Thing) -> Thing:
        SEEN.append(thing)
        return thing

    @rpc
    async def read(self, id: str) -> Thing:
        return await self.things.get(id)

    @rpc
    async def items(self, thing: Thing) -> AsyncIterator[Thing]:
        yield thing

    @rpc
    async def at(self, at: datetime) -> datetime:
        return at

    @rpc(faults=(Refused,))
    async def refuse(self, thing: Thing) -> None:
        raise Refused(thing)


@pytest.fixture
async def things(host: Host, tasks: Tasks, door: Door) -> AsyncIterator[Door]:
    SEEN.clear()
    gateway = Gateway().resources(Thing).rpc(Things)
    async with Node(App("things", Things, gateway=gateway), host=host) as node:
        made = type(door)(gateway.asgi(node), tasks)
        assert (await made("POST", "/things", {"id": "1", **JSON})).status == 201
        yield made


def shown(value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: one for name, one in value.items() if name not in {"id", "rev"}}


async def test_rest_rpc_events_and_sockets_show_the_same(things: Door) -> None:
    feed, socket = things.open("/things"), await things.socket()
    await socket.say({"op": "get", "id": 1, "collection": "things", "key": "1"})
    told = await socket.hear()
    arguments = {"thing": {"id": "1", "rev": 1, **JSON}}
    await socket.say({"op": "call", "id": 2, "service": "things", "operation": "echo", "arguments": arguments})
    called = await socket.hear()
    ways = {
        "a row": (await things("GET", "/things/1")).json,
        "a page": (await things("GET", "/things")).json["items"][0],
        "a line": msgspec.json.decode((await things("GET", "/things", accept="application/jsonl")).body),
        "a query": (await things("QUERY", "/things", {})).json["items"][0],
        "a result": (await things("POST", "/rpc/things/echo", arguments)).json,
        "a row in a result": (await things("POST", "/rpc/things/read", {"id": "1"})).json,
        "an item": msgspec.json.decode((await things("POST", "/rpc/things/items", arguments)).body),
        "a fault": (await things("POST", "/rpc/things/refuse", arguments)).json,
        "an event": (await feed.event())["data"],
        "a row over a socket": told,
        "a result over a socket": called,
    }
    feed.leave()
    socket.leave("websocket")

    for way, value in ways.items():
        inside = value
        while "at" not in inside:
            inside = next(one for one in inside.values() if isinstance(one, dict))
        assert shown(inside) == JSON, way


async def test_arguments_arrive_as_they_were_sent(things: Door) -> None:
    await things("POST", "/rpc/things/echo", {"thing": {"id": "1", **JSON}})
    [thing] = SEEN

    assert thing.at == datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=EAST)
    assert (thing.at.utcoffset(), thing.utc.tzinfo, thing.naive.tzinfo) == (EAST.utcoffset(None), UTC, None)
    assert str(thing.price) == JSON["price"]
    assert (thing.blob, thing.large) == (b"\x00\xff\xfe", 2**63 - 1)


@pytest.mark.parametrize("at", ["2026-01-01T12:00:00+05:30", "2026-01-01T12:00:00Z", "2026-01-01T12:00:00"])
async def test_a_moment_alone_keeps_its_offset(things: Door, at: str) -> None:
    assert (await things("POST", "/rpc/things/at", {"at": at})).json == at
