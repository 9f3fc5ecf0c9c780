import copy
import itertools
import pickle  # noqa: TID251 - exceptions are copied by the same protocol, in process pools too
from collections.abc import Callable
from decimal import Decimal
from typing import ClassVar, cast

import pytest

from hanse.kernel.faults import (
    Conflict,
    Fault,
    Internal,
    Misdeclared,
    NotFound,
    Overloaded,
    Unavailable,
    fault_class,
    snake_case,
)


class OutOfTea(Fault, status=409, detail="only {left} of {sku} left"):
    sku: str
    left: int = 0


def test_fields_come_in_order_or_by_name() -> None:
    assert OutOfTea("tea", 2).left == OutOfTea(sku="tea", left=2).left == 2
    assert OutOfTea("tea").left == 0


@pytest.mark.parametrize(
    ("args", "values", "told"),
    [
        ((), {}, "OutOfTea needs the field 'sku'; it has sku, left"),
        (("tea", 2, 3), {}, "takes 2 fields"),
        (("tea",), {"sku": "x"}, "'sku', twice"),
        (("tea",), {"amount": 1}, "'amount', but it has sku, left"),
    ],
)
def test_wrong_fields_are_explained(args: tuple[object, ...], values: dict[str, object], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        cast("Callable[..., Fault]", OutOfTea)(*args, **values)


def test_a_fault_without_fields_takes_none() -> None:
    class Closed(Fault):
        """The shop is closed {today}."""

    assert str(Closed()) == "The shop is closed {today}"
    with pytest.raises(TypeError, match="but it has no fields"):
        Closed(when="now")


def test_columns_are_inherited_and_overridden() -> None:
    class OutOfGreenTea(OutOfTea, retryable=True, close_code=4009, exit_code=7, code="green", status=410):
        grade: str = ""

    fault = OutOfGreenTea("tea", 1, grade="sencha")
    columns = (fault.code, fault.status, fault.close_code, fault.exit_code, fault.retryable)
    assert columns == (
        "green",
        410,
        4009,
        7,
        True,
    )
    assert fault.fields == ("sku", "left", "grade")


def test_without_a_word_the_detail_names_the_fields() -> None:
    class NoTea(Fault):
        sku: str
        count: ClassVar[int] = 0

    assert str(NoTea("tea")) == "no tea sku='tea'"


@pytest.mark.parametrize("name", ["code", "args", "fields", "template", "retry_after"])
def test_a_field_that_every_fault_has_is_refused(name: str) -> None:
    with pytest.raises(Misdeclared, match=f"'{name}', which every fault has"):
        type("Odd", (Fault,), {"__annotations__": {name: str}})


def test_a_detail_that_names_no_field_is_refused_where_it_is_written() -> None:
    with pytest.raises(Misdeclared, match=r"names \{lefft\}, but it has left"):

        class Misspelt(Fault, detail="only {lefft}"):
            left: int


def test_a_detail_that_is_no_format_is_refused_where_it_is_written() -> None:
    with pytest.raises(Misdeclared, match="is no format string"):
        type("Unbalanced", (Fault,), {}, detail="only {left")


def test_a_detail_may_look_into_a_field() -> None:
    class Priced(Fault, detail="{amount:.1f} of {parts[0]}"):
        amount: Decimal
        parts: list[str]

    assert str(Priced(Decimal("2.345"), ["tea"])) == "2.3 of tea"


def test_a_copy_has_the_fields() -> None:
    for again in (copy.copy(OutOfTea("tea", left=3)), pickle.loads(pickle.dumps(OutOfTea("tea", left=3)))):
        assert (type(again), again.sku, again.left) == (OutOfTea, "tea", 3)


def test_a_code_gives_its_class() -> None:
    assert fault_class("out_of_tea") is OutOfTea
    assert fault_class("no_such_code") is None


def test_of_two_classes_with_one_code_the_declared_one_is_meant() -> None:
    first, second = (type(name, (Fault,), {}, code="twice") for name in ("First", "Second"))
    assert fault_class("twice") is None
    assert fault_class("twice", declared=[OutOfTea, second]) is second
    assert fault_class("twice", declared=[first]) is first


def test_a_module_that_is_loaded_again_replaces_its_class() -> None:
    old, new = (type("Reloaded", (Fault,), {"__module__": "shop"}) for _ in range(2))
    assert old is not new
    assert fault_class("reloaded") is new


def test_only_those_that_say_so_are_worth_a_retry() -> None:
    assert [kind.retryable for kind in (Conflict, Overloaded, Unavailable, NotFound, Internal)] == [
        *itertools.repeat(True, 3),
        *itertools.repeat(False, 2),
    ]
    assert (Overloaded("x", 2.5).retry_after, NotFound("a", "b").retry_after) == (2.5, None)


@pytest.mark.parametrize(
    ("name", "snake"), [("OutOfStock", "out_of_stock"), ("HTTPError", "http_error"), ("V2Order", "v2_order")]
)
def test_names_become_codes(name: str, snake: str) -> None:
    assert snake_case(name) == snake
