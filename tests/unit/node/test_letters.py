"""Dead letters are seen, mended, rehearsed, replayed and dropped: once in effect, in the order of their keys."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.delivery.action import HALT_LEAST, LetterAction, Selection
from hanse.delivery.deadletter import DEAD_LETTERS, letter_in, letter_json
from hanse.delivery.drawers import place_of_drawer
from hanse.delivery.retry import Terminal
from hanse.kernel.context import current
from hanse.kernel.faults import (
    Forbidden,
    Invalid,
    Malformed,
    Misdeclared,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.events import NotEditable
from hanse.node.letters import Letters, Waits, letters_of
from hanse.node.node import Node
from hanse.service.cluster import Lock
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.store.base import Batch, Position, Put
from hanse.store.query import Query

ADA = Headers(identity=Identity("ada", "acme", frozenset({"deadletters:write"})))
EVE = Headers(identity=Identity("eve", scopes=frozenset({"deadletters:read"})))


class Placed(Event):
    order_id: str
    number: int = 0
    sku: str = "tea"


class Shop(Service, events=(Placed,)):
    @rpc
    async def place(self, order_id: str, numbers: int = 1, sku: str = "tea") -> None:
        for number in range(numbers):
            await self.emit(Placed(order_id=order_id, number=number, sku=sku))

    @rpc
    async def charge(self, order_id: str) -> None:
        CHARGED.append(order_id)


class Receipt(Resource):
    order_id: str
    numbers: list[int]


class Sent(Event):
    order_id: str


class Stamp(Resource):
    text: str


class Stamps(Service, owns=(Stamp,)):
    stamps: Collection[Stamp]

    @rpc
    async def buy(self, text: str) -> None:
        await self.stamps.put(Stamp(id=text, text=text))


class Mailer(Service, events=(Sent,)):
    receipts: Collection[Receipt]
    stamps: Collection[Stamp]
    shop: Shop
    desk: Lock

    @on(Placed, key=lambda event: event.order_id)
    async def receipt(self, event: Placed) -> None:
        fail(event)
        if BESIDE:
            await BESIDE.pop()()
        try:
            row = await self.receipts.get(event.order_id)
        except NotFound:
            row = await self.receipts.create(Receipt(id=event.order_id, order_id=event.order_id, numbers=[]))
        await self.receipts.patch(row.id, numbers=[*row.numbers, event.number])
        await self.emit(Sent(order_id=event.order_id))
        SUBJECTS.append(current().identity.subject)

    @on(Placed, key=lambda event: event.order_id, ordered=False)
    async def post(self, event: Placed) -> None:
        match event.sku:
            case "calls":
                fail(event)
                await self.shop.charge(event.order_id)
            case "reads":
                fail(event)
                assert (await self.stamps.get("red")).text == "red"
            case "locks":
                fail(event)
                async with self.desk.hold("one"):
                    await self.receipts.create(Receipt(id="lock", order_id="lock", numbers=[]))
            case "writes elsewhere":
                fail(event)
                await self.stamps.create(Stamp(text="blue"))
            case _:
                pass


class Office(Service):
    letters: Letters = letters_of(Mailer)

    @rpc
    async def failed(self) -> list[str]:
        return [line.text for line in (await self.letters.find(Selection())).items]


APP = App("shop", Shop, Stamps, Mailer)
LOOKS_MAX = 20_000
BROKEN: dict[str, Exception] = {}
RUNS: list[tuple[str, int]] = []
CHARGED: list[str] = []
SUBJECTS: list[str] = []
BESIDE: list[Callable[[], Awaitable[None]]] = []


def fail(event: Placed) -> None:
    RUNS.append((event.order_id, event.number))
    for name in (event.order_id, event.sku, f"{event.order_id}/{event.number}", "*"):
        if name in BROKEN:
            raise BROKEN[name]


@pytest.fixture(autouse=True)
def _forget() -> None:
    for noted in (BROKEN, RUNS, CHARGED, SUBJECTS, BESIDE):
        noted.clear()


@asynccontextmanager
async def shop(settings: Settings | None = None) -> AsyncGenerator[tuple[Node, Letters]]:
    """The shop, and the dead letters of its mailer, for an operator."""
    async with Node(APP, settings or Settings()) as node:
        with node.context(ADA):
            yield node, node.letters("mailer")


async def park(node: Node, *order_ids: str, numbers: int = 1, sku: str = "tea") -> None:
    """Have events come to their ends, well or parked."""
    for order_id in order_ids:
        await node.client(Shop).place(order_id, numbers, sku)
    async with asyncio.timeout(60):
        await node.settle()


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Let the node work until something is so; each look is a turn of the loop and some reads."""
    for _ in range(LOOKS_MAX):
        if await reached():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"it was not so after {LOOKS_MAX} looks")


