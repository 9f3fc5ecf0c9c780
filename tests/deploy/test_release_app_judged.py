"""Releases of an app's services that nobody outside sees, judged by what their nodes count, with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .systems import Running, running

APP = """
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


class Cafe(Service):
    till: Till

    @every("200ms")
    async def sell(self) -> None:
        for _ in range(10):
            await self.emit(Sold(number=next(NUMBERS)))

    @every("100ms")
    async def ask(self) -> None:
        for _ in range(10):
            try:
                await self.till.price()
            except Exception:
                pass


app = App("cafe", Cafe, Till, Mailer)
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


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("judged")
    for name, bad in ((".", False), ("worse", True)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "cafe.py").write_text(APP.format(bad=bad))
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        for service in ("till", "mailer"):
            done = system.hanse("release", service, "--to", "worse", "--steps", "50,100", "--every", "5m")
            assert done.returncode == 0, done.stderr
        yield system


@pytest.mark.parametrize("service", ["till", "mailer"])
def test_a_release_whose_calls_or_messages_fail_goes_back(system: Running, service: str) -> None:
    told = system.over(service)
    assert (told.rollout.state, told.rollout.blamed) == ("rolled_back", True)
    assert told.rollout.why.startswith("failed: ")
    assert told.verdict is not None
    assert told.verdict.metrics[0].new_events > 0
