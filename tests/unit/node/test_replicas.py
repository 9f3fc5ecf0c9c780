"""A replica has what its owner has, through stops of either side, trims, and changes of what it copies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.kernel.faults import Misdeclared, NotFound
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Created, Ready
from hanse.service.collection import Collection
from hanse.service.log_reader import CursorLost
from hanse.service.replica import Replica, ReplicaBehind, replica
from hanse.service.replicated import ReplicaOf
from hanse.service.replicator import Replicator
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.query import Query
from hanse.store.sqlite import InlineDesk, SqliteStore
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time


class Customer(Resource, indexed=("name",)):
    name: str
    active: bool = True
    notes: str = ""


class Named(Resource):
    name: str


class Other(Resource):
    text: str


class Customers(Service, owns=(Customer,)):
    customers: Collection[Customer]
    others: Collection[Other]


class Bills(Service):
    customers: Replica[Customer]
    named: Replica[Named] = replica(Named, of=Customer, where=lambda customer: customer.active)
    all: Collection[Customer]

    @rpc
    async def name_of(self, id: str, at_least: int | None = None) -> str:
        return (await self.customers.get(id, at_least=at_least)).name


APP = App("shop", Customers, Bills)


def inline(url: str) -> Store:
    return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())


class Pair:
    """Two nodes, with the customers and with the bills."""

    def __init__(self, folder: Path, host: Host) -> None:
        transport = MemoryTransport()

        def node(name: str, app: App = APP) -> Node:
            settings = Settings(node=NodeSettings(services=(name,), store=f"sqlite:///{folder}", grace=5.0))
            return Node(app, settings, host=host, transport=transport, stores=inline)

        self.node: Callable[..., Node] = node
        self.owner = node("customers")
        self.reader = node("bills")

    @property
    def bills(self) -> Bills:
        instance = self.reader.hosted[0].instance
        assert isinstance(instance, Bills)
        return instance

    @property
    def rows(self) -> Collection[Customer]:
        return self.owner.collection(Customer)

    async def forget(self) -> None:
        """The owner's log is trimmed to its end."""
        store = self.owner.hosted[0].store
        _ = await store.trim(self.owner.host.now() + 1.0, keep_after=await store.head())


@pytest.fixture
async def pair(tmp_path: Path, host: Host) -> Pair:
    return Pair(tmp_path, host)


@pytest.fixture
async def both(pair: Pair) -> AsyncIterator[Pair]:
    async with pair.owner, pair.reader:
        yield pair


async def names(copy: Replica[Customer] | Replica[Named]) -> list[str]:
    return sorted([row.name async for row in copy.scan()])


# What makes no sense


def test_a_class_of_some_fields_has_no_others() -> None:
    class Aged(Resource):
        age: int

    with pytest.raises(Misdeclared, match="copied from Customer, which has no 'age'"):
        replica(Aged, of=Customer)


def test_what_nobody_owns_is_not_copied() -> None:
    with pytest.raises(Misdeclared, match=r"Bills\.customers copies Customer, which no service .* owns"):
        App("shop", type("Bills", (Service,), {"__annotations__": {"customers": Replica[Customer]}})).check()


def test_what_it_owns_itself_a_service_does_not_copy() -> None:
    class Both(Service):
        own: Collection[Customer]
        copy: Replica[Customer]

    with pytest.raises(Misdeclared, match="which it owns itself; read its own"):
        App("shop", Both).check()


def test_before_a_node_has_wired_it_a_replica_says_so() -> None:
    with pytest.raises(AttributeError, match="before a node has wired its service"):
        _ = Bills(customers=None, all=None).named.find  # type: ignore[arg-type]


# What it has


