"""The contract that rows are served under."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.kernel.faults import Invalid, Malformed, NotFound, TooLarge
from hanse.kernel.settings import Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.json_patch import PatchConflict
from hanse.service.rows import ROWS_MAX, Line, Rows, SomeExist, SomeMissing, rows_contract
from hanse.service.service import Service
from hanse.store.query import Query


class Order(Resource, collection="orders_of_old"):
    sku: str


class OrderOfNow(Resource, collection="orders_of_old"):
    sku: str
    quantity: int = 1


def test_it_follows_from_the_name_of_the_collection_and_is_made_once() -> None:
    description = rows_contract(Order)
    assert description.operations["get"].address == "rows/orders_of_old.get"
    assert rows_contract(OrderOfNow) is description


class Sale(Resource):
    sku: str
    count: int = 1
    tags: list[str] = msgspec.field(default_factory=list)


class Till(Resource):
    pass


class Desk(Service):
    sales: Collection[Sale]
    tills: Collection[Till]


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    async with Node(App("desk", Desk), settings) as node:
        yield node


@pytest.fixture
def rows(node: Node) -> Rows:
    return node.rows(Sale)


def sale(**fields: object) -> bytes:
    return msgspec.json.encode({"sku": "tea", **fields})


async def ids(rows: Rows) -> list[str]:
    return [row.id for row in (await rows.find(Query())).rows]


async def test_rows_with_errors_are_all_told_and_none_is_added(rows: Rows) -> None:
    with pytest.raises(Invalid) as caught:
        await rows.create_many([sale(), b"{}", sale(count="many")])

    assert [flaw.pointer for flaw in caught.value.errors] == ["/1/sku", "/2/count"]
    assert await ids(rows) == []


async def test_rows_that_are_there_are_all_told_and_none_is_added(rows: Rows) -> None:
    await rows.create(sale(id="a"))

    with pytest.raises(SomeExist) as caught:
        await rows.create_many([sale(id="b"), sale(id="a"), sale(id="c"), sale(id="b")])

    assert [flaw.pointer for flaw in caught.value.errors] == ["/1/id", "/3/id"]
    assert not caught.value.retryable
    assert await ids(rows) == ["a"]


async def test_rows_are_added_together_and_know_their_revisions(rows: Rows) -> None:
    written = await rows.create_many([sale(id="a"), sale()])

    assert [one.created for one in written] == [True, True]
    assert written[0].rev < written[1].rev
    assert [(row.id, row.rev) for row in (await rows.find(Query())).rows] == sorted(
        (one.id, one.rev) for one in written
    )


async def test_rows_that_are_not_there_are_all_told_and_none_is_removed(rows: Rows) -> None:
    await rows.create_many([sale(id="a"), sale(id="b")])

    with pytest.raises(SomeMissing) as caught:
        await rows.delete_many(["a", "x", "b", "y"])

    assert [flaw.pointer for flaw in caught.value.errors] == ["/1", "/3"]
    assert await ids(rows) == ["a", "b"]
    await rows.delete_many(["a", "b", "a"])
    assert await ids(rows) == []


async def test_many_are_given_in_the_order_asked_for_and_those_that_are_not_there_left_out(rows: Rows) -> None:
    await rows.create_many([sale(id="a"), sale(id="b"), sale(id="c")])

    assert [row.id for row in (await rows.many({"sales": ["c", "x", "a", "c"]}))["sales"]] == ["c", "a"]
    assert await rows.many({"sales": []}) == {"sales": []}
    assert await rows.many({}) == {}


async def test_many_gives_rows_of_all_collections_of_the_owner_and_of_no_other(rows: Rows, node: Node) -> None:
    await rows.create_many([sale(id="a")])
    _ = await node.rows(Till).create(b'{"id":"t"}')

    found = await rows.many({"tills": ["t", "a"], "sales": ["a", "t"]})

    assert {name: [row.id for row in some] for name, some in found.items()} == {"tills": ["t"], "sales": ["a"]}
    with pytest.raises(NotFound, match="'elsewhere'"):
        await rows.many({"sales": ["a"], "elsewhere": ["a"]})


async def test_there_is_a_limit_of_rows_at_once(rows: Rows) -> None:
    with pytest.raises(TooLarge):
        await rows.many({"sales": ["a"] * ROWS_MAX, "tills": ["a"]})
    with pytest.raises(TooLarge):
        await rows.delete_many(["a"] * (ROWS_MAX + 1))
    with pytest.raises(TooLarge):
        await rows.create_many([sale()] * (ROWS_MAX + 1))


async def test_a_json_patch_edits_a_row(rows: Rows) -> None:
    first = await rows.create(sale(id="a", tags=["x"]))
    test = {"op": "test", "path": "/rev", "value": first.rev}
    patch = msgspec.json.encode([test, {"op": "add", "path": "/tags/-", "value": "y"}])

    written = await rows.patch("a", patch, form="json")

    assert msgspec.json.decode(written.value)["tags"] == ["x", "y"]
    with pytest.raises(PatchConflict):
        await rows.patch("a", patch, form="json")
    with pytest.raises(Invalid):
        await rows.patch("a", b'[{"op": "remove", "path": ""}]', form="json")
    with pytest.raises(Invalid):
        await rows.patch("a", b'[{"op": "remove", "path": "/sku"}]', form="json")
    with pytest.raises(Malformed):
        await rows.patch("a", b"[", form="json")


async def told(lines: AsyncIterator[Line], count: int) -> list[Line]:
    async with closing(lines) as opened:
        return [await anext(opened) for _ in range(count)]


async def test_who_resumes_learns_when_it_has_caught_up(rows: Rows) -> None:
    after = await rows.cursor()
    one = await rows.create(sale())
    await rows.delete(one.id)
    now = await rows.cursor()
    lines = await told(rows.follow(None, after, caught_up=True), 3)

    assert [line.event for line in lines] == ["created", "deleted", "ready"]
    assert [lines[-1]] == await told(rows.follow(None, now, caught_up=True), 1) == [Line("ready", now)]


async def test_who_resumes_from_a_lost_cursor_has_caught_up_with_the_snapshot(rows: Rows) -> None:
    await rows.create(sale())

    lines = await told(rows.follow(None, "other.0", caught_up=True), 3)
    assert [line.event for line in lines] == ["reset", "existing", "ready"]


async def test_who_has_caught_up_is_told_what_comes_then(rows: Rows) -> None:
    async with closing(rows.follow(None, await rows.cursor(), caught_up=True)) as lines:
        assert (await anext(lines)).event == "ready"
        await rows.create(sale())
        assert (await anext(lines)).event == "created"
