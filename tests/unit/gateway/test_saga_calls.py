"""Sagas begun over HTTP: answered at their end, or later; once for each key; documented as what they take."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Model, Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.saga_runner import SWEEP_SECONDS
from hanse.service.collection import Collection
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service

Door = Any
Opened = Any

pytestmark = pytest.mark.virtual_time


class Full(Fault, status=409, detail="no room on floor {floor}"):
    floor: int


class Room(Resource):
    floor: int


class Booked(Model):
    room: str
    nights: int


class Hotel(Service):
    rooms: Collection[Room]

    @rpc(route="POST /floors/{floor}/rooms", faults=(Full,))
    @saga(timeout="7d")
    async def book(self, s: Saga, floor: int, nights: int = 1) -> Booked:
        room = await s.step(self._take, floor).undo(self._free)
        await s.sleep("2h")
        if floor > 9:
            raise Full(floor)
        return Booked(room=room, nights=nights)

    async def _take(self, floor: int) -> str:
        return (await self.rooms.create(Room(floor=floor))).id

    async def _free(self, room: str) -> None:
        await self.rooms.delete(room)


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(App("hotel", Hotel), host=host) as node:
        yield node


@pytest.fixture
def door(opened: Opened) -> Door:
    return opened(Gateway().rpc(Hotel))


BOOK = "/rpc/hotel/book"


async def test_a_saga_that_is_answered_later_tells_its_end(door: Door, node: Node) -> None:
    good = await door("POST", BOOK, {"floor": 1, "nights": 3}, prefer="respond-async")
    bad = await door("POST", BOOK, {"floor": 10}, prefer="respond-async")
    await asyncio.sleep(3600)
    assert (await door("GET", good.headers["location"])).json["status"] == "running"
    await asyncio.sleep(3700)
    done, failed = [(await door("GET", begun.headers["location"])).json for begun in (good, bad)]

    assert (good.status, bad.status) == (202, 202)
    assert done["answer"]["body"]["nights"] == 3
    assert failed["answer"]["body"]["code"] == "full"
    assert [room.floor for room in (await node.collection(Room).find()).items] == [1]


async def test_who_deletes_the_job_of_a_saga_has_it_turn_back(door: Door, node: Node) -> None:
    begun = await door("POST", BOOK, {"floor": 1}, prefer="respond-async")
    await asyncio.sleep(SWEEP_SECONDS)  # so that it is told of while its runner looks for what it missed
    asked = await door("DELETE", begun.headers["location"])
    await asyncio.sleep(60)
    ended = (await door("GET", begun.headers["location"])).json

    assert asked.json["status"] == "cancelling"
    assert (ended["status"], ended["answer"]["body"]["code"]) == ("cancelled", "saga_aborted")
    assert await node.collection(Room).count() == 0


async def test_a_saga_that_takes_longer_than_its_caller_waits_goes_on_and_is_had_under_its_key(
    door: Door, node: Node
) -> None:
    key = {"idempotency_key": '"k1"'}
    first = await door("POST", BOOK, {"floor": 1}, **key)
    await asyncio.sleep(7300)
    again = await door("POST", BOOK, {"floor": 1}, **key)

    assert first.status == 504
    assert (again.status, again.json["nights"]) == (200, 1)
    assert await node.collection(Room).count() == 1


async def test_documents_tell_what_callers_send_and_get_and_nothing_of_steps(door: Door) -> None:
    document = (await door("GET", "/openapi.json")).json
    operation = document["paths"]["/floors/{floor}/rooms"]["post"]

    assert [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"] == ["floor"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"nights"}
    assert {"200", "202", "409"} <= set(operation["responses"])
    assert "Saga" not in document["components"]["schemas"]