async def test_it_has_what_was_there_and_what_comes(both: Pair) -> None:
    for name in ("Ada", "Bob", "Cy"):
        await both.rows.put(Customer(id=name, name=name, active=name != "Bob", notes="long"))
    await both.bills.customers.caught_up()
    await both.bills.named.caught_up()
    assert await names(both.bills.customers) == ["Ada", "Bob", "Cy"]
    assert await names(both.bills.named) == ["Ada", "Cy"]
    await both.rows.patch("Bob", active=True)
    await both.rows.patch("Cy", active=False)
    await both.rows.delete("Ada")
    await both.bills.customers.caught_up()
    await both.bills.named.caught_up()
    assert await names(both.bills.customers) == ["Bob", "Cy"]
    assert await names(both.bills.named) == ["Bob"]
    assert b"long" not in (await both.reader.hosted[0].store.find(_named(both).shape.collection, Query())).rows[0].value


async def test_it_is_asked_as_a_collection_is(both: Pair) -> None:
    for number in range(7):
        await both.rows.put(Customer(id=str(number), name=f"c{number}", active=number % 2 == 0))
    copy = both.bills.customers
    await copy.caught_up()
    page = await copy.find(lambda customer: customer.active, sort=lambda customer: customer.name, limit=3)
    assert [row.id for row in page.items] == ["0", "2", "4"]
    assert [row.id for row in (await copy.find(lambda customer: customer.active, limit=3, cursor=None)).items]
    assert await copy.count(lambda customer: customer.active) == 4
    with pytest.raises(NotFound):
        await copy.get("9")


async def test_its_rows_have_the_revision_that_their_owner_knows(both: Pair) -> None:
    written = await both.rows.put(Customer(id="1", name="Ada"))
    seen = await both.bills.customers.get("1", at_least=written.rev)
    assert seen == written
    changed = await both.bills.all.patch("1", if_match=seen.rev, name="Ada L.")
    assert (await both.bills.customers.get("1", at_least=changed.rev)).name == "Ada L."


async def test_it_tells_its_own_changes(both: Pair) -> None:
    await both.bills.named.caught_up()
    async with closing(both.bills.named.follow(lambda row: row.name == "Cy")) as changes:
        assert isinstance(await anext(changes), Ready)
        await both.rows.put(Customer(id="b", name="Bob"))
        await both.rows.put(Customer(id="c", name="Cy"))
        change = await anext(changes)
    assert isinstance(change, Created)
    assert change.after.id == "c"


# How fresh


async def test_a_handler_reads_what_was_written_before_it(both: Pair) -> None:
    for number in range(5):
        row = await both.rows.put(Customer(id="1", name=f"name {number}"))
        assert await both.reader.client(Bills).name_of("1", row.rev) == f"name {number}"


async def test_a_read_waits_for_nothing_that_its_copy_does_not_have(both: Pair) -> None:
    """A cursor past changes that the copy leaves out is reached without one that it has."""
    await both.rows.put(Customer(id="1", name="Ada"))
    await both.bills.customers.caught_up()
    other = await both.owner.collection(Other).put(Other(id="1", text="x"))
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert (await both.bills.customers.get("1", at_least=other.rev)).name == "Ada"
    assert (await both.bills.customers.get("1", at_least=await both.rows.cursor())).name == "Ada"
    assert loop.time() - before < 1.0


async def test_a_position_that_its_owner_never_had_is_not_waited_for(both: Pair) -> None:
    with pytest.raises(CursorLost):
        await both.bills.customers.find(at_least=1_000)


async def test_without_its_owner_it_answers_but_cannot_be_fresh(pair: Pair) -> None:
    async with pair.reader:
        async with pair.owner:
            row = await pair.rows.put(Customer(id="1", name="Ada"))
            await pair.bills.customers.get("1", at_least=row.rev)
        assert await pair.reader.client(Bills).name_of("1") == "Ada"
        with pytest.raises(ReplicaBehind, match="did not come as far"):
            await pair.bills.customers.caught_up(5.0)


# What goes wrong


