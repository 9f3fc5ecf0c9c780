"""Services are plain classes; what is wrong about one is told where it is written."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar, Protocol, cast

import pytest

from hanse.contract.declare import Contract, rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.cron import Cron
from hanse.kernel.faults import Misdeclared
from hanse.service.collection import Collection
from hanse.service.query import where_of
from hanse.service.reaction import Every, On, Rule, cron, every, on, reaction_of, rule
from hanse.service.service import Service, descriptions_of, fields_of, reactions_of, service_name
from hanse.service.shape import Shape, schema_of, shape_of


class Order(Resource):
    status: str = "new"


class Placed(Event):
    sku: str


class Inventory(Contract, Protocol, version="1.4"):
    @rpc
    async def reserve(self, sku: str, quantity: int = 1) -> str: ...

    @rpc
    def watch(self, sku: str) -> AsyncIterator[int]: ...


class Stock(Service, Inventory):
    levels: dict[str, int]
    unit: str = "box"
    limit: ClassVar[int] = 3

    async def reserve(self, sku: str, quantity: int = 1) -> str:
        return f"{quantity} {self.unit} of {sku}"

    async def watch(self, sku: str) -> AsyncIterator[int]:
        yield self.levels[sku]


def test_an_operation_that_is_missing_is_named() -> None:
    with pytest.raises(
        Misdeclared, match=r"Half promises Inventory but has no reserve; write `async def reserve\(self, sku"
    ):
        type("Half", (Service, Inventory), {})


def implementing(**methods: object) -> type:
    return type("Odd", (Service, Inventory), {"reserve": Stock.reserve, "watch": Stock.watch, **methods})


async def _two(self: object, sku: str, quantity: int, more: int) -> str:
    return sku


async def _none(self: object) -> str:
    return ""


def _plain(self: object, sku: str, quantity: int = 1) -> str:
    return sku


async def _once(self: object, sku: str) -> int:
    return 1


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (
            {"reserve": _two},
            r"Odd\.reserve does not take what Inventory says: missing .*'more'; it is .self",
        ),
        ({"reserve": _none}, r"Odd\.reserve does not take what Inventory says: too many positional arguments"),
        ({"reserve": _plain}, r"Odd\.reserve is a plain `def`, which would block .*; write `async def reserve\(self"),
        ({"watch": _once}, r"Odd\.watch is a stream in Inventory; `yield` its items"),
    ],
)
def test_an_operation_of_another_shape_is_refused(methods: dict[str, object], told: str) -> None:
    with pytest.raises(Misdeclared, match=told):
        implementing(**methods)


def test_an_operation_may_be_wrapped() -> None:
    def traced(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: object, **kwargs: object) -> object:
            return method(*args, **kwargs)

        return call

    assert implementing(reserve=traced(Stock.reserve)).__name__ == "Odd"


def test_an_operation_beside_the_contract_is_refused() -> None:
    with pytest.raises(Misdeclared, match=r"Odd\.extra is an operation that Inventory does not promise; add it to the"):
        implementing(extra=rpc(cast("Any", _once)))


def test_a_service_with_a_name_of_its_own_may_have_more_operations() -> None:
    class More(Stock, name="more"):
        @rpc
        async def extra(self) -> int:
            return 1

    promised, own = descriptions_of(More)
    assert (promised.name, list(own.operations), own.name) == ("inventory", ["extra"], "more")


def test_a_service_too_small_for_a_contract_is_its_own() -> None:
    class GreeterService(Service, version="2"):
        @rpc(idempotent=True)
        async def hello(self, name: str) -> str:
            return f"Hello, {name}!"

    class Louder(GreeterService, name="louder"):
        async def hello(self, name: str) -> str:
            return (await super().hello(name)).upper()

    [description] = descriptions_of(GreeterService)
    assert (service_name(GreeterService), description.version) == ("greeter", "2")
    [description] = descriptions_of(Louder)
    assert description.operations["hello"].options.idempotent, "an operation stays one where it is overridden"


def test_what_a_service_serves_is_described_once_for_each_class() -> None:
    class Quiet(Service):
        @rpc
        async def hush(self) -> str:
            return "hush"

    class Whispering(Quiet):
        @rpc
        async def whisper(self) -> str:
            return "psst"

    first, again = descriptions_of(Whispering), descriptions_of(Whispering)
    assert all(one is other for one, other in zip(first, again, strict=True))
    first.clear()
    assert descriptions_of(Whispering) == again
    [description], [inherited] = again, descriptions_of(Quiet)
    assert (sorted(description.operations), list(inherited.operations)) == (["hush", "whisper"], ["hush"])


def test_the_name_of_a_service_is_its_contracts() -> None:
    assert service_name(Stock) == "inventory"
    assert [description.version for description in descriptions_of(Stock)] == ["1.4"]


async def test_a_service_is_constructed_with_its_fields() -> None:
    stock = Stock(levels={"tea": 3})
    assert await stock.reserve("tea") == "1 box of tea"
    assert [item async for item in stock.watch("tea")] == [3]
    await stock.started()
    await stock.stopping()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, r"Stock needs levels: dict\[str, int\]; write Stock\(levels=\.\.\.\)"),
        ({"levels": {}, "colour": "red"}, "Stock has no field 'colour'; it has levels, unit"),
    ],
)
def test_wrong_fields_are_explained(fields: dict[str, object], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        cast("Any", Stock)(**fields)


def test_a_service_without_fields_takes_none() -> None:
    class Empty(Service): ...

    with pytest.raises(TypeError, match="Empty has no field 'x'; it has no fields"):
        cast("Any", Empty)(x=1)


def test_fields_are_told_apart_by_their_types() -> None:
    class Shop(Stock, name="shop"):
        orders: Collection[Order]
        inventory: Inventory

    kinds = {field.name: (field.resource, field.contract, field.required) for field in fields_of(Shop)}
    assert kinds == {
        "levels": (None, None, True),
        "unit": (None, None, False),
        "orders": (Order, None, True),
        "inventory": (None, Inventory, True),
    }


def test_a_field_of_a_type_that_does_not_exist_is_named() -> None:
    class Lost(Service):
        thing: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Misdeclared, match="a field of Lost names 'Nowhere', which does not exist in"):
        fields_of(Lost)


# Reactions


async def _nothing(self: object) -> None: ...
async def _event(self: object, event: object) -> None: ...
async def _named(self: object, *, due: datetime) -> None: ...
async def _twice(self: object, due: datetime, again: datetime) -> None: ...
def _blocking(self: object, event: object) -> None: ...


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda: on(cast("Any", int)), "@on takes a class derived from Event or Resource, got <class 'int'>"),
        (lambda: on(cast("Any", "order")), "@on takes a class derived from Event or Resource, got 'order'"),
        (lambda: rule(cast("Any", Placed)), "@rule takes a class derived from Resource, got"),
        (lambda: rule(Order, every="soon"), "expected a duration"),
        (lambda: rule(Order, lease=0), "expected a duration above zero"),
        (lambda: rule(Order, where=lambda o: not o.status), "has no truth value in a filter"),
        (lambda: every("now"), "expected a duration"),
        (lambda: cron("often"), "expected five fields such as '30 4 \\* \\* mon-fri', got 'often'"),
        (lambda: cron("0 0 0 4 * *"), "expected five fields"),
        (lambda: cron("61 4 * * *"), "expected a cron expression such as .* got '61 4 \\* \\* \\*': Bad minute"),
        (lambda: cron("0 0 30 2 *"), "'0 0 30 2 \\*'"),
        (lambda: cron("0 4 * * *", zone="Berlin"), "expected the name of a time zone such as 'Europe/Berlin'"),
        (lambda: cron("0 4 * * *", zone="../etc/passwd"), "expected the name of a time zone"),
        (lambda: on(Placed)(cast("Any", _blocking)), "_blocking reacts, so it has to be `async def`"),
        (lambda: on(Placed)(cast("Any", _nothing)), r"@on gives 1 argument\(s\) beside self, but _nothing takes 0"),
        (
            lambda: cron("0 4 * * *")(cast("Any", _event)),
            r"expected \(self\) or \(self, due: datetime\), but _event has",
        ),
        (lambda: every("1h")(cast("Any", _event)), r"@every gives nothing beside self, or the moment that is due"),
        (lambda: every("1h")(cast("Any", _named)), r"but _named has \(self: .*, \*, due: "),
        (lambda: every("1h")(cast("Any", _twice)), r"but _twice has \("),
    ],
)
def test_wrong_reactions_are_refused_where_they_are_written(declare: Callable[[], object], told: str) -> None:
    with pytest.raises(Misdeclared, match=told):
        declare()


def test_reactions_are_kept_with_their_methods() -> None:
    class Mailer(Service):
        @on(Placed, key=lambda event: event.sku, group="mail", attempts=2)
        async def receipt(self, event: Placed) -> None: ...

        @rule(Order, where=lambda order: order.status == "new", every="10m", lease="30s", concurrency=4)
        async def remind(self, order: object) -> None: ...

        @every("1h")
        async def digest(self) -> None: ...

        @cron("30 7 * * mon-fri", zone="Europe/Berlin")
        async def report(self) -> None: ...

        async def other(self) -> None: ...

    found = reactions_of(Mailer)
    assert isinstance(found["receipt"], On)
    assert (found["receipt"].kind, found["receipt"].group, found["receipt"].attempts) == (Placed, "mail", 2)
    assert found["remind"] == Rule(Order, where_of(lambda o: cast("Any", o).status == "new"), 600.0, 30.0, 4)
    assert found["digest"] == Every(3600.0)
    assert found["report"] == Cron("30 7 * * mon-fri", "Europe/Berlin")
    assert reaction_of(Mailer.other) is None


# Shapes


def test_a_store_learns_the_types_of_the_fields() -> None:
    class Nested:
        class Item(Resource):  # the same name as the resource that holds it
            width: int = 1

    class Item(Resource):
        a: str
        b: int | None = None
        c: int | str = 0
        d: bytes = b""
        e: list[int] = []  # noqa: RUF012 - a struct's default is copied
        f: Nested.Item | None = None

    fields = schema_of(Item).fields
    assert {name: field.type for name, field in fields.items()} == {
        "a": "string", "b": "integer", "c": "any", "d": "bytes", "e": "array", "f": "object",
    }  # fmt: skip
    assert (fields["a"].required, fields["e"].default) == (True, b"[]")


@pytest.mark.parametrize("patch", [[], "x", None, 3])
def test_a_patch_is_an_object(patch: object) -> None:
    shape: Shape[Order] = shape_of(Order)
    with pytest.raises(Exception, match="a patch is a JSON object"):
        shape.merged(Order(id="1"), patch)


def test_a_merge_patch_resets_what_is_null() -> None:
    shape = shape_of(Order)
    order = Order(id="1", rev=3, status="paid")
    assert shape.merged(order, {"status": None, "id": "2"}) == Order(id="1", rev=3, status="new")