async def done(letters: Letters, action: LetterAction) -> LetterAction:
    """The action, once it has ended."""

    async def over() -> bool:
        return (await letters.action(action.id)).state != "running"

    await until(over)
    return await letters.action(action.id)


async def numbers(node: Node, order_id: str) -> list[int]:
    return (await node.collection(Receipt).get(order_id)).numbers


async def test_a_service_reads_the_letters_of_another_for_those_who_may_see_them() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with Node(App("shop", Shop, Stamps, Mailer, Office)) as node:
        await park(node, "1")
        with node.context(EVE):
            assert await node.client(Office).failed() == ["no printer"]
        with node.context(Headers(identity=Identity("bob"))), pytest.raises(Forbidden, match="deadletters:read"):
            await node.client(Office).failed()


def test_letters_of_a_service_that_the_app_does_not_have_are_refused() -> None:
    with pytest.raises(
        Misdeclared, match=r"Office\.letters is about Mailer, which is no service of the app 'shop'; it"
    ):
        App("shop", Shop, Office).check()


async def test_letters_cannot_be_read_before_a_node_has_wired_their_field() -> None:
    with pytest.raises(
        AttributeError, match=r"this client of deadletters/mailer has no 'find' before a node has wired"
    ):
        await Office().failed()


async def test_dead_letters_are_listed_and_shown_with_their_story() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        with node.context(ADA) as context:
            context.tag(booking_ref="ABC")
            await park(node, "1", numbers=2)
        first, second = (await letters.find(Selection())).items
        assert (first.group, first.topic, first.key, first.code) == ("mailer.receipt", "placed", "1", "terminal")
        assert (first.text, first.attempts, first.waits_for, first.tags) == (
            "no printer",
            1,
            "",
            {"booking_ref": "ABC"},
        )
        assert (second.waits_for, second.fingerprint) == (first.id, first.fingerprint)
        shown, behind = await letters.get(first.id), await letters.get(second.id)
    assert json.loads(shown.value) == {"order_id": "1", "number": 0, "sku": "tea"}
    assert (shown.behind, shown.blocker, shown.subject, shown.op) == (1, "", "ada", "emitted")
    assert (behind.behind, behind.blocker) == (0, first.id)


async def test_they_are_counted_by_the_way_in_which_they_failed() -> None:
    BROKEN.update({"1": Terminal("no printer"), "2": Terminal("no paper"), "3": Malformed("no order")})
    async with shop() as (node, letters):
        assert (await letters.groups()).items == []
        await park(node, "1", "2", "3", numbers=2)
        most, other = (await letters.groups()).items
        assert (most.code, most.count, most.waiting) == ("terminal", 2, 2)
        assert (other.code, other.count, other.waiting, other.group) == ("malformed", 1, 1, "mailer.receipt")
        assert await letters.count(Selection(fingerprint=most.id)) == 4
        page = await letters.find(Selection(code="terminal"), limit=1)
        rest = await letters.find(Selection(code="terminal"), limit=9, cursor=page.next)
        assert [one.key for one in (*page.items, *rest.items)] == ["1", "2"]


