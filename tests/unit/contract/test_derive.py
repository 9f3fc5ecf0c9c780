import dataclasses
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, cast

import pydantic
import pytest
from msgspec import Meta

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import contracts_in, describe, describe_as
from hanse.contract.guard import scope
from hanse.contract.model import Event, Model, Resource
from hanse.contract.schema import canonical, schemas_of
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Fault, Invalid, Misdeclared

PROMISES = Path(__file__).with_name("promises.py")


class Hold(Model):
    sku: str
    quantity: Annotated[int, Meta(gt=0)] = 1


class Gone(Fault, status=410):
    sku: str


class Sold(Event, version=2):
    sku: str


class Item(Resource):
    sku: str


class Inventory(Contract, Protocol, version="1.4", events=(Sold,), resources=(Item,)):
    """Stock levels."""

    @rpc(timeout="2s", allow=scope("stock"), faults=(Gone,))
    async def reserve(self, sku: str, quantity: int = 1) -> Hold:
        """Hold some."""
        ...

    @rpc
    def watch(self, sku: str) -> AsyncIterator[int]: ...


def test_the_same_under_another_name_shares_its_types() -> None:
    known, other = describe(Inventory), describe_as(Inventory, "inventory/north")
    assert (other.name, other.version, other.operations["watch"].address) == (
        "inventory/north",
        "1.4",
        "inventory/north.watch",
    )
    assert other.operations["reserve"].arguments is known.operations["reserve"].arguments
    assert known.operations["watch"].address == "inventory.watch"


def test_an_operation_is_described_by_its_hints() -> None:
    reserve, watch = describe(Inventory).operations.values()
    assert (reserve.address, reserve.result, reserve.stream, reserve.doc) == (
        "inventory.reserve",
        Hold,
        False,
        "Hold some.",
    )
    assert (watch.result, watch.stream) == (int, True)
    assert reserve.arguments(sku="tea") == reserve.arguments("tea", 1)


def test_a_description_is_made_once() -> None:
    assert describe(Inventory) is describe(Inventory)
    assert describe(Inventory).faults == (Gone,)


def test_what_is_published_is_the_whole_promise() -> None:
    published = cast("dict[str, Any]", describe(Inventory).publish())
    assert (published["name"], published["version"], published["description"]) == ("inventory", "1.4", "Stock levels.")
    reserve = published["operations"]["reserve"]
    assert reserve["faults"] == {"gone": {"status": 410, "fields": ["sku"]}}
    assert (reserve["timeout"], reserve["allow"], reserve["stream"]) == (2.0, "the scope stock", False)
    assert published["events"]["sold"]["version"] == 2
    assert list(published["resources"]) == ["items"]
    assert {"Hold", "Item", "Sold"} <= set(published["$defs"])


def fingerprint(order: str, seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, str(PROMISES), order]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_fingerprint_depends_on_the_promise_alone() -> None:
    """Neither on the order of fields, operations and choices, nor on prose, version or the process's hash seed."""
    first = fingerprint("forwards", 1)
    assert len(first) == 16
    assert {fingerprint("forwards", 2), fingerprint("backwards", 3)} == {first}


class One(Contract, Protocol, name="inventory"):
    @rpc
    async def example(self, sku: str) -> None: ...


class Two(Contract, Protocol, name="inventory"):
    @rpc
    async def example(self, sku: str, left: int = 0) -> None: ...


def test_the_fingerprint_changes_with_the_promise() -> None:
    assert describe(One).fingerprint != describe(Two).fingerprint


def test_prose_goes_where_it_is_prose_only() -> None:
    document = {"description": "x", "properties": {"title": {"title": "T", "type": "string"}}}
    assert canonical(document) == b'{"properties":{"title":{"type":"string"}}}'


def test_what_is_no_contract_is_not_described() -> None:
    with pytest.raises(
        Misdeclared, match=r"expected a contract such as `class Inventory\(Contract, Protocol\)`, got int"
    ):
        describe(int)


def test_a_hint_that_does_not_exist_is_named() -> None:
    class Lost(Contract, Protocol):
        @rpc
        async def find(self, what: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Misdeclared, match=r"names 'Nowhere', which does not exist in .*; import it there at run time"):
        describe(Lost)


class Opaque:
    pass


def test_a_type_without_a_schema_is_refused() -> None:
    class Odd(Contract, Protocol):
        @rpc
        async def take(self, thing: Opaque) -> None: ...

    with pytest.raises(
        Misdeclared, match="take cannot be called from elsewhere: thing: Opaque has no schema; use a Model"
    ):
        describe(Odd)


class Leaf(Model):
    odd: list[Opaque]


class Branch(Model):
    next: "Branch | None"
    leaves: dict[str, Leaf]


def test_a_type_without_a_schema_is_named_with_its_field() -> None:
    class Odd(Contract, Protocol):
        @rpc
        async def take(self, branch: Branch | None) -> None: ...

    with pytest.raises(Misdeclared, match=r"take cannot be called from elsewhere: Leaf\.odd: Opaque has no schema"):
        describe(Odd)


def test_a_default_that_could_be_changed_is_refused() -> None:
    class Odd(Contract, Protocol):
        @rpc
        async def take(self, things: list[int] = [1]) -> None: ...  # noqa: B006 - the point

    with pytest.raises(Misdeclared, match="cannot be called from elsewhere"):
        describe(Odd)


class Person(pydantic.BaseModel):
    name: str
    home: "Home | None" = None


class Home(pydantic.BaseModel):
    city: str


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Foreign(Contract, Protocol):
    @rpc
    async def meet(self, person: Person, at: Point, how: Literal["warmly"] | None = None) -> Person: ...

    @rpc
    async def any(self, thing: object) -> AsyncGenerator[object, None]:
        yield thing


def test_pydantic_models_and_dataclasses_are_arguments_like_any_other() -> None:
    meet = describe(Foreign).operations["meet"]
    codec = codec_for(meet.arguments)
    sent = meet.arguments(Person(name="Ada", home=Home(city="London")), Point(1))
    assert codec.decode(codec.encode(sent)) == sent
    with pytest.raises(Invalid, match="/person/name"):
        codec.decode_json(b'{"person": {}, "at": {"x": 1}}')


def test_their_definitions_stand_with_all_others() -> None:
    definitions = cast("dict[str, Any]", describe(Foreign).publish()["$defs"])
    assert {"Point", "Home"} <= set(definitions)
    schemas, components = schemas_of([list[Person]], at="#/components/{name}")
    assert "#/components/Home" in str(schemas) + str(components)
    assert "Home" in components


def test_anything_has_the_empty_schema() -> None:
    assert schemas_of([object])[0] == [{}]
    assert describe(Foreign).operations["any"].stream


def test_contracts_are_found_nearest_first() -> None:
    class Base(Contract, Protocol):
        @rpc
        async def a(self) -> None: ...

    class Wider(Base, Protocol):
        @rpc
        async def b(self) -> None: ...

    class Both(Wider):
        async def a(self) -> None: ...
        async def b(self) -> None: ...

    assert contracts_in(Both) == [Wider, Base]
    assert set(describe(Wider).operations) == {"a", "b"}
