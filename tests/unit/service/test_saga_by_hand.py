"""Sagas that are run by hand, without a node; and the names of their steps."""

import asyncio
from typing import Any

import pytest

from hanse.contract.model import Event
from hanse.kernel.context import current
from hanse.kernel.faults import Fault, Misdeclared
from hanse.kernel.host import Host
from hanse.service.logbook import Asked, ByHand
from hanse.service.saga import Saga, Step
from hanse.service.saga_method import pinned_in, saga
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time


class Broke(Fault, detail="there is no money"): ...


class Paid(Event):
    amount: int


async def charge(amount: int) -> str:
    return f"receipt {amount}"


async def ship(_: str) -> None: ...


def name_of(step: Step[Any]) -> str:
    asked: Asked = step._asked
    return asked.name


@pytest.fixture
def s(host: Host) -> Saga:
    del host
    return Saga()


async def test_names_are_numbered_within_their_branch(s: Saga) -> None:
    left = s.branch("left")
    names = [name_of(one.step(charge, 1)) for one in (s, s, left, left, s.branch("left"))]
    assert names == ["charge", "charge#2", "left/charge", "left/charge#2", "left#2/charge"]


async def test_a_name_of_its_own_gives_the_other_back(s: Saga) -> None:
    assert name_of(s.step(charge, 1).named("pay")) == "pay"
    assert name_of(s.step(charge, 1)) == "charge"


async def test_no_two_steps_have_one_name_whoever_is_named_when(s: Saga) -> None:
    first, second = s.step(charge, 1), s.step(charge, 1)
    _ = first.named("pay")
    names = [name_of(one) for one in (first, second, s.step(charge, 1))]
    assert names == ["pay", "charge#2", "charge#3"]


async def test_a_name_that_looks_like_a_number_is_nobody_elses(s: Saga) -> None:
    names = [name_of(s.step(charge, 1)), name_of(s.step(ship, "x").named("charge#2")), name_of(s.step(charge, 1))]
    assert names == ["charge", "charge#2", "charge#3"]
    assert name_of(s.step(charge, 1).named("a#1").named("b")) == "b"


async def test_what_the_world_tells_is_the_same_at_every_run() -> None:
    book = ByHand()
    one, two = Saga(book), Saga(book)
    assert (one.new_id(), one.random(), one.new_id()) == (two.new_id(), two.random(), two.new_id())
    assert 0.0 <= one.random() < 1.0
    assert await one.now() <= current().host.now()


async def test_it_waits(s: Saga) -> None:
    begun = asyncio.get_running_loop().time()
    await s.sleep("90s")
    assert asyncio.get_running_loop().time() - begun == pytest.approx(90)


async def test_nobody_tells_it_events(s: Saga) -> None:
    with pytest.raises(Misdeclared, match="run it on a Node"):
        _ = await s.event(Paid)


async def test_an_undo_has_the_arguments_that_it_was_given(host: Host) -> None:
    del host
    undone: list[object] = []

    class Shop(Service):
        @saga
        async def buy(self, s: Saga) -> None:
            _ = await s.step(charge, 1).within("1s").undo(self._back, "by hand", times=2)
            _ = await s.step(charge, 2).undo(self._back)
            raise Broke

        async def _back(self, what: str, times: int = 1) -> None:
            undone.append((what, times))

    with pytest.raises(Broke):
        await Shop().buy()
    assert undone == [("receipt 2", 1), ("by hand", 2)]


def test_what_cannot_be_a_saga_is_told() -> None:
    with pytest.raises(Misdeclared, match="async def"):

        @saga  # type: ignore[arg-type]
        def plain(self: object, s: Saga) -> None: ...

    with pytest.raises(Misdeclared, match="s: Saga"):

        @saga  # type: ignore[arg-type]
        async def alone(self: object) -> None: ...

    with pytest.raises(Misdeclared, match="begin with 1"):

        @saga(version=0)
        async def none(self: object, s: Saga) -> None: ...


def test_versions_that_contradict_are_told() -> None:
    class Twice(Service):
        @saga
        async def buy(self, s: Saga) -> None: ...

        @saga(of="buy", version=1)
        async def buy_1(self, s: Saga) -> None: ...

    class Orphan(Service):
        @saga(of="buy", version=1)
        async def buy_1(self, s: Saga) -> None: ...

    with pytest.raises(Misdeclared, match="both version 1 of buy"):
        _ = pinned_in(Twice)
    with pytest.raises(Misdeclared, match="has no saga of that name"):
        _ = pinned_in(Orphan)


async def test_steps_without_a_name_or_a_result_are_told(s: Saga) -> None:
    async def silent(): ...  # type: ignore[no-untyped-def]  # noqa: ANN202

    with pytest.raises(Misdeclared, match="typed client"):
        _ = s.step(lambda: charge(1))
    with pytest.raises(Misdeclared, match="does not say what it returns"):
        _ = s.step(silent)._asked.result
