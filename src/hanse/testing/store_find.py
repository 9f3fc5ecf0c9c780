"""What queries promise: the answers of the reference, on every page of every order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from hanse.kernel.faults import Malformed
from hanse.store.base import Found, Put, Row, Store
from hanse.store.evaluate import Value, page, predicate
from hanse.store.query import Compare, Holds, Order, Query, Text
from hanse.testing.store_hooks import StoreHooks, batch, delete, put
from hanse.testing.store_queries import THINGS, queries, stored_rows

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102, PLR2004

# A suite's methods run for one adapter after the other, and each example makes a store of its own.
drawn: settings = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class FindTests(StoreHooks):
    """Pages of rows."""

    async def test_a_list_is_ordered_by_id_and_comes_in_pages(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(put(id) for id in ("b", "a", "d", "c", "B"))))
            first = await store.find("orders", Query(limit=2))
            second = await store.find("orders", Query(limit=2, cursor=first.next))
            last = await store.find("orders", Query(limit=2, cursor=second.next))
            assert [row.id for found in (first, second, last) for row in found.rows] == ["B", "a", "b", "c", "d"]
            assert last.next is None

    async def test_a_page_that_ends_with_the_last_row_is_the_last(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), put("2")))
            assert (await store.find("orders", Query(limit=2))).next is None

    async def test_paging_goes_on_after_a_row_that_is_gone(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(put(str(n), f"sku{n}") for n in range(4))))
            query = Query(order=(Order(("sku",), descending=True),), limit=2)
            first = await store.find("orders", query)
            await store.commit(batch(delete("2"), put("9", "sku0")))
            second = await store.find("orders", msgspec.structs.replace(query, cursor=first.next))
            assert [row.id for row in second.rows] == ["1", "0"]

    async def test_decimals_and_datetimes_are_compared_by_what_they_mean(self) -> None:
        async with self.opened() as store:
            rows = {
                "1": b'{"total":"9.50","at":"2026-01-01T12:00:00+02:00"}',
                "2": b'{"total":"10","at":"2026-01-01T11:00:00Z"}',
                "3": b"{}",
            }
            await store.commit(batch(*(Put("orders", id, value, "m") for id, value in rows.items())))
            above = await store.find("orders", Query(where=Compare("ge", ("total",), "9.5")))
            assert [row.id for row in above.rows] == ["1", "2"]
            latest = await store.find("orders", Query(order=(Order(("at",), descending=True),)))
            assert [row.id for row in latest.rows] == ["2", "1", "3"]
            assert await store.count("orders", Query(where=Compare("eq", ("total",), "0.00"))) == 1

    async def test_what_lies_inside_a_field_is_compared_by_what_it_means(self) -> None:
        async with self.opened(THINGS) as store:
            rows = {
                "1": b'{"nested":{"price":"9.50","at":"2026-01-01T12:00:00+02:00"},"prices":["1.50"]}',
                "2": b'{"nested":{"price":"10","at":"2026-01-01T11:00:00Z"},"prices":["10"]}',
                "3": b'{"nested":{}}',
            }
            await store.commit(batch(*(Put("things", id, value, "m") for id, value in rows.items())))
            above = await store.find("things", Query(where=Compare("ge", ("nested", "price"), "9.5")))
            assert [row.id for row in above.rows] == ["1", "2"]
            latest = await store.find("things", Query(order=(Order(("nested", "at"), descending=True),)))
            assert [row.id for row in latest.rows] == ["2", "1", "3"]
            assert await store.count("things", Query(where=Holds(("prices",), "1.5"))) == 1

    async def test_counting_takes_no_notice_of_limits(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(put(str(n), "tea" if n % 2 else "ink") for n in range(9))))
            assert await store.count("orders", Query(limit=1)) == 9
            assert await store.count("orders", Query(where=Text("starts", ("sku",), "t"), limit=1)) == 4

    async def test_a_page_of_an_impossible_size_is_refused(self) -> None:
        async with self.opened() as store:
            for limit in (0, -1, 1001):
                with pytest.raises(Malformed, match="expected a limit from 1 to 1000"):
                    await store.find("orders", Query(limit=limit))

    async def test_a_cursor_of_another_query_is_refused(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), put("2")))
            cursor = (await store.find("orders", Query(limit=1))).next
            for query in (Query(order=(Order(("sku",)),)), Query(where=Compare("eq", ("sku",), "tea"))):
                with pytest.raises(Malformed, match="another query"):
                    await store.find("orders", msgspec.structs.replace(query, cursor=cursor))
            with pytest.raises(Malformed, match="another query"):
                await store.find("notes", Query(cursor=cursor))
            with pytest.raises(Malformed, match="expected the cursor"):
                await store.find("orders", Query(cursor="nonsense"))

    async def test_a_path_with_quotes_is_refused(self) -> None:
        async with self.opened() as store:
            for path in (('sku"', "x"), ("a\\",), ()):
                with pytest.raises(Malformed, match="expected a path"):
                    await store.find("orders", Query(where=Compare("eq", path, 1)))

    @drawn
    @given(stored_rows(), st.lists(queries(), min_size=1, max_size=8))
    async def test_pages_are_those_of_the_reference(self, stored: dict[str, bytes], asked: list[Query]) -> None:
        async with self.opened(THINGS) as store:
            await store.commit(batch(*(Put("things", id, value, "m") for id, value in stored.items())))
            rows = _rows(stored)
            for query in asked:
                assert await _pages(store, query) == _reference_pages(rows, query), query

    @drawn
    @given(stored_rows(), st.lists(queries(), min_size=1, max_size=8))
    async def test_counts_are_those_of_the_reference(self, stored: dict[str, bytes], asked: list[Query]) -> None:
        async with self.opened(THINGS) as store:
            await store.commit(batch(*(Put("things", id, value, "m") for id, value in stored.items())))
            for query in asked:
                test = predicate(query.where, THINGS)
                assert await store.count("things", query) == sum(test(value) for _, value in _rows(stored)), query


def _rows(stored: dict[str, bytes]) -> list[tuple[Row, Value]]:
    rows = [Row(id, rev, value) for rev, (id, value) in enumerate(stored.items(), 1)]
    return [(row, {**msgspec.json.decode(row.value), "id": row.id, "rev": row.rev}) for row in rows]


async def _pages(store: Store, query: Query) -> list[tuple[Row, ...]]:
    found: Found = await store.find("things", query)
    pages = [found.rows]
    while found.next is not None:
        found = await store.find("things", msgspec.structs.replace(query, cursor=found.next))
        pages.append(found.rows)
    return pages


def _reference_pages(rows: list[tuple[Row, Value]], query: Query) -> list[tuple[Row, ...]]:
    found = page(rows, query, THINGS)
    pages = [found.rows]
    while found.next is not None:
        found = page(rows, msgspec.structs.replace(query, cursor=found.next), THINGS)
        pages.append(found.rows)
    return pages
