"""Faults arrive as their own class with typed fields, and whatever is wrong with one, it arrives."""

import datetime as dt
from decimal import Decimal
from typing import Any, cast

import msgspec
import pydantic
import pytest

from hanse.kernel.codec import encode
from hanse.kernel.faults import Fault, Flaw, Internal, Invalid, Overloaded, RemoteFault
from hanse.kernel.message import Kind, Message
from hanse.mesh.fault import fault_in, fault_message


class Person(pydantic.BaseModel):
    name: str


class Rich(Fault, status=409, detail="{amount} at {at}"):
    amount: Decimal
    at: dt.date
    who: Person
    parts: list[int]


class Opaque(Fault, detail="something is {what}"):
    what: object


class Unformatted(Fault, detail="{left:d} left"):
    left: object


class Misnamed(Fault):
    who: "Nobody"  # type: ignore[name-defined]  # noqa: F821


def crossed(fault: Fault) -> Fault:
    message = fault_message(fault, "1")
    assert (message.kind, message.id, message.headers.type) == (
        Kind.FAULT,
        "1",
        getattr(fault, "remote_code", fault.code),
    )
    return fault_in(message)


@pytest.mark.parametrize(
    "fault",
    [
        Rich(Decimal("2.50"), dt.date(2026, 1, 2), Person(name="Ada"), [1]),
        Invalid("wrong", [Flaw("/sku", "missing", "this field is required")]),
        Overloaded("calls", after=2.0),
        Internal("x"),
    ],
)
def test_a_fault_arrives_as_itself(fault: Fault) -> None:
    again = crossed(fault)
    assert type(again) is type(fault)
    assert again.args == fault.args


def test_an_unknown_class_arrives_with_its_text_and_fields() -> None:
    body = encode({"code": "from_the_future", "text": "no fuel", "values": {"left": 2}, "retryable": True})
    fault = fault_in(Message(Kind.FAULT, "1", "", body=body))
    assert isinstance(fault, RemoteFault)
    assert (fault.remote_code, str(fault)) == ("from_the_future", "no fuel")
    assert (fault.values, fault.retryable) == ({"left": 2}, True)
    assert crossed(fault).retryable, "also through a service in between"


@pytest.mark.parametrize("values", [{}, {"amount": "much"}])
def test_another_version_of_the_class_arrives_as_text(values: dict[str, object]) -> None:
    body = encode({"code": "rich", "text": "2.50", "values": values})
    fault = fault_in(Message(Kind.FAULT, "1", "", body=body))
    assert (type(fault), str(fault)) == (RemoteFault, "2.50")


@pytest.mark.parametrize("what", [object(), 2**70])
def test_a_field_that_cannot_travel_costs_the_class_not_the_answer(what: object) -> None:
    fault = crossed(Opaque(what))
    assert (type(fault), str(fault)) == (RemoteFault, f"something is {what}")


def test_a_text_that_cannot_be_made_is_the_code() -> None:
    fault = crossed(Unformatted([]))
    assert isinstance(fault, Unformatted)
    assert msgspec.msgpack.decode(fault_message(fault, "1").body)["text"] == "unformatted"


def test_a_hint_that_does_not_exist_costs_the_class_not_the_answer() -> None:
    assert type(crossed(cast("Any", Misnamed)("ada"))) is RemoteFault


def test_two_services_may_use_one_code() -> None:
    first, second = (cast("type[Fault]", type(name, (Fault,), {}, code="shared_code")) for name in ("A", "B"))
    message = fault_message(first(), "1")
    assert type(fault_in(message, [first])) is first
    assert type(fault_in(message, [second])) is second
    assert type(fault_in(message)) is first, "it is known where the class is written"
    told = msgspec.msgpack.decode(message.body)
    for origin in ("", "elsewhere:A"):
        body = encode({**told, "origin": origin})
        assert type(fault_in(Message(Kind.FAULT, "1", "", body=body))) is RemoteFault