async def test_it_goes_on_where_it_was_after_a_stop_of_either_side(pair: Pair) -> None:
    async with pair.owner:
        async with pair.reader:
            await pair.rows.put(Customer(id="1", name="Ada"))
            await pair.bills.customers.caught_up()
            head = await pair.reader.hosted[0].store.head()
        await pair.rows.put(Customer(id="2", name="Bob"))
        async with pair.reader:
            await pair.bills.customers.caught_up()
            await pair.bills.named.caught_up()
            assert await names(pair.bills.customers) == ["Ada", "Bob"]
            store = pair.reader.hosted[0].store
            written = [one.id for one in (await store.changes(head, limit=100)).entries if one.name.startswith("rep")]
            assert "1" not in written
    async with pair.reader:
        async with pair.owner:
            await pair.rows.put(Customer(id="3", name="Cy"))
        async with pair.owner:
            await pair.bills.customers.caught_up(60.0)
            assert await names(pair.bills.customers) == ["Ada", "Bob", "Cy"]


async def test_where_the_log_was_trimmed_rows_that_went_meanwhile_go(pair: Pair) -> None:
    async with pair.owner:
        async with pair.reader:
            for id in ("1", "2", "3"):
                await pair.rows.put(Customer(id=id, name=id))
            await pair.bills.customers.caught_up()
        await pair.rows.delete("2")
        await pair.rows.patch("3", name="3 anew")
        await pair.forget()
        async with pair.reader:
            await pair.bills.customers.caught_up(60.0)
            assert await names(pair.bills.customers) == ["1", "3 anew"]


async def test_other_rules_make_another_copy(pair: Pair) -> None:
    class Fewer(Service, name="bills"):
        named: Replica[Named] = replica(Named, of=Customer, where=lambda customer: customer.name == "Bob")

    async with pair.owner:
        async with pair.reader:
            for name in ("Ada", "Bob"):
                await pair.rows.put(Customer(id=name, name=name))
            await pair.bills.named.caught_up()
        async with pair.node("bills", App("shop", Customers, Fewer)) as node:
            copy = node.hosted[0].replicas[0]
            await copy.caught_up()
            assert await names(copy) == ["Bob"]


async def test_health_tells_what_a_replica_lacks(pair: Pair) -> None:
    async with pair.reader:
        early = (await pair.reader.health())["replica:bills/customers"]
        assert (early.state, bool(early.why)) == ("behind", True)
        async with pair.owner:
            await pair.rows.put(Customer(id="1", name="Ada"))
            await pair.bills.customers.caught_up(60.0)
            then = (await pair.reader.health())["replica:bills/customers"]
            assert (then.state, then.why, then.lag) == ("ok", "", 0)
        await asyncio.sleep(60.0)
        late = (await pair.reader.health())["replica:bills/customers"]
        assert late.state == "behind"
        assert "customers" in late.why


async def test_a_row_that_cannot_be_read_is_told_and_not_passed_over(pair: Pair) -> None:
    class Named2(Resource, topic="named", collection="named"):
        name: int

    class Strict(Service, name="bills"):
        named: Replica[Named2] = replica(Named2, of=Customer)

    async with pair.owner, pair.node("bills", App("shop", Customers, Strict)) as node:
        await pair.rows.put(Customer(id="1", name="Ada"))
        copy = node.hosted[0].replicas[0]
        with pytest.raises(ReplicaBehind, match="name"):
            await copy.caught_up(20.0)
        assert copy.trouble


async def test_two_that_copy_into_one_store_come_to_one_end(pair: Pair, host: Host) -> None:

    async with pair.owner, pair.reader, Tasks(lambda error: None) as tasks:
        second = Replicator("second", pair.reader.hosted[0].replicas[0], host=host)
        tasks.start(second.run())
        for number in range(40):
            await pair.rows.put(Customer(id=str(number % 7), name=f"name {number}"))
            await asyncio.sleep(0.3)
        await pair.bills.customers.caught_up(60.0)
        assert await names(pair.bills.customers) == sorted([row.name async for row in pair.rows.scan()])
        await second.stop()


def _named(pair: Pair) -> ReplicaOf[Named]:
    return pair.reader.hosted[0].replicas[1]
