"""One suite for collections near and far, on either store: their users must not be able to tell."""

from collections.abc import AsyncIterator, Awaitable
from decimal import Decimal
from typing import Any, cast

import pytest

from hanse.kernel.faults import Conflict, Invalid, Malformed, Misdeclared, NotFound, PreconditionFailed
from hanse.service.collection import Collection
from hanse.service.query import desc, holds, not_
from hanse.store.query import Compare

from .shop import Order, Size


async def test_what_is_not_there_is_not_found(orders: Collection[Order]) -> None:
    with pytest.raises(NotFound, match="there is no order '42'"):
        await orders.get("42")
    with pytest.raises(NotFound, match="there is no order '42'"):
        await orders.patch("42", status="paid")
    with pytest.raises(NotFound, match="there is no order '42'"):
        await orders.delete("42")


async def test_an_id_is_taken_once(orders: Collection[Order]) -> None:
    await orders.create(Order(id="42", sku="tea"))
    with pytest.raises(Conflict):
        await orders.create(Order(id="42", sku="coffee"))
    assert (await orders.get("42")).sku == "tea"


async def test_invalid_rows_are_refused_with_every_error(orders: Collection[Order]) -> None:
    wrong = Order(sku=cast("Any", 3), amount=cast("Any", "much"))
    with pytest.raises(Invalid) as caught:
        await orders.create(wrong)
    assert {flaw.pointer for flaw in caught.value.errors} == {"/sku", "/amount"}
    with pytest.raises(Invalid):
        await orders.put(Order(id="1", sku=cast("Any", None)))
    assert await orders.count() == 0


async def test_a_patch_of_unknown_or_wrong_fields_is_refused(orders: Collection[Order]) -> None:
    order = await orders.create(Order(sku="tea"))
    with pytest.raises(Invalid, match="order has no field colour, id"):
        await orders.patch(order.id, colour="red", id="7")
    with pytest.raises(Invalid, match="/amount"):
        await orders.patch(order.id, amount="much")
    assert await orders.get(order.id) == order


async def test_a_revision_that_is_not_the_current_one_is_refused(orders: Collection[Order]) -> None:
    first = await orders.create(Order(sku="tea"))
    second = await orders.patch(first.id, status="paid")
    for attempt in (
        lambda: orders.patch(first.id, if_match=first.rev, status="lost"),
        lambda: orders.put(first),
        lambda: orders.put(second, if_match=first.rev),
        lambda: orders.delete(first.id, if_match=first.rev),
    ):
        with pytest.raises(PreconditionFailed, match=f"is at {second.rev}, not at {first.rev}"):
            await attempt()
    assert await orders.get(first.id) == second


async def test_filters_know_the_fields_of_the_resource(orders: Collection[Order]) -> None:
    unknown: Any = lambda o: (o.sku == "a") | (o.colour == "red")  # noqa: E731 - not typed, so that it may be wrong
    for ask in (orders.find, orders.count, orders.changes, orders.follow, orders.scan):
        with pytest.raises(Misdeclared, match="Order has no field 'colour'; it has id, rev, sku"):
            await first_of(ask(unknown))
    with pytest.raises(Misdeclared, match="Order has no field 'colour'"):
        await orders.find(sort=cast("Any", lambda o: o.colour))


async def first_of(asked: object) -> object:
    return await (anext(asked) if isinstance(asked, AsyncIterator) else cast("Awaitable[object]", asked))


async def test_fields_are_found_by_their_names_in_python(orders: Collection[Order]) -> None:
    for mark in ("B", "A"):
        await orders.create(Order(sku="tea", shelf_mark=mark))
    found = await orders.find(lambda o: not_(o.shelf_mark == "B"), sort=lambda o: o.shelf_mark)
    assert [order.shelf_mark for order in found.items] == ["A"]
    by_name = await orders.find(Compare("eq", ("shelfMark",), "B"))
    assert [order.shelf_mark for order in by_name.items] == ["B"], "a tree has the names of JSON"


async def test_a_cursor_of_another_query_is_refused(orders: Collection[Order]) -> None:
    for sku in "abc":
        await orders.create(Order(sku=sku))
    page = await orders.find(limit=1)
    assert page.next is not None
    with pytest.raises(Malformed):
        await orders.find(lambda o: o.sku == "a", cursor=page.next)


async def test_a_new_row_gets_an_id_and_a_revision(orders: Collection[Order]) -> None:
    order = await orders.create(Order(sku="tea", amount=Decimal("2.50")))
    assert len(order.id) == 36
    assert order.rev > 0
    assert await orders.get(order.id) == order


async def test_what_a_writer_gave_stays_the_writers(orders: Collection[Order]) -> None:
    given = Order(sku="tea")
    await orders.create(given)
    assert (given.id, given.rev) == ("", 0)


async def test_a_row_is_put_whether_it_is_there_or_not(orders: Collection[Order]) -> None:
    first = await orders.put(Order(id="1", sku="tea"))
    second = await orders.put(Order(id="1", sku="coffee"))
    assert second.rev > first.rev
    assert await orders.get("1") == second
    assert (await orders.put(Order(sku="water"))).id


async def test_a_patch_replaces_the_fields_it_names(orders: Collection[Order]) -> None:
    order = await orders.create(Order(sku="tea", size=Size(width=2, height=3), labels={1: "a"}))
    patched = await orders.patch(order.id, note=None, size=Size(width=5), labels={2: "b"}, shelf_mark="A7")
    assert (patched.note, patched.size, patched.labels, patched.shelf_mark) == (None, Size(width=5), {2: "b"}, "A7")
    assert (patched.sku, await orders.get(order.id)) == ("tea", patched)


async def test_what_is_deleted_is_gone_from_everywhere(orders: Collection[Order]) -> None:
    order = await orders.create(Order(sku="tea"))
    await orders.delete(order.id, if_match=order.rev)
    assert (await orders.find()).items == []
    assert await orders.count() == 0


async def fill(orders: Collection[Order]) -> None:
    for sku, amount, tags in (("a", 3, ("x",)), ("b", 1, ()), ("c", 2, ("x", "y"))):
        await orders.create(Order(id=sku, sku=sku, amount=Decimal(amount), tags=tags))


async def test_rows_are_found_counted_and_sorted(orders: Collection[Order]) -> None:
    await fill(orders)
    found = await orders.find(lambda o: (o.amount > Decimal(1)) & holds(o.tags, "x"), sort=lambda o: o.amount)
    assert [order.sku for order in found.items] == ["c", "a"]
    assert await orders.count(lambda o: o.amount > Decimal(1)) == 2
    assert [order.sku async for order in orders.scan(sort=lambda o: desc(o.sku))] == ["c", "b", "a"]


async def test_pages_follow_one_another(orders: Collection[Order]) -> None:
    await fill(orders)
    first = await orders.find(sort=lambda o: o.amount, limit=2)
    second = await orders.find(sort=lambda o: o.amount, limit=2, cursor=first.next)
    assert [order.sku for order in first.items] == ["b", "c"]
    assert ([order.sku for order in second.items], second.next) == (["a"], None)


async def test_the_cursor_moves_with_each_write(orders: Collection[Order]) -> None:
    before = await orders.cursor()
    await orders.create(Order(sku="tea"))
    assert await orders.cursor() != before
