"""A handler is a unit of work: it reads what it wrote, and all of it commits together, or nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import cast

import pytest
from msgspec.structs import replace

from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Conflict, DeadlineExceeded, Fault, Internal, NotFound, PreconditionFailed, TooLarge
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import policy
from hanse.node.node import Node
from hanse.service.local import CONFLICT_TRIES_MAX, LocalCollection, committed
from hanse.service.query import desc
from hanse.service.unit import WRITES_MAX, Unit
from hanse.store.memory import MemoryStore

from .shop import SCRIPTS, Order, Placed, Shop

Script = Callable[[Shop], Awaitable[object]]


class Refused(Fault):
    """The handler changed its mind."""


async def handle(node: Node, script: Script) -> object:
    """Run a script as one handler of the shop."""
    name = script.__qualname__
    SCRIPTS[name] = script
    try:
        return await node.client(Shop).run(name)
    finally:
        del SCRIPTS[name]


async def events(shop: Shop, node: Node) -> list[str]:
    store = node.hosted[0].store
    return [entry.name for entry in (await store.changes(0, limit=100)).entries]


async def test_a_handler_that_raises_has_written_nothing(node: Node, shop: Shop) -> None:
    async def script(shop: Shop) -> None:
        await shop.orders.create(Order(sku="tea"))
        await shop.emit(Placed(sku="tea"))
        raise Refused

    with pytest.raises(Refused):
        await handle(node, script)
    assert await events(shop, node) == []


async def test_a_handler_whose_answer_cannot_be_told_has_written_nothing(node: Node, shop: Shop) -> None:
    async def script(shop: Shop) -> object:
        await shop.orders.create(Order(sku="tea"))
        return object()

    with pytest.raises(Internal):
        await handle(node, script)
    assert await events(shop, node) == []


async def test_a_write_that_is_refused_takes_all_others_with_it(node: Node, shop: Shop) -> None:
    await shop.orders.create(Order(id="1", sku="tea"))

    async def script(shop: Shop) -> None:
        await shop.emit(Placed(sku="coffee"))
        await shop.orders.create(Order(id="2", sku="coffee"))
        await shop.orders.create(Order(id="1", sku="coffee"))

    with pytest.raises(Conflict):
        await handle(node, script)
    assert await events(shop, node) == ["orders"]


async def test_who_lost_a_race_is_told_at_the_commit(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea"))

    async def script(here: Shop) -> None:
        await here.orders.patch(order.id, status="mine")
        await node.collection(Order).patch(order.id, status="theirs")

    with pytest.raises(Conflict, match="somebody else changed"):
        await handle(node, script)
    assert (await shop.orders.get(order.id)).status == "theirs"


async def test_whose_row_is_gone_by_the_commit_has_lost_a_race_too(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea"))

    async def script(here: Shop) -> None:
        await here.orders.patch(order.id, status="mine")
        await node.collection(Order).delete(order.id)

    with pytest.raises(Conflict, match="somebody else changed"):
        await handle(node, script)


async def test_who_insisted_on_a_revision_of_a_row_that_is_gone_is_told_that(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea"))

    async def script(here: Shop) -> None:
        await here.orders.put(order)
        await node.collection(Order).delete(order.id)

    with pytest.raises(NotFound):
        await handle(node, script)


async def test_a_lone_write_makes_the_row_anew_that_was_taken_from_under_it(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea"))
    local, taken = cast("LocalCollection[Order]", shop.orders), list[Order]()

    async def stage(unit: Unit) -> Order:
        found = await local.peek(order.id)
        written = replace(order, sku="coffee")
        unit.put("orders", written, 0 if found is None else found.rev)
        if not taken:
            taken.append(order)
            await shop.orders.delete(order.id)
        return written

    _ = await committed(Unit(node.hosted[0].store, Context(node.host)), stage)
    assert (await shop.orders.get(order.id)).sku == "coffee"


async def test_who_insisted_on_a_revision_is_told_which_it_is(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea"))

    async def script(here: Shop) -> None:
        await here.orders.put(order)
        await node.collection(Order).patch(order.id, status="theirs")

    with pytest.raises(PreconditionFailed):
        await handle(node, script)


async def test_everything_commits_together_in_order(node: Node, shop: Shop) -> None:
    async def script(shop: Shop) -> Order:
        order = await shop.orders.create(Order(sku="tea"))
        await shop.emit(Placed(sku="tea"), Placed(sku="tea"))
        assert await shop.orders.cursor() == start
        return order

    start = await shop.orders.cursor()
    answer = await handle(node, script)
    assert cast("dict[str, int]", answer)["rev"] == 1, "the answer tells the revision of the commit"
    assert await events(shop, node) == ["orders", "placed", "placed"]


async def test_a_handler_reads_its_own_writes(node: Node, shop: Shop) -> None:
    await shop.orders.create(Order(id="1", sku="old"))
    await shop.orders.create(Order(id="2", sku="gone"))

    async def script(shop: Shop) -> None:
        await shop.orders.patch("1", sku="new")
        await shop.orders.delete("2")
        await shop.orders.create(Order(id="3", sku="new"))
        assert (await shop.orders.get("1")).sku == "new"
        with pytest.raises(NotFound):
            await shop.orders.get("2")
        assert [order.id for order in (await shop.orders.find(lambda o: o.sku == "new")).items] == ["1", "3"]
        assert (await shop.orders.count(), await shop.orders.count(lambda o: o.sku == "new")) == (2, 2)

    await handle(node, script)
    assert [order.id async for order in shop.orders.scan()] == ["1", "3"]


async def test_pages_of_a_handler_that_wrote_miss_and_repeat_nothing(node: Node, shop: Shop) -> None:
    for number in range(9):
        await shop.orders.create(Order(id=str(number), sku="x", amount=Decimal(number)))

    async def script(shop: Shop) -> list[str]:
        await shop.orders.patch("0", amount=Decimal("6.5"))
        await shop.orders.patch("8", amount=Decimal("2.5"))
        await shop.orders.delete("4")
        await shop.orders.create(Order(id="a", sku="x", amount=Decimal(5)))
        seen: list[str] = []
        cursor = None
        while True:
            page = await shop.orders.find(sort=lambda o: desc(o.amount), limit=2, cursor=cursor)
            assert len(page.items) <= 2
            seen += (order.id for order in page.items)
            cursor = page.next
            if cursor is None:
                return seen

    assert await handle(node, script) == ["7", "0", "6", "5", "a", "3", "8", "2", "1"]


async def test_a_page_reads_on_past_rows_that_the_handler_removed(node: Node, shop: Shop) -> None:
    for number in range(8):
        await shop.orders.create(Order(id=str(number), sku="x"))

    async def script(shop: Shop) -> None:
        for number in range(6):
            await shop.orders.delete(str(number))
        page = await shop.orders.find(limit=1)
        assert [order.id for order in page.items] == ["6"]
        page = await shop.orders.find(limit=1, cursor=page.next)
        assert ([order.id for order in page.items], page.next) == (["7"], None)

    await handle(node, script)


async def test_a_lone_write_that_lost_a_race_is_run_again_on_what_the_winner_left(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea", amount=Decimal(0)))
    local = cast("LocalCollection[Order]", shop.orders)

    async def add() -> None:
        await local.change(order.id, lambda row: replace(cast("Order", row), amount=cast("Order", row).amount + 1))

    await asyncio.gather(*(add() for _ in range(5)))
    assert (await shop.orders.get(order.id)).amount == 5


async def test_whoever_loses_every_race_is_told(node: Node, shop: Shop) -> None:
    unit, tries = Unit(node.hosted[0].store, Context(node.host)), 0
    order = await shop.orders.create(Order(sku="tea"))

    async def stage(unit: Unit) -> None:
        nonlocal tries
        tries += 1
        unit.put("orders", order, 999)

    with pytest.raises(Conflict):
        await committed(unit, stage)
    assert tries == CONFLICT_TRIES_MAX


async def test_what_a_task_writes_after_its_handler_commits_by_itself(node: Node, shop: Shop) -> None:
    async def late(shop: Shop) -> None:
        await gate.wait()
        await shop.orders.create(Order(id="late", sku="tea"))

    async def script(shop: Shop) -> None:
        await shop.orders.create(Order(id="early", sku="tea"))
        tasks.start(late(shop))

    gate = asyncio.Event()
    async with Tasks(print) as tasks:
        await handle(node, script)
        gate.set()
        await tasks.wait()
    assert await shop.orders.count() == 2


async def test_a_row_written_over_and_over_is_one_change(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(sku="tea"))

    async def script(shop: Shop) -> None:
        await shop.orders.patch(order.id, status="paid")
        await shop.orders.patch(order.id, note="x")
        await shop.orders.delete(order.id)
        await shop.orders.create(Order(id=order.id, sku="coffee"))

    await handle(node, script)
    assert await events(shop, node) == ["orders", "orders"]
    assert (await shop.orders.get(order.id)).sku == "coffee"


@pytest.mark.parametrize("how", ["create", "put"])
async def test_what_a_handler_made_and_removed_never_was(node: Node, shop: Shop, how: str) -> None:
    async def script(shop: Shop) -> None:
        await getattr(shop.orders, how)(Order(id="1", sku="tea"))
        await shop.orders.delete("1")

    await handle(node, script)
    assert await events(shop, node) == []


async def test_a_row_put_over_an_old_one_and_removed_is_gone(node: Node, shop: Shop) -> None:
    await shop.orders.create(Order(id="1", sku="old"))

    async def script(shop: Shop) -> None:
        await shop.orders.put(Order(id="1", sku="new"))
        await shop.orders.delete("1")

    await handle(node, script)
    assert await shop.orders.count() == 0


async def test_a_handler_is_told_at_once_and_may_do_something_else(node: Node, shop: Shop) -> None:
    order = await shop.orders.create(Order(id="1", sku="tea"))
    await shop.orders.patch("1", status="paid")

    async def script(shop: Shop) -> None:
        with pytest.raises(Conflict, match="there is a order '1' already"):
            await shop.orders.create(Order(id="1", sku="coffee"))
        with pytest.raises(PreconditionFailed, match="is at 2, not at 1"):
            await shop.orders.put(order)
        await shop.orders.put(await shop.orders.get("1"))
        await shop.orders.patch("1", sku="coffee")

    await handle(node, script)
    assert (await shop.orders.get("1")).sku == "coffee"


async def test_an_id_that_the_handler_made_is_taken_for_it_too(node: Node, shop: Shop) -> None:
    async def script(shop: Shop) -> None:
        await shop.orders.create(Order(id="1", sku="tea"))
        await shop.orders.create(Order(id="1", sku="coffee"))

    with pytest.raises(Conflict, match="there is a order '1' already; patch it, or choose another id"):
        await handle(node, script)


async def test_outside_a_handler_each_write_commits_by_itself(node: Node, shop: Shop) -> None:
    await shop.emit(Placed(sku="tea"))
    assert (await shop.orders.create(Order(sku="tea"))).rev == 2
    assert await events(shop, node) == ["placed", "orders"]


async def test_a_unit_of_work_has_a_limit() -> None:
    unit = Unit(MemoryStore(), Context(Host.fixed(wall=0.0, seed=1)))
    for _ in range(WRITES_MAX):
        unit.emit("placed", "", b"{}")
    with pytest.raises(TooLarge, match="a unit of work is over its limit of 10000 writes"):
        unit.emit("placed", "", b"{}")


async def test_an_entry_remembers_what_led_to_it(node: Node, shop: Shop) -> None:
    async def script(shop: Shop) -> None:
        await shop.emit(Placed(sku="tea"))

    with node.context() as context:
        context.tag(booking_ref="ABC123")
        await handle(node, script)
    [entry] = (await node.hosted[0].store.changes(0, limit=10)).entries
    assert entry.headers.tags == {"booking_ref": "ABC123"}
    assert entry.headers.causation_id == entry.headers.correlation_id != ""


async def test_a_service_made_by_hand_keeps_its_events() -> None:
    shop = Shop(orders=None)  # type: ignore[arg-type]
    await shop.emit(Placed(sku="tea"))
    assert shop.__dict__["_outlet"].emitted == [Placed(sku="tea")]
    assert ambient.get().work is None


async def test_a_handler_that_ends_after_its_deadline_has_written_nothing(node: Node, shop: Shop) -> None:
    """Its caller was told that there is no answer, and nobody can be told otherwise."""

    async def script(shop: Shop) -> None:
        await shop.orders.create(Order(sku="tea"))
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    SCRIPTS["stubborn"] = script
    with pytest.raises(DeadlineExceeded):
        await policy(node.client(Shop), timeout="20ms").run("stubborn")
    assert await events(shop, node) == []
