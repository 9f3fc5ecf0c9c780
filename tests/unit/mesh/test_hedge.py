import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from hanse.contract.declare import rpc
from hanse.kernel.faults import Fault, Internal, Misdeclared, NotFound, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.chain import Handler, chain
from hanse.mesh.client import policy
from hanse.mesh.fault import fault_message
from hanse.mesh.hedge import LATENCIES_LOOKED, LATENCIES_MAX, LATENCIES_MIN, Pace, hedging
from hanse.mesh.retry import BUDGET_MAX, BUDGET_RATIO, Budget
from hanse.node.node import Node
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time
CALL = Message(Kind.CALL, "1", "orders.get", 10.0)


def paced(seconds: float = 0.1) -> Pace:
    pace = Pace()
    for _ in range(LATENCIES_MIN):
        pace.answered(seconds)
    return pace


class Instances:
    """Each call goes to another one: how long it takes, and what it answers."""

    def __init__(self, *behaviours: tuple[float, Fault | bytes]) -> None:
        self.came: list[Message] = []
        self.ended: list[float] = []
        self._behaviours = behaviours

    async def __call__(self, message: Message) -> Message:
        takes, answer = self._behaviours[len(self.came)]
        self.came.append(message)
        try:
            await asyncio.sleep(takes)
        finally:
            self.ended.append(now())
        if isinstance(answer, Unavailable):
            raise answer
        return fault_message(answer, "1") if isinstance(answer, Fault) else Message(Kind.REPLY, "1", "", body=answer)

    def hedged(self, host: Host, *, pace: Pace | None = None, budget: Budget | None = None) -> Handler:
        return chain(self, hedging(pace or paced(), budget or Budget(), host))


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_fast_call_is_made_once(host: Host) -> None:
    target = Instances((0.05, b"first"))
    assert (await target.hedged(host)(CALL)).body == b"first"
    assert len(target.came) == 1


async def test_a_slow_call_is_made_once_more_and_the_loser_is_cancelled(host: Host) -> None:
    target = Instances((5.0, b"first"), (0.05, b"second"))
    assert (await target.hedged(host)(CALL)).body == b"second"
    assert now() == pytest.approx(0.15)
    assert target.ended == pytest.approx([0.15, 0.15])
    assert [message.headers.attempt for message in target.came] == [1, 2]
    assert [message.timeout for message in target.came] == [10.0, 9.9]


async def test_the_first_may_still_win(host: Host) -> None:
    target = Instances((0.15, b"first"), (5.0, b"second"))
    assert (await target.hedged(host)(CALL)).body == b"first"
    assert target.ended == pytest.approx([0.15, 0.15])


@pytest.mark.parametrize("failure", [Unavailable("x"), Internal("x")])
async def test_the_other_is_waited_for_where_one_fails(host: Host, failure: Fault) -> None:
    target = Instances((0.15, failure), (1.0, b"second"))
    assert (await target.hedged(host)(CALL)).body == b"second"


async def test_what_the_contract_knows_is_an_answer(host: Host) -> None:
    target = Instances((0.15, NotFound("order", "42")), (1.0, b"second"))
    assert (await target.hedged(host)(CALL)).headers.type == "not_found"


async def test_where_both_fail_it_fails(host: Host) -> None:
    target = Instances((0.15, Unavailable("x")), (1.0, Unavailable("y")))
    with pytest.raises(Unavailable, match="y"):
        await target.hedged(host)(CALL)


async def test_without_a_budget_it_waits_for_the_first(host: Host) -> None:
    budget = Budget()
    budget.tokens = 0.0
    target = Instances((5.0, b"first"))
    assert (await target.hedged(host, budget=budget)(CALL)).body == b"first"


async def test_a_hedge_is_paid_for_out_of_the_budget(host: Host) -> None:
    budget = Budget()
    await Instances((5.0, b"first"), (0.0, b"second")).hedged(host, budget=budget)(CALL)
    assert budget.tokens == BUDGET_MAX - 1


async def test_first_calls_pay_for_it_where_nobody_retries(host: Host) -> None:
    budget = Budget()
    budget.tokens = 0.0
    await chain(Instances((0.05, b"first")), hedging(paced(), budget, host, earns=True))(CALL)
    assert budget.tokens == BUDGET_RATIO


async def test_until_it_is_known_what_is_slow_nothing_is(host: Host) -> None:
    pace = Pace()
    for _ in range(LATENCIES_MIN - 1):
        await Instances((0.1, b"first")).hedged(host, pace=pace)(CALL)
    assert pace.slow is None
    await Instances((5.0, b"first")).hedged(host, pace=pace)(CALL)
    assert pace.slow == pytest.approx(5.0)


async def test_a_call_that_ends_before_it_is_slow_is_not_hedged(host: Host) -> None:
    short = Message(Kind.CALL, "1", "orders.get", 0.1)
    target = Instances((0.5, b"first"))
    assert (await target.hedged(host)(short)).body == b"first"


async def test_a_call_without_a_deadline_is_hedged_without_one(host: Host) -> None:
    target = Instances((5.0, b"first"), (0.05, b"second"))
    assert (await target.hedged(host)(Message(Kind.CALL, "1", "orders.get"))).body == b"second"
    assert [message.timeout for message in target.came] == [0.0, 0.0]


async def test_who_is_cancelled_cancels_both(host: Host) -> None:
    target = Instances((5.0, b"first"), (5.0, b"second"))
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await target.hedged(host)(CALL)
    assert target.ended == [1.0, 1.0]


@given(st.lists(st.floats(0, 10), min_size=LATENCIES_MIN, max_size=3 * LATENCIES_MAX))
def test_one_in_twenty_is_slow(latencies: list[float]) -> None:
    pace = Pace()
    for latency in latencies:
        pace.answered(latency)
    looked = latencies[: len(latencies) // LATENCIES_LOOKED * LATENCIES_LOOKED][-LATENCIES_MAX:]
    assert pace.slow is not None
    assert sum(latency > pace.slow for latency in looked) <= len(looked) / 20
    assert sum(latency >= pace.slow for latency in looked) >= len(looked) / 20


def test_only_what_may_be_repeated_may_be_hedged() -> None:
    with pytest.raises(Misdeclared, match=r"hedge=True.*may run an operation twice; say idempotent=True"):

        @rpc(hedge=True)
        async def charge(self: object) -> None: ...


class Prices(Service):
    """Takes its time now and then."""

    asked: list[str] = []  # noqa: RUF012 - a test looks at it

    @rpc(idempotent=True, hedge=True)
    async def of(self, sku: str) -> str:
        self.asked.append(sku)
        await asyncio.sleep(60.0 if self.asked.count(sku) == 1 and sku == "slow" else 0.1)
        return sku

    @rpc(idempotent=True)
    async def plain(self, sku: str) -> str:
        return await self.of(sku)


async def test_an_operation_may_say_so_and_a_caller_otherwise(host: Host) -> None:
    from hanse.node.app import App

    Prices.asked.clear()
    async with Node(App("shop", Prices), host=host) as node:
        prices = node.client(Prices)
        for _ in range(LATENCIES_MIN):
            await prices.of("tea")
        begun = now()
        assert await prices.of("slow") == "slow"
        assert now() - begun == pytest.approx(0.2)
        Prices.asked.clear()
        with pytest.raises(Fault):
            await policy(prices, hedge=False, timeout="2s", retry=False).of("slow")
        assert Prices.asked == ["slow"]
