"""Whether stored rows can be read as another version of their collection."""

import pytest

from hanse.kernel.faults import CouldNotStart
from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.schema import check, merge, require_sound


def orders(**types: str) -> CollectionSchema:
    return CollectionSchema("orders", {name: FieldSchema(kind, required=True) for name, kind in types.items()})


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("integer", "number"), ("integer", "decimal"), ("datetime", "string"), ("uuid", "string"), ("object", "any")],
)
def test_a_wider_type_reads_what_is_stored(stored: str, wanted: str) -> None:
    assert check(orders(size=stored), orders(size=wanted)) == []


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("number", "integer"), ("string", "uuid"), ("any", "string"), ("date", "datetime"), ("decimal", "number")],
)
def test_another_type_does_not(stored: str, wanted: str) -> None:
    (problem,) = check(orders(size=stored), orders(size=wanted))
    assert problem.startswith(f"orders.size: stored as {stored}, now {wanted}; keep the type")


def test_a_new_field_needs_a_default() -> None:
    (problem,) = check(orders(), orders(size="integer"))
    assert problem == "orders.size: stored rows do not have this new field; give it a default"
    assert check(orders(), CollectionSchema("orders", {"size": FieldSchema("integer", required=False)})) == []


def test_a_field_that_rows_may_lack_cannot_become_required() -> None:
    stored = CollectionSchema("orders", {"size": FieldSchema("integer", required=False, default=b"1")})
    (problem,) = check(stored, orders(size="integer"))
    assert problem == "orders.size: stored rows may lack this field, which is required now; keep its default"


def test_a_removed_field_is_fine_and_remembered_as_one_that_rows_may_have() -> None:
    stored, wanted = orders(size="integer", sku="string"), orders(sku="string")
    assert check(stored, wanted) == []
    assert merge(stored, wanted).fields["size"] == FieldSchema("integer", required=False)


def test_every_problem_is_listed_at_once() -> None:
    stored = {"orders": orders(size="integer", sku="string")}
    with pytest.raises(CouldNotStart, match=r"orders\.size: .*; orders\.sku: .*; orders\.new: "):
        require_sound(stored, [orders(size="boolean", sku="integer", new="string")])


def with_inside(kind: str) -> CollectionSchema:
    inside = {"": Inside("object", {"price": Inside(kind)})}
    return CollectionSchema("orders", {"lines": FieldSchema("array", required=True, inside=inside)})


def test_another_type_inside_a_field_does_not_read_what_is_stored() -> None:
    (problem,) = check(with_inside("decimal"), with_inside("datetime"))
    assert problem.startswith("orders.lines: [].price inside it stored as decimal, now datetime; keep the type")


@pytest.mark.parametrize(("stored", "wanted"), [("datetime", "string"), ("decimal", "any"), ("any", "decimal")])
def test_a_wider_type_or_one_that_nobody_knows_inside_a_field_does(stored: str, wanted: str) -> None:
    assert check(with_inside(stored), with_inside(wanted)) == []
