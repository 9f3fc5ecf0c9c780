"""Numbers that are none get in by no way: neither through text, where they can be written, nor as a Decimal in JSON."""

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

import pytest

from hanse import App, Gateway, Header, Host, Model, Node, Service, rpc
from hanse.kernel.tasks import Tasks

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Callable[[Gateway], Door]

pytestmark = pytest.mark.virtual_time


class Price(Model):
    amount: Decimal = Decimal(1)


@dataclass
class Parcel:
    kilos: float = 1.0
    prices: list[Price] = field(default_factory=list)


class Scales(Service):
    @rpc(route="GET /scales/{kilos}")
    async def weigh(
        self,
        kilos: float,
        price: Decimal = Decimal(1),
        more: list[float] = [],  # noqa: B006
        maybe: float | None = None,
        at_most: float = math.inf,
    ) -> str:
        return str(kilos)


@pytest.fixture
async def scales(host: Host, tasks: Tasks, door: Door) -> AsyncIterator[Door]:
    async with Node(App("scales", Scales), host=host) as node:
        yield type(door)(Gateway().rpc(Scales).asgi(node), tasks)


def pointers(answer: Door) -> list[str]:
    assert answer.status == 422
    return [flaw["pointer"] for flaw in answer.json["errors"]]


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("nan", "/kilos"),
        ("-inf", "/kilos"),
        ("1?price=NaN", "/price"),
        ("1?price=-Infinity", "/price"),
        ("1?more=1&more=inf", "/more/1"),
        ("1?maybe=infinity", "/maybe"),
        ("1?at_most=inf", "/at_most"),
    ],
)
async def test_an_operation_with_a_route_takes_none(scales: Door, path: str, pointer: str) -> None:
    assert pointers(await scales("GET", f"/scales/{path}")) == [pointer]
    assert (await scales("GET", "/scales/1.5")).json == "1.5", "a default is the developer's own affair"


async def test_an_operation_takes_none_in_json(scales: Door) -> None:
    assert pointers(await scales("POST", "/rpc/scales/weigh", {"kilos": 1, "price": "sNaN"})) == ["/price"]
    wire = await scales.socket()
    arguments = {"kilos": 1, "price": "NaN"}
    await wire.say({"op": "call", "id": 1, "service": "scales", "operation": "weigh", "arguments": arguments})
    assert [flaw["pointer"] for flaw in (await wire.hear())["error"]["errors"]] == ["/arguments/price"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("x=nan", "/x"),
        ("x=-Infinity", "/x"),
        ("x=1&many=2&many=nan", "/many/1"),
        ("x=1&maybe=inf", "/maybe"),
        ("x=1&exact=NaN", "/exact"),
        ("x=1&at_most=inf", "/at_most"),
    ],
)
async def test_a_route_of_ones_own_takes_none(opened: Opened, query: str, pointer: str) -> None:
    gateway = Gateway()

    @gateway.get("/number")
    async def number(
        x: float,
        many: list[float] = [],  # noqa: B006
        maybe: float | None = None,
        exact: Decimal = Decimal(1),
        at_most: float = math.inf,
        rate: Annotated[Decimal, Header("x-rate")] = Decimal(1),
    ) -> bool:
        return math.isinf(at_most)

    door = opened(gateway)
    assert pointers(await door("GET", f"/number?{query}")) == [pointer]
    assert pointers(await door("GET", "/number?x=1", x_rate="NaN")) == ["/rate"]
    assert (await door("GET", "/number?x=1")).json is True


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prices": [{"amount": "NaN"}]}, "/prices/0/amount"),
        ({"prices": [{}, {"amount": "-Infinity"}]}, "/prices/1/amount"),
    ],
)
async def test_a_body_of_ones_own_route_has_none(opened: Opened, body: object, pointer: str) -> None:
    gateway = Gateway()

    @gateway.post("/parcels")
    async def weigh(parcel: Parcel) -> float:
        return parcel.kilos

    door = opened(gateway)
    assert pointers(await door("POST", "/parcels", body)) == [pointer]
    assert (await door("POST", "/parcels", {"kilos": 2.5})).json == 2.5
