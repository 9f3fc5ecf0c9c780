"""How calls find their way: a transport made of what goes from node to node, over a network within this process."""

import asyncio
from collections import Counter

import pytest

from hanse.kernel.faults import (
    Conflict,
    DeadlineExceeded,
    Internal,
    NotFound,
    Overloaded,
    Unavailable,
    UnknownOperation,
)
from hanse.kernel.message import Headers, Kind, Message
from hanse.kernel.route import Condition, Route, Rule
from hanse.mesh.balance import SPILL_IN_FLIGHT
from hanse.mesh.fault import undone_message
from hanse.mesh.sender import FAILED_MAX, FIRST_SECONDS, TRIES_MAX
from hanse.mesh.standing import FAILURES_MAX, LOST_SECONDS, OUT_SECONDS, SILENT_MAX, TRIAL_CALLS
from hanse.transport.base import Receiver, TellsTrouble

from .apart import Shop, Shops, call

pytestmark = pytest.mark.virtual_time


@pytest.fixture(params=[False, True], ids=["by request", "as clients call"], autouse=True)
def at_once(shops: Shops, request: pytest.FixtureRequest) -> None:
    shops.at_once = request.param


def now() -> float:
    return asyncio.get_running_loop().time()


async def never(_: Message) -> bytes:
    await asyncio.Event().wait()
    return b""


async def internal(_: Message) -> bytes:
    raise Internal("x")


async def asked(shop: Shop, calls: int = 200) -> Counter[str]:
    return Counter([await shop.ask(call(id=str(number))) for number in range(calls)])


# Who is found.


async def test_what_runs_here_is_handled_here(shops: Shops) -> None:
    one, _ = await shops.open("one", "orders"), await shops.open("two", "orders")
    assert await asked(one) == {"one": 200}
    assert one.direct.asked == []


async def test_what_runs_elsewhere_is_found_and_shared(shops: Shops) -> None:
    caller = await shops.open("caller")
    for name in ("one", "two"):
        await shops.open(name, "orders")
    assert set(await asked(caller)) == {"one", "two"}


async def test_what_nobody_ever_served_is_told_at_once_with_a_suggestion(shops: Shops) -> None:
    caller, _ = await shops.open("caller"), await shops.open("one", "orders", "rows/orders")
    await asyncio.sleep(FIRST_SECONDS)
    before = now()
    with pytest.raises(UnknownOperation, match="nobody serves 'order'; did you mean 'orders'"):
        await caller.ask(call("order.place"))
    with pytest.raises(UnknownOperation, match=r"nobody serves 'mail'; others serve orders$"):
        await caller.ask(call("mail.send"))
    assert now() == before


async def test_a_young_node_waits_a_moment_for_the_first_to_be_heard_of(shops: Shops) -> None:
    caller = await shops.open("caller")
    asking = asyncio.gather(caller.ask(), caller.ask(), caller.ask())
    await asyncio.sleep(FIRST_SECONDS / 2)
    await shops.open("mailer", "mail")
    await shops.open("one", "orders")
    assert set(await asking) == {"one"}
    assert now() == FIRST_SECONDS / 2


async def test_it_does_not_wait_for_ever(shops: Shops) -> None:
    caller = await shops.open("caller")
    with pytest.raises(UnknownOperation, match="others serve nothing"):
        await caller.ask()
    assert now() == pytest.approx(FIRST_SECONDS)


async def test_nor_longer_than_the_caller(shops: Shops) -> None:
    caller = await shops.open("caller")
    with pytest.raises(UnknownOperation):
        await caller.ask(call(timeout=0.5))
    assert now() == pytest.approx(0.5)


