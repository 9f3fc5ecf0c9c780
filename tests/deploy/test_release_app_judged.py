"""Releases of an app's services that nobody outside sees, judged by what their nodes count, with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hanse.deploy.control_client import asked_of_releases
from hanse.deploy.control_words import Ask
from hanse.deploy.home import Home
from hanse.deploy.release_words import ReleaseAsk

from .systems import Running, running

APP = """
import asyncio
from itertools import count

from hanse import App, Event, Service, every, on, rpc

BAD = {bad}
NUMBERS = count()


class Sold(Event):
    number: int


class Till(Service):
    @rpc(idempotent=True)
    async def price(self) -> int:
        if BAD and next(NUMBERS) % 2:
            raise RuntimeError("no price")
        return 3


class Mailer(Service):
    @on(Sold, ordered=False)
    async def thank(self, sold: Sold) -> None:
        if BAD and sold.number % 2:
            raise RuntimeError("no letter")


class Clerk(Service):
    @rpc(idempotent=True)
    async def name(self) -> str:
        return "ada"


class Porter(Service):
    @rpc(idempotent=True)
    async def bring(self) -> str:
        if BAD:
            await asyncio.sleep(0.5)
        return "a bag"


class Cafe(Service):
    till: Till
    clerk: Clerk
    porter: Porter

    @every("200ms")
    async def sell(self) -> None:
        for _ in range(10):
            await self.emit(Sold(number=next(NUMBERS)))

    @every("100ms")
    async def name(self) -> None:
        await asyncio.gather(*(self.clerk.name() for _ in range(40)))

    @every("100ms")
    async def bring(self) -> None:
        await asyncio.gather(*(self.porter.bring() for _ in range(40)))

    @every("100ms")
    async def ask(self) -> None:
        for _ in range(10):
            try:
                await self.till.price()
            except Exception:
                pass


app = App("cafe", Cafe, Till, Mailer, Clerk, Porter)
"""

SETTINGS = """
app = "cafe.py"

[node]
store = "sqlite:///{service}.db"

[edge]
engine = "none"

[services.mailer]
instances = 2
"""


SERVICES = {"clerk": 1.0, "porter": 300.0, "till": 300.0, "mailer": 300.0}
"""For how many seconds a step lasts of those that are released; the first one goes on by what is known of few calls."""


REQUESTS = 200
"""That a release is asked in a step, at least."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("judged")
    for name, bad in ((".", False), ("worse", True)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "cafe.py").write_text(APP.format(bad=bad))
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        for service, every in SERVICES.items():
            ask = ReleaseAsk(service=service, to="worse", steps=(50, 100), every=every, requests=REQUESTS, bake=0.0)
            (one,) = asked_of_releases(Home(folder), Ask("release", release=ask)).rollouts
            assert one.rollout.service == service
        yield system


@pytest.mark.parametrize("service", ["till", "mailer"])
def test_a_release_whose_calls_or_messages_fail_goes_back(system: Running, service: str) -> None:
    told = system.over(service)
    assert (told.rollout.state, told.rollout.blamed) == ("rolled_back", True)
    assert told.rollout.why.startswith("failed: ")
    assert told.verdict is not None
    assert told.verdict.metrics[0].new_events > 0


def test_a_release_that_is_slower_goes_back(system: Running) -> None:
    told = system.over("porter")
    assert (told.rollout.state, told.rollout.blamed) == ("rolled_back", True)
    assert told.rollout.why.startswith("slow"), told.rollout.why


def test_a_release_that_is_no_worse_comes_to_its_place(system: Running) -> None:
    told = system.over("clerk")
    assert told.rollout.state == "done", told.rollout.why
    assert told.verdict is not None
    (failed,) = (one for one in told.verdict.metrics if one.metric == "failed")
    assert failed.new >= REQUESTS, "by figures, and not as nothing was seen"
