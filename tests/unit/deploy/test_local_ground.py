"""What a rollout wants, and what becomes of it on one machine."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hanse.control.desired import Command, Desired
from hanse.control.edge_figures import Counts, Figures, Key, Line
from hanse.control.edge_mirror import Pair, Pairs
from hanse.control.ground import Wanted
from hanse.control.instances import Instance, System
from hanse.control.released import BASE, Overlay, overlay_for
from hanse.control.rollout import Came
from hanse.control.sighted import Looks
from hanse.deploy.local_ground import LocalGround
from hanse.kernel.faults import NotFound, Unavailable

WANTED = Wanted(
    rollout="r1",
    service="web",
    old=BASE,
    new="2",
    old_count=1,
    new_count=1,
    share=500,
    mirrored=0,
    state="stepping",
    step=0,
    position=7,
)


class Yard:
    """A supervisor that does at once what is wanted of it, unless its edge is behind."""

    def __init__(self) -> None:
        self.system = System(instances=(Instance("web", 1, BASE, phase="ready"),))
        self.services: dict[str, Desired] = {"web": Desired("web", Command(("serve",)))}
        self.overlays: dict[str, Overlay] = {}
        self.in_force = True
        self.fit: tuple[Came, str] = ("passed", "")
        self.compared = Pairs()
        self.away = False
        self.hooks: list[tuple[str, str, str]] = []
        self.counts = Counts()
        self.looked = Looks()

    def uncopied(self, service: str) -> str:
        return ""

    def overlay(self, service: str, overlay: Overlay) -> None:
        self.overlays[service] = overlay

    async def pairs(self) -> Pairs:
        return self.compared

    async def figures(self) -> Figures:
        if self.away:
            raise Unavailable("the edge is away")
        return Figures(since=1.0, revision=1, lines=(Line(Key("web", BASE, "web-1", "/"), self.counts),))

    async def looks(self, service: str) -> Looks:
        return self.looked if service == "web" else Looks()

    def fits(self, wanted: Wanted) -> tuple[Came, str]:
        return self.fit

    def end_once(self, name: str, service: str) -> Came:
        return "passed"

    def once(self, name: str, service: str, directory: str) -> tuple[Came, str]:
        self.hooks.append((name, service, directory))
        return "failed", "exit code 1"


async def test_the_nodes_of_an_app_that_may_call_others_are_told() -> None:
    yard = Yard()
    yard.services["shop"] = replace(yard.services["web"], service="shop", own=True)
    one = Instance("shop", 1, BASE, phase="ready")
    starting, gone = replace(one, number=2, phase="starting"), replace(one, number=3, phase="stopping")
    yard.system = System(instances=(*yard.system.instances, one, starting, gone))
    sight = await LocalGround(yard).carry(replace(WANTED, service="shop"))
    assert (sight.callers, sight.hosts) == (("shop-1",), ("shop",))
    # Nodes send nothing to a foreign service by routes of theirs.
    assert (await LocalGround(yard).carry(WANTED)).callers == ()


def answered(times: int, milliseconds: float) -> Counts:
    found = Counts(requests=times)
    for _ in range(times):
        found.took(milliseconds / 1_000)
    return found


async def test_what_is_wanted_is_remembered_and_its_share_is_told_once_in_force() -> None:
    yard = Yard()
    ground = LocalGround(yard)
    assert (await ground.carry(WANTED)).share == 500
    assert yard.overlays == {"web": overlay_for(WANTED)}
    yard.in_force = False
    assert (await ground.carry(replace(WANTED, share=900, position=8))).share is None


async def test_words_that_come_late_are_passed_over() -> None:
    yard = Yard()
    ground = LocalGround(yard)
    await ground.carry(WANTED)
    await ground.settle("web", BASE, "", 6)
    assert yard.overlays["web"].new == "2"
    assert (await ground.carry(replace(WANTED, share=100, position=5))).share is None
    assert yard.overlays["web"].share == 500
    await ground.settle("web", "2", "/releases/2", 8)
    assert yard.overlays["web"] == Overlay("2", "/releases/2", position=8)


async def test_the_hook_runs_under_the_name_of_the_rollout() -> None:
    yard = Yard()
    sight = await LocalGround(yard).carry(replace(WANTED, state="preparing", share=0, new_source="/releases/2"))
    assert (sight.came, sight.why) == ("failed", "exit code 1")
    assert yard.hooks == [("hook-r1", "web", "/releases/2")]


async def test_what_is_slow_is_as_the_old_release_was_before() -> None:
    """And what was counted before that was known is another beginning: else a window would hold the whole past."""
    yard = Yard()
    ground = LocalGround(yard)
    yard.counts = answered(600, 4.0)
    before = (await ground.carry(replace(WANTED, share=0))).tally
    assert before.routes["/"].old["web-1"].timed == 0
    frozen = (await ground.carry(WANTED)).tally
    yard.counts = answered(1_000, 900.0)
    after = (await ground.carry(WANTED)).tally
    assert after.routes["/"].old["web-1"].slow == 1_000
    assert before.since != frozen.since == after.since


async def test_an_edge_that_is_away_tells_nothing_and_breaks_nothing() -> None:
    yard = Yard()
    yard.away = True
    sight = await LocalGround(yard).carry(WANTED)
    assert (sight.tally.routes, sight.old.ready) == ({}, 1)


async def test_a_service_that_is_not_there_is_told() -> None:
    with pytest.raises(NotFound, match="nobody"):
        await LocalGround(Yard()).carry(replace(WANTED, service="nobody"))


async def test_answers_to_copies_are_told_of_the_service_that_is_mirrored() -> None:
    def pair(service: str) -> Pair:
        return Pair(service=service, route="/", method="GET", target="/", trace_id="", release=BASE, mirror="2")

    yard = Yard()
    yard.compared = Pairs(pairs=(pair("web"), pair("mail")), dropped=1)
    ground = LocalGround(yard)
    assert (await ground.carry(WANTED)).pairs == Pairs(), "nothing is taken that nobody compares"
    found = (await ground.carry(replace(WANTED, share=0, mirrored=1_000, position=8))).pairs
    assert found == Pairs(pairs=(pair("web"),), dropped=1)


async def test_what_the_machine_shows_is_told_of_the_release_that_it_is_of() -> None:
    yard = Yard()
    old, new = Instance("web", 1, BASE, phase="ready", run=1), Instance("web", 2, "2", phase="ready", run=2)
    yard.system = System(instances=(old, new))
    yard.looked = Looks(1.0, {"web-1.1": 10.0, "web-2.2": 90.0}, {"web-2.2": 0.5}, memory_max=50.0, cpu_max=2.0)
    tally = (await LocalGround(yard).carry(WANTED)).tally
    assert (tally.old.memory, tally.old.cpu) == ({"web-1.1": 10.0}, {})
    assert (tally.new.memory, tally.new.cpu) == ({"web-2.2": 90.0}, {"web-2.2": 0.5})
    assert (tally.new.memory_max, tally.new.cpu_max) == (50.0, 2.0)