async def test_only_operators_reach_them() -> None:
    async with shop() as (node, letters):
        with node.context(), pytest.raises(Unauthenticated):
            await letters.find(Selection())
        with node.context(Headers(identity=Identity("bob"))), pytest.raises(Forbidden, match="deadletters:read"):
            await letters.groups()
        with node.context(EVE):
            assert await letters.count(Selection()) == 0
            with pytest.raises(Forbidden, match="deadletters:write"):
                await letters.replay(Selection())


async def test_a_replay_takes_effect_once_and_in_the_order_of_the_key() -> None:
    BROKEN["1/1"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1", numbers=5)
        assert await numbers(node, "1") == [0]
        BROKEN.clear()
        failed = (await letters.find(Selection(code="terminal"))).items[0]
        action = await done(letters, await letters.replay(Selection(ids=(failed.id,))))
        assert (action.state, action.asked, action.sent, action.succeeded, action.failed) == ("done", 4, 4, 4, 0)
        assert action.who == "acme/ada"
        assert await numbers(node, "1") == [0, 1, 2, 3, 4]
        assert await letters.count(Selection()) == 0
        told = (await letters.outcomes(action.id)).items
        assert [(one.what, one.key, one.group) for one in told] == [("succeeded", "1", "mailer.receipt")] * 4
        await park(node, "1")
        assert await numbers(node, "1") == [0, 1, 2, 3, 4, 0], "the key goes on"


async def test_the_handler_of_a_replay_works_for_whom_the_message_was() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        with node.context(EVE):
            await park(node, "1")
        BROKEN.clear()
        await done(letters, await letters.replay(Selection()))
    assert SUBJECTS == ["eve"]


async def test_what_fails_again_keeps_its_place_and_those_behind_it() -> None:
    BROKEN["1"] = BROKEN["2"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1", "2", numbers=3)
        BROKEN.clear()
        BROKEN["1/1"] = Malformed("no number")
        action = await done(letters, await letters.replay(Selection()))
        assert (action.state, action.asked, action.succeeded, action.failed) == ("done", 6, 4, 1)
        assert (await numbers(node, "1"), await numbers(node, "2")) == ([0], [0, 1, 2])
        head, behind = (await letters.find(Selection())).items
        assert (head.code, head.attempts, head.waits_for) == ("malformed", 1, "")
        assert (await letters.get(behind.id)).blocker == head.id
        BROKEN.clear()
        again = await done(letters, await letters.replay(Selection(ids=(head.id,))))
        assert (again.succeeded, again.asked) == (2, 2)
        assert await numbers(node, "1") == [0, 1, 2]


async def test_one_that_waits_is_not_replayed_before_the_one_that_failed() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1", numbers=2)
        first, second = (await letters.find(Selection())).items
        with pytest.raises(Waits, match=f"waits behind '{first.id}'"):
            await letters.replay(Selection(ids=(second.id,)))
        with pytest.raises(NotFound):
            await letters.replay(Selection(ids=("nothing",)))
        with pytest.raises(Invalid):
            await letters.replay(Selection(), rate=-1.0)


async def test_what_a_dropped_one_held_up_is_handled() -> None:
    BROKEN["1/0"] = BROKEN["2/0"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1", "2", numbers=3)
        failed = (await letters.find(Selection(code="terminal", key="1"))).items[0]
        action = await done(letters, await letters.drop(Selection(ids=(failed.id,))))
        assert (action.dropped, action.succeeded, action.asked) == (1, 2, 3)
        assert await numbers(node, "1") == [1, 2]
        every = await done(letters, await letters.drop(Selection(key="2")))
        assert (every.dropped, every.succeeded) == (3, 0)
        assert await letters.count(Selection()) == 0
        assert len(RUNS) == 4, "two that failed, two that were released"


async def test_a_replay_halts_when_too_many_fail_again() -> None:
    BROKEN["*"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, *map(str, range(HALT_LEAST + 5)))
        action = await done(letters, await letters.replay(Selection()))
        assert (action.state, action.failed, action.asked) == ("halted", HALT_LEAST, HALT_LEAST + 5)
        assert action.why == "10 of 10 have failed again, and at most 50% may"
        never = await done(letters, await letters.replay(Selection(), halt=1.0))
        assert (never.state, never.failed) == ("done", HALT_LEAST + 5)


async def test_nothing_takes_effect_once_a_replay_is_stopped() -> None:
    BROKEN["*"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, *map(str, range(5)))
        BROKEN.clear()
        action = await letters.replay(Selection(), rate=0.001)

        async def begun() -> bool:
            return (await letters.action(action.id)).sent > 0

        await until(begun)
        stopped = await letters.stop(action.id)
        assert (stopped.state, stopped.sent, stopped.ended_by) == ("stopped", 1, "acme/ada")
        assert await letters.stop(action.id) == stopped
        assert await letters.count(Selection()) == 4
        with pytest.raises(NotFound):
            await letters.stop("nothing")


async def test_an_outage_is_waited_out_and_is_no_failure() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1")
        BROKEN["1"] = Unavailable("payments are away")
        runs = len(RUNS)
        action = await letters.replay(Selection())

        async def tried() -> bool:
            return len(RUNS) >= runs + 3

        await until(tried)
        BROKEN.clear()
        action = await done(letters, action)
        assert (action.succeeded, action.failed) == (1, 0)


async def test_one_that_nobody_handles_any_more_fails_again_and_can_be_dropped() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1")
        store = next(hosted.store for hosted in node.hosted if hosted.part.name == "mailer")
        [row] = (await store.find(DEAD_LETTERS, Query())).rows
        letter = letter_in(row)
        gone = letter.message.replace(b"mailer.receipt.handle", b"mailer.renamed.handle")
        value = letter_json(msgspec.structs.replace(letter, message=gone))
        await store.commit(Batch(0.0, writes=(Put(DEAD_LETTERS, letter.id, value, "x1", expected=letter.rev),)))
        action = await done(letters, await letters.replay(Selection()))
        assert (action.failed, (await letters.find(Selection())).items[0].code) == (1, "unknown_operation")
        assert (await done(letters, await letters.drop(Selection()))).dropped == 1


async def test_an_edit_is_checked_and_keeps_the_original() -> None:
    BROKEN["coffee"] = Terminal("no coffee")
    async with shop() as (node, letters):
        await park(node, "1", sku="coffee")
        [line] = (await letters.find(Selection())).items
        with pytest.raises(Invalid, match="number"):
            await letters.edit(line.id, b'{"order_id": "1", "number": "many"}')
        with pytest.raises(Malformed):
            await letters.edit(line.id, b"{", patch=True)
        with pytest.raises(NotEditable, match="it is in order with '1', and would be with '2' then"):
            await letters.edit(line.id, b'{"order_id": "2"}', patch=True)
        with pytest.raises(Invalid, match="placed has no /numbr; correct the name"):
            await letters.edit(line.id, b'{"numbr": 7}', patch=True)
        with pytest.raises(PreconditionFailed):
            await letters.edit(line.id, b"{}", patch=True, if_match=99)
        shown = await letters.edit(line.id, b'{"sku": "tea", "number": 7}', patch=True, if_match=line.rev)
        again = await letters.edit(line.id, b'{"order_id": "1", "number": 8}')
        assert json.loads(again.original) == {"order_id": "1", "number": 0, "sku": "coffee"}
        assert (json.loads(shown.value)["number"], json.loads(again.value)["number"]) == (7, 8)
        assert (await letters.find(Selection())).items[0].edited
        await done(letters, await letters.replay(Selection()))
        assert await numbers(node, "1") == [8]
        kinds = [(one.kind, one.who, one.state) for one in (await letters.actions()).items]
        assert sorted(kinds) == [("edit", "acme/ada", "done")] * 2 + [("replay", "acme/ada", "done")]


async def test_a_rehearsal_tells_what_would_be_and_leaves_nothing() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1")
        [line] = (await letters.find(Selection())).items
        failing = await letters.rehearse(line.id)
        assert (failing.code, failing.text, failing.rows) == ("terminal", "no printer", ())
        BROKEN.clear()
        found = await letters.rehearse(line.id)
        [row], [event] = found.rows, found.events
        assert (row.collection, row.id, row.before) == ("receipts", "1", "")
        assert (json.loads(row.after)["numbers"], event.topic, found.code) == ([0], "sent", "")
        with pytest.raises(NotFound):
            await numbers(node, "1")
        assert (await letters.get(line.id)).line.rev == line.rev
        assert [one.kind for one in (await letters.actions()).items] == ["dry_run", "dry_run"]
        with pytest.raises(NotFound):
            await letters.rehearse("nothing")


@pytest.mark.parametrize(
    ("sku", "refused"),
    [("calls", "its handler calls shop.charge"), ("writes elsewhere", "its handler calls rows/stamps.create")],
)
async def test_a_rehearsal_refuses_calls_that_may_change_something(sku: str, refused: str) -> None:
    BROKEN[sku] = Terminal("not yet")
    async with shop() as (node, letters):
        await park(node, "1", sku=sku)
        BROKEN.clear()
        [line] = (await letters.find(Selection(group="mailer.post"))).items
        found = await letters.rehearse(line.id)
    assert found.code == "not_in_rehearsal"
    assert refused in found.text
    assert CHARGED == []


async def test_a_rehearsal_may_read_rows_of_others() -> None:
    BROKEN["reads"] = Terminal("not yet")
    async with shop() as (node, letters):
        await node.client(Stamps).buy("red")
        await park(node, "1", sku="reads")
        BROKEN.clear()
        [line] = (await letters.find(Selection(group="mailer.post"))).items
        found = await letters.rehearse(line.id)
    assert (found.code, found.reads) == ("", ("rows/stamps.get",))


async def test_a_rehearsal_gives_back_the_locks_that_it_took() -> None:
    BROKEN["locks"] = Terminal("not yet")
    async with shop() as (node, letters):
        await park(node, "1", sku="locks")
        BROKEN.clear()
        [line] = (await letters.find(Selection(group="mailer.post"))).items
        for _ in range(2):
            assert (await letters.rehearse(line.id)).rows[0].id == "lock"
        action = await done(letters, await letters.replay(Selection(ids=(line.id,))))
        assert action.succeeded == 1


async def test_messages_that_come_while_a_key_is_released_are_not_left_behind() -> None:
    BROKEN["1"] = Terminal("no printer")
    async with shop() as (node, letters):
        await park(node, "1", numbers=3)
        BROKEN.clear()
        action, _ = await asyncio.gather(letters.replay(Selection()), node.client(Shop).place("1", 20))
        await done(letters, action)
        await park(node)
        left = (await letters.find(Selection())).items
        assert left == []
        assert sorted(await numbers(node, "1")) == sorted([*range(3), *range(20)])


async def test_a_handler_that_something_was_parked_beside_is_run_again_as_a_whole() -> None:
    async with shop() as (node, _):
        store = next(hosted.store for hosted in node.hosted if hosted.part.name == "mailer")
        place = place_of_drawer("mailer.receipt", "1")

        async def park_beside() -> None:
            await store.commit(Batch(0.0, positions=(Position(place, await store.position(place) + 1),)))

        BESIDE.append(park_beside)
        await park(node, "1")
        assert (RUNS, await numbers(node, "1")) == ([("1", 0), ("1", 0)], [0])


async def test_a_replay_is_gone_on_with_by_the_next_process(tmp_path: Path) -> None:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}/{{service}}.db"))
    BROKEN["*"] = Terminal("no printer")
    async with shop(settings) as (node, letters):
        await park(node, *map(str, range(6)))
        BROKEN.clear()
        action = await letters.replay(Selection(), rate=1_000.0)
    async with shop(settings) as (node, letters):
        ended = await done(letters, action)
        assert (ended.state, ended.succeeded, ended.asked) == ("done", 6, 6)
        assert [await numbers(node, str(n)) for n in range(6)] == [[0]] * 6
