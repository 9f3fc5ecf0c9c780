"""Numbers that are none are found wherever they are, and nothing else is."""

import math
from dataclasses import dataclass
from decimal import Decimal

import pydantic
import pytest

from hanse import Model
from hanse.kernel.faults import Invalid
from hanse.kernel.finite import checked


class Money(Model):
    amount: Decimal
    of: str = "EUR"


class Bill(Model):
    name: str
    total: float = 0.0
    lines: tuple[Money, ...] = ()
    best: Money | None = None
    rates: dict[str, float] | None = None


NAN = Money(amount=Decimal("NaN"))


@pytest.mark.parametrize(
    ("bill", "pointer"),
    [
        (Bill(name="a", total=float("inf")), "/total"),
        (Bill(name="a", lines=(Money(amount=Decimal(1)), NAN)), "/lines/1/amount"),
        (Bill(name="a", best=NAN), "/best/amount"),
        (Bill(name="a", rates={"x": float("nan")}), "/rates/x"),
    ],
)
def test_a_number_that_is_none_is_named_where_it_is(bill: Bill, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked(bill)
    assert [flaw.pointer for flaw in caught.value.errors] == [pointer]


@dataclass
class Parcel:
    kilos: float


class Ticket(pydantic.BaseModel):
    price: float


@pytest.mark.parametrize("value", [Parcel(math.nan), Ticket(price=math.inf), [{"a": Ticket(price=math.nan)}]])
def test_a_number_that_is_none_is_found_in_values_of_other_libraries(value: object) -> None:
    with pytest.raises(Invalid, match="finite"):
        checked(value)


def test_what_is_finite_is_given_back_as_it_is() -> None:
    bill = Bill(name="NaN", total=1.5, lines=(Money(amount=Decimal(2)),), rates={"x": 1.0})
    assert checked(bill) is bill
    assert checked(Parcel(1.0)) == Parcel(1.0)