async def test_what_is_away_is_unavailable_and_not_unknown(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    await asyncio.sleep(FIRST_SECONDS)
    one.direct.kill()
    with pytest.raises(Unavailable, match="nobody serves 'orders' at the moment: one cannot be reached"):
        await caller.ask()
    caller.discovery.bury("one")
    with pytest.raises(Unavailable, match="nobody serves 'orders' at the moment: whoever did has gone"):
        await caller.ask()
    assert now() == FIRST_SECONDS


async def test_a_young_node_that_is_told_of_the_dead_waits_for_the_living(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.direct.kill()
    asking = asyncio.gather(caller.ask(), caller.ask())
    streams = asyncio.gather(anext(caller.routed.stream(Message(Kind.STREAM, "1", "orders.watch"))))
    await asyncio.sleep(FIRST_SECONDS / 2)
    await shops.open("two", "orders")
    assert set(await asking) == {"two"}
    assert [reply.kind for reply in await streams] == [Kind.ITEM]
    assert now() == FIRST_SECONDS / 2


async def test_a_young_node_asks_who_could_not_be_reached_again(shops: Shops) -> None:
    caller, _ = await shops.open("caller"), await shops.open("one", "orders")
    caller.routed.chooser.lost(next(iter(caller.routed.chooser.directory)), now())
    assert await caller.ask() == "one"
    assert now() == pytest.approx(LOST_SECONDS)


async def test_where_none_lives_it_waits_no_longer_than_the_caller(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.direct.kill()
    with pytest.raises(Unavailable, match="nobody serves 'orders' at the moment: one cannot be reached"):
        await caller.ask(call(timeout=0.5))
    assert now() == pytest.approx(0.5)


async def test_a_node_that_stops_listening_to_a_service_is_not_asked_for_it(shops: Shops) -> None:
    caller, one, _ = await shops.open("caller"), await shops.open("one", "orders"), await shops.open("two", "orders")
    one.routed.leave("orders")
    one.routed.leave("orders")
    await asyncio.sleep(0)
    assert await asked(caller) == {"two": 200}
    assert await asked(one) == {"two": 200}


async def test_what_is_announced_says_all_that_is_served_and_once_a_turn(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one")
    version = one.routed.here.version
    for name in ("orders", "rows/orders"):
        one.routed.listen(name, one)
    await asyncio.sleep(0)
    assert one.routed.here.names == ("orders", "rows/orders")
    assert one.routed.here.version == version + 1
    assert await caller.ask() == "one"


async def test_one_process_serves_a_service_once(shops: Shops) -> None:
    one = await shops.open("one", "orders")
    with pytest.raises(Conflict):
        one.routed.listen("orders", await shops.open("two"))


# Who fails.


async def test_who_is_killed_costs_the_calls_that_are_under_way_there_and_no_other(shops: Shops) -> None:
    caller, one, two = [
        await shops.open(name, *serves) for name, *serves in (["caller"], ["one", "orders"], ["two", "orders"])
    ]
    failed = 0
    for number in range(200):
        if number == 100:
            one.behaviour = never
            under_way = asyncio.gather(*(caller.ask(call(id=f"x{i}")) for i in range(10)), return_exceptions=True)
            await asyncio.sleep(0.001)
            one.direct.kill()
            failed = sum(isinstance(answer, Unavailable) for answer in await under_way)
            assert failed == len([message for message in one.came if message.id.startswith("x")])
        assert await caller.ask(call(id=str(number))) in ("one", "two")
        await asyncio.sleep(0.01)
    assert 0 < failed <= 10
    assert {message.id for message in two.came[-90:]} >= {str(number) for number in range(110, 200)}
    assert set(caller.discovery.suspected) == {"one"}


async def test_who_cannot_be_reached_costs_no_call_at_all(shops: Shops) -> None:
    caller, one, _ = await shops.open("caller"), await shops.open("one", "orders"), await shops.open("two", "orders")
    one.direct.kill()
    for number in range(100):
        assert await caller.ask(call(id=str(number))) == "two"
        await asyncio.sleep(LOST_SECONDS)


async def test_where_none_can_be_reached_the_search_ends(shops: Shops) -> None:
    caller = await shops.open("caller")
    gone = [await shops.open(f"shop{number}", "orders") for number in range(2 * TRIES_MAX)]
    for shop in gone:
        shop.direct.kill()
    with pytest.raises(Unavailable, match="nobody listens at local:shop"):
        await caller.ask()
    assert len(caller.discovery.suspected) == TRIES_MAX


async def test_one_that_is_found_again_is_asked_again(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    await asyncio.sleep(FIRST_SECONDS)
    caller.routed.chooser.lost(next(iter(caller.routed.chooser.directory)), now())
    with pytest.raises(Unavailable):
        await caller.ask()
    caller.discovery.hear(one.routed.here)
    assert await caller.ask() == "one"
    for _ in range(TRIAL_CALLS):
        await caller.ask()
    assert caller.standing("one") == "in"


async def test_who_fails_where_others_do_not_is_left_alone_and_comes_back(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    for name in ("two", "three"):
        await shops.open(name, "orders")
    one.behaviour = internal
    assert (await asked(caller))["internal"] == FAILURES_MAX
    assert caller.standing("one") == "outlier"
    one.behaviour = one._name
    await asyncio.sleep(OUT_SECONDS)
    assert (await asked(caller))["one"] > TRIAL_CALLS
    assert caller.standing("one") == "in"


async def test_where_all_fail_alike_nobody_is_left_alone(shops: Shops) -> None:
    caller = await shops.open("caller")
    for name in ("one", "two", "three"):
        (await shops.open(name, "orders")).behaviour = internal
    assert await asked(caller) == {"internal": 200}
    assert {caller.standing(name) for name in ("one", "two", "three")} == {"in"}


async def test_what_the_contract_knows_is_held_against_nobody(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    await shops.open("two", "orders")

    async def missing(_: Message) -> bytes:
        raise NotFound("order", "42")

    one.behaviour = missing
    counted = await asked(caller)
    assert counted["not_found"] > 50
    assert caller.standing("one") == "in"


async def test_who_never_answers_is_left_alone_even_if_nobody_else_is_there(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.behaviour = never
    for number in range(SILENT_MAX):
        with pytest.raises(DeadlineExceeded):
            await caller.ask(call(id=str(number), timeout=0.1))
    with pytest.raises(Unavailable, match="one has not answered several times in a row"):
        await caller.ask()
    one.behaviour = one._name
    await asyncio.sleep(OUT_SECONDS)
    assert await caller.ask() == "one"


async def test_who_works_at_its_limit_is_asked_less(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    await shops.open("two", "orders")

    async def full(_: Message) -> bytes:
        raise Overloaded("the limit of 1 at once")

    one.behaviour = full
    assert (await asked(caller))["overloaded"] < 10
    assert caller.standing("one") == "in"


async def test_another_try_goes_to_another_one(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    await shops.open("two", "orders")
    one.behaviour = internal
    for number in range(50):
        if await caller.ask(call(id=str(number))) == "internal":
            assert await caller.ask(call(id=str(number), headers=Headers(attempt=2))) == "two"
    assert one.came


async def test_another_try_goes_to_the_same_one_if_there_is_no_other(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.behaviour = internal
    await caller.ask()
    one.behaviour = one._name
    assert await caller.ask(call(headers=Headers(attempt=2))) == "one"


async def test_failed_calls_are_not_remembered_for_ever(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.behaviour = internal
    for number in range(FAILED_MAX + 10):
        await caller.ask(call(id=str(number)))
    assert len(caller.routed._sender._failed) == FAILED_MAX
    assert caller.routed._sender._at == {}


async def test_the_second_of_two_that_race_goes_to_another_one(shops: Shops) -> None:
    caller = await shops.open("caller")
    both = [await shops.open(name, "orders") for name in ("one", "two")]
    for shop in both:
        shop.behaviour = never
    async with asyncio.TaskGroup() as group:
        racing = [group.create_task(caller.ask(call(headers=Headers(attempt=number)))) for number in (1, 2)]
        await asyncio.sleep(0.1)
        for task in racing:
            task.cancel()
    assert [len(shop.came) for shop in both] == [1, 1]
    assert [len(shop.ended) for shop in both] == [1, 1]


# Who leaves.


async def test_who_drains_gets_no_new_calls_and_ends_those_under_way(shops: Shops) -> None:
    caller, one, _ = await shops.open("caller"), await shops.open("one", "orders"), await shops.open("two", "orders")
    done = asyncio.Event()

    async def slow(_: Message) -> bytes:
        await done.wait()
        return b"one"

    one.behaviour = slow
    under_way = asyncio.gather(*(caller.ask(call(id=str(number))) for number in range(20)))
    await asyncio.sleep(0)
    one.routed.drain()
    assert await asked(caller) == {"two": 200}
    done.set()
    assert set(await under_way) == {"one", "two"}


async def test_who_refuses_before_it_has_begun_costs_no_call(shops: Shops) -> None:
    caller, one, _ = await shops.open("caller"), await shops.open("one", "orders"), await shops.open("two", "orders")
    refuse_all(one, "orders")
    assert await asked(caller) == {"two": 200}
    assert one.came
    assert caller.standing("one") == "in"


async def test_where_all_refuse_the_refusal_comes_back(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    refuse_all(one, "orders")
    assert await caller.ask() == "unavailable"
    assert len(one.came) == 1
    replies = [reply async for reply in caller.routed.stream(Message(Kind.STREAM, "2", "orders.watch"))]
    assert [(reply.kind, reply.headers.type) for reply in replies] == [(Kind.FAULT, "unavailable")]


async def test_what_comes_for_a_service_that_has_left_is_refused_unbegun(shops: Shops) -> None:
    caller, one, _ = await shops.open("caller"), await shops.open("one", "orders"), await shops.open("two", "orders")
    one.routed.leave("orders")  # heard of with the next turn of the loop
    assert await asked(caller, 1) == {"two": 1}
    replies = [reply async for reply in one.routed.serve_stream(call())]
    assert [reply.headers.type for reply in replies] == ["unavailable"]


async def test_a_try_elsewhere_has_what_is_left_of_the_time(shops: Shops) -> None:
    caller, one, two = [
        await shops.open(name, *serves) for name, *serves in (["caller"], ["one", "orders"], ["two", "orders"])
    ]
    refuse_all(one, "orders", takes=4.0)
    for number in range(20):
        await caller.ask(call(id=str(number)))
    assert one.came
    assert {message.timeout for message in two.came} == {10.0, 6.0}
    answers = await asyncio.gather(
        *(caller.ask(call(id=str(number), timeout=4.0)) for number in range(20)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {str, DeadlineExceeded}


async def test_a_closed_node_says_so(shops: Shops) -> None:
    caller, _ = await shops.open("caller"), await shops.open("one", "orders")
    assert isinstance(caller.routed, TellsTrouble)
    assert caller.routed.trouble() == ""
    await caller.routed.close()
    await caller.routed.close()
    assert caller.routed.trouble() == "the transport is closed"
    with pytest.raises(Unavailable, match="the transport is closed"):
        await caller.ask()
    caller.routed.drain()
    caller.routed.listen("mail", caller)


async def test_closing_ends_what_waits_for_the_first(shops: Shops) -> None:
    caller = await shops.open("caller")
    asking = asyncio.gather(caller.ask(), return_exceptions=True)
    await asyncio.sleep(0)
    await caller.routed.close()
    (answer,) = await asking
    assert isinstance(answer, Unavailable)
    assert now() == 0.0


async def test_who_says_goodbye_is_forgotten_and_may_come_again(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    one.routed.drain()
    await one.routed.close()
    assert len(caller.routed.chooser.directory) == 0
    await one.routed.open()
    assert await caller.ask() == "one"


async def test_what_cannot_open_leaves_nothing_open(shops: Shops) -> None:
    one = await shops.open("one", "orders")
    two = await shops.open("two", "orders")
    two.direct.kill()
    two.direct.address = one.direct.address
    await two.routed.close()
    with pytest.raises(Exception, match="local:one is taken"):
        await two.routed.open()
    assert two.routed.trouble() == "the transport is closed"


# Streams.


async def test_a_stream_comes_from_one_instance_in_order(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    replies = [reply async for reply in caller.routed.stream(Message(Kind.STREAM, "1", "orders.watch"))]
    assert [reply.body.decode() for reply in replies] == ["one 0", "one 1", "one 2", ""]
    here = [reply async for reply in one.routed.stream(Message(Kind.STREAM, "2", "orders.watch"))]
    assert [reply.body for reply in here] == [reply.body for reply in replies]
    assert next(iter(caller.routed.chooser.directory)).in_flight == 0


async def test_a_stream_that_cannot_be_begun_begins_elsewhere(shops: Shops) -> None:
    caller, one, two = [
        await shops.open(name, *serves) for name, *serves in (["caller"], ["one", "orders"], ["two", "orders"])
    ]
    refuse_all(two, "orders")
    three = await shops.open("three", "orders")
    three.direct.kill()
    for number in range(10):
        stream = Message(Kind.STREAM, str(number), "orders.watch")
        assert [reply.kind async for reply in caller.routed.stream(stream)][-1] is Kind.END
    assert len(one.came) == 10
    assert two.came


async def test_a_stream_that_breaks_says_so(shops: Shops) -> None:
    caller, one = await shops.open("caller"), await shops.open("one", "orders")
    stream = caller.routed.stream(Message(Kind.STREAM, "1", "orders.watch"))
    await anext(stream)
    one.direct.kill()
    with pytest.raises(Unavailable, match="went away"):
        await anext(stream)


async def test_a_stream_of_what_nobody_serves_is_refused(shops: Shops) -> None:
    caller = await shops.open("caller")
    await asyncio.sleep(FIRST_SECONDS)
    with pytest.raises(UnknownOperation):
        await anext(caller.routed.stream(Message(Kind.STREAM, "1", "orders.watch")))


# Zones, releases, keys.


async def test_the_own_zone_is_asked_unless_it_is_busy(shops: Shops) -> None:
    caller = await shops.open("caller", zone="a")
    near, far = await shops.open("near", "orders", zone="a"), await shops.open("far", "orders", zone="b")
    assert await asked(caller) == {"near": 200}
    near.behaviour = far.behaviour = never
    async with asyncio.TaskGroup() as group:
        busy = [group.create_task(caller.ask(call(id=str(n)))) for n in range(2 * SPILL_IN_FLIGHT)]
        await asyncio.sleep(0)
        for task in busy:
            task.cancel()
    assert len(far.came) == SPILL_IN_FLIGHT


async def test_a_route_may_say_that_all_zones_are_alike(shops: Shops) -> None:
    caller = await shops.open("caller", zone="a")
    await shops.open("near", "orders", zone="a")
    await shops.open("far", "orders", zone="b")
    assert await asked(caller) == {"near": 200}
    caller.routed.route({"orders": Route(zones="any")})
    assert len(await asked(caller)) == 2
    assert {one.why for one in caller.routed.explain("orders.place").candidates if not one.taken} == {
        "is drawn by its weight, and asked if it is the lighter of two"
    }


async def test_a_route_shares_calls_among_releases_and_a_story_keeps_its_own(shops: Shops) -> None:
    caller, old = await shops.open("caller"), await shops.open("old", "orders", "mail", release="1.4")
    new = await shops.open("new", "orders", "mail", release="1.5")
    caller.routed.route({"orders": Route((Rule({"1.5": 1}, (Condition("tag.beta", "yes"),)), Rule({"1.4": 1})))})
    assert await asked(caller, 50) == {"old": 50}
    assert await caller.ask(call(headers=Headers(tags={"beta": "yes"}))) == "new"
    (came,) = new.came
    assert came.headers.release == "1.5"
    # Whatever it calls for that in turn stays with its release, though no route says anything of it.
    for number in range(20):
        assert await caller.ask(call("mail.send", id=str(number), headers=came.headers)) == "new"
    assert await old.ask(call("mail.send", headers=came.headers)) == "new"
    assert await old.ask(call("mail.send")) == "old"


async def test_a_release_that_is_away_is_not_insisted_on(shops: Shops) -> None:
    caller, _ = await shops.open("caller"), await shops.open("old", "orders", release="1.4")
    assert await caller.ask(call(headers=Headers(release="1.5"))) == "old"
    assert await caller.ask(call(headers=Headers(release="1.5", attempt=2))) == "old"


async def test_a_route_may_want_another_release_than_the_one_here(shops: Shops) -> None:
    old, new = await shops.open("old", "orders", release="1.4"), await shops.open("new", "orders", release="1.5")
    old.routed.route({"orders": Route((Rule({"1.5": 1}),))})
    assert await old.ask() == "new"
    await new.routed.close()
    assert await old.ask() == "old"


async def test_what_belongs_to_a_key_goes_to_the_same_one_from_everywhere(shops: Shops) -> None:
    all_of_them = [await shops.open(name, "orders") for name in ("one", "two", "three")]
    caller = await shops.open("caller")
    for shop in (caller, *all_of_them):
        shop.routed.route({"orders": Route(belongs_to="tag.room")})
    owners: list[str] = []
    for room in range(30):
        message = call(headers=Headers(tags={"room": str(room)}))
        answers = {await shop.ask(message) for shop in (caller, *all_of_them)}
        assert len(answers) == 1
        owners += answers
    assert set(owners) == {"one", "two", "three"}
    replies = [reply async for reply in caller.routed.stream(Message(Kind.STREAM, "1", "orders.watch"))]
    assert replies[-1].kind is Kind.END


def refuse_all(shop: Shop, service: str, *, takes: float = 0.0) -> None:
    """Have a node refuse what comes for a service before it has begun, as one does that stops."""

    class Refusing:
        async def serve(self, message: Message, /) -> Message:
            shop.came.append(message)
            await asyncio.sleep(takes)
            return undone_message(Unavailable("this node is stopping"), message.id)

        async def serve_stream(self, message: Message, /):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield await self.serve(message)

    shop.routed._local.leave(service)
    refusing: Receiver = Refusing()
    shop.routed.listen(service, refusing)
