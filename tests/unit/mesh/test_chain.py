import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress

import pytest

from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Conflict, Fault, Internal, NotFound, Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.breaker import CALLS_MIN, PAUSE_SECONDS, Breaker, State
from hanse.mesh.chain import breaking, chain, retrying, watching
from hanse.mesh.fault import fault_in, fault_message, undone_message
from hanse.mesh.retry import RETRIES_MAX, Budget
from hanse.mesh.watch import Watch

pytestmark = pytest.mark.virtual_time
CALL = Message(Kind.CALL, "1", "orders.place", 10.0)
DONE = Message(Kind.REPLY, "1", "")


class Target:
    """Answers with what it is given, the last of it for ever; takes its time where it is told to."""

    def __init__(self, *answers: Message | Fault, takes: float = 0.0) -> None:
        self.came: list[Message] = []
        self._answers = list(answers)
        self._takes = takes

    async def __call__(self, message: Message) -> Message:
        self.came.append(message)
        await asyncio.sleep(self._takes)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Fault):
            raise answer
        return answer


def told(fault: Fault) -> Message:
    return fault_message(fault, "1")


@contextmanager
def running(host: Host) -> Iterator[None]:
    token = ambient.set(Context(host))
    try:
        yield
    finally:
        ambient.reset(token)


def test_the_first_middleware_is_outermost() -> None:
    order: list[str] = []

    def named(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        def wrap(handler):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            order.append(name)
            return handler

        return wrap

    chain(Target(DONE), named("outer"), named("inner"))
    assert order == ["inner", "outer"]


async def test_what_may_help_is_tried_again_until_it_does(host: Host) -> None:
    target = Target(told(Unavailable("x")), Conflict("y"), DONE)
    with running(host):
        assert await chain(target, retrying(Budget(), host))(CALL) is DONE
    assert [message.headers.attempt for message in target.came] == [1, 2, 3]
    assert {message.id for message in target.came} == {"1"}


async def test_what_cannot_help_comes_back_as_it_came(host: Host) -> None:
    refused = told(NotFound("order", "42"))
    with running(host):
        assert await chain(Target(refused), retrying(Budget(), host))(CALL) is refused
        with pytest.raises(NotFound):
            await chain(Target(NotFound("order", "42")), retrying(Budget(), host))(CALL)


async def test_tries_end(host: Host) -> None:
    target = Target(told(Unavailable("x")))
    with running(host):
        reply = await chain(target, retrying(Budget(), host))(CALL)
    assert isinstance(fault_in(reply), Unavailable)
    assert len(target.came) == 1 + RETRIES_MAX


async def test_an_outage_is_not_made_worse(host: Host) -> None:
    target, budget = Target(told(Unavailable("x"))), Budget()
    call = chain(target, retrying(budget, host))
    with running(host):
        for _ in range(100):
            await call(CALL)
    assert len(target.came) <= 100 * 1.1 + 10


async def test_all_tries_together_keep_to_the_time_of_the_first(host: Host) -> None:
    target = Target(told(Unavailable("x")), takes=4.0)
    with running(host):
        await chain(target, retrying(Budget(), host))(CALL)
    assert asyncio.get_running_loop().time() <= 13.0
    first, *others = [message.timeout for message in target.came]
    assert (first, max(others) < 6.1) == (10.0, True)


async def test_a_call_without_a_deadline_is_retried_without_one(host: Host) -> None:
    target = Target(told(Unavailable("x")), DONE)
    with running(host):
        await chain(target, retrying(Budget(), host))(Message(Kind.CALL, "1", "orders.place"))
    assert [message.timeout for message in target.came] == [0.0, 0.0]


@pytest.mark.parametrize("failure", [Internal("x"), told(Internal("x"))])
async def test_what_keeps_failing_is_left_alone_for_a_while(host: Host, failure: Message | Fault) -> None:
    target, breaker = Target(*[failure] * CALLS_MIN, DONE), Breaker()
    call = chain(target, breaking(breaker, "orders", host))
    with running(host):
        for _ in range(CALLS_MIN):
            await outcome(call(CALL))
        with pytest.raises(Unavailable, match="orders has been failing and is left alone for a moment"):
            await call(CALL)
        assert len(target.came) == CALLS_MIN
        await asyncio.sleep(PAUSE_SECONDS)
        assert await call(CALL) is DONE
    assert breaker.state is State.CLOSED


async def outcome(call: Awaitable[object]) -> None:
    with suppress(Fault):
        await call


@pytest.mark.parametrize("told_of_one", [Unavailable("it broke"), undone_message(Unavailable("it stops"), "1")])
async def test_what_is_told_of_one_instance_leaves_the_operation_alone(
    host: Host, told_of_one: Message | Fault
) -> None:
    target, breaker = Target(*[told_of_one] * CALLS_MIN, DONE), Breaker()
    call = chain(target, breaking(breaker, "orders", host))
    with running(host):
        for _ in range(CALLS_MIN):
            with suppress(Unavailable):
                await call(CALL)
        assert await call(CALL) is DONE


@pytest.mark.parametrize("fault", [NotFound("order", "42"), Overloaded("the limit")])
async def test_faults_that_the_contract_knows_and_refusals_at_the_limit_are_answers(host: Host, fault: Fault) -> None:
    """A service that sheds half of its calls still serves the other half."""
    call = chain(Target(told(fault)), breaking(Breaker(), "orders", host))
    with running(host):
        for _ in range(2 * CALLS_MIN):
            assert isinstance(fault_in(await call(CALL)), type(fault))


async def test_a_span_hands_its_trace_on(host: Host) -> None:
    target = Target(DONE, told(NotFound("order", "42")))
    call = chain(target, watching(Watch(Host.system())))
    with running(host):
        assert await call(CALL) is DONE
        assert (await call(CALL)).kind is Kind.FAULT
    assert len(target.came) == 2
