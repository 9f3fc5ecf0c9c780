"""Releases of a system on one machine, from what a command asks to what a supervisor is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from hanse.control.desired import Command, Desired
from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.ground import Wanted
from hanse.control.instances import Instance, System
from hanse.control.release_set import LIVE_SETS
from hanse.control.released import BASE, Overlay, overlaid
from hanse.control.releases import Vetoed
from hanse.control.rollout import ENDED, Came
from hanse.control.sighted import Looks
from hanse.deploy.release_words import ReleaseAsk, ReleasesTold, RolloutAsk
from hanse.deploy.releasing import Releasing
from hanse.kernel.faults import Conflict, Misconfigured, NotFound
from hanse.kernel.host import Host

ASK = ReleaseAsk(service="web", to="../web-2", strategy="blue-green", bake=0.0, who="ada")


class Yard:
    """A supervisor on whose machine everything that is wanted is ready at once."""

    def __init__(self, folder: Path) -> None:
        self.services: dict[str, Desired] = {
            "web": Desired("web", Command(("serve",), directory=str(folder)), instances=2),
            "shop": Desired("shop", Command(("hanse", "run")), own=True),
            "old": Desired("old", Command(("serve",), directory=str(folder)), port=80),
        }
        self.overlays: dict[str, Overlay] = {}
        self.in_force = True
        self.fit: tuple[Came, str] = ("passed", "")
        self.compared = Pairs()
        self.no_copies = ""
        self.hook: tuple[Came, str] = ("passed", "")
        self.hooks: dict[str, tuple[Came, str]] = {}

    @property
    def system(self) -> System:
        wanted = overlaid(self.services, self.overlays)
        ready = [
            Instance(one.service, number, one.release, phase="ready")
            for one in wanted.values()
            for number in range(one.instances)
        ]
        return System(instances=tuple(ready))

    def uncopied(self, service: str) -> str:
        return self.no_copies

    def overlay(self, service: str, overlay: Overlay) -> None:
        self.overlays[service] = overlay

    async def pairs(self) -> Pairs:
        return self.compared

    async def figures(self) -> Figures:
        return Figures(since=1.0, revision=1)

    async def looks(self, service: str) -> Looks:
        return Looks()

    def fits(self, wanted: Wanted) -> tuple[Came, str]:
        return self.fit

    def end_once(self, name: str, service: str) -> Came:
        return "passed"

    def once(self, name: str, service: str, directory: str) -> tuple[Came, str]:
        return self.hooks.get(service, self.hook)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    for name in ("web", "web-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text(name)
    return Yard(tmp_path / "web")


async def over(releasing: Releasing) -> str:
    """The state in which a rollout ends."""
    async with asyncio.timeout(60.0):
        while True:
            told = await releasing.rollout(RolloutAsk(service="web"))
            if (state := told.rollouts[0].rollout.state) in ENDED:
                return state
            await asyncio.sleep(0.05)


async def test_copies_that_nobody_could_compare_are_refused_before_anything_starts(yard: Yard, tmp_path: Path) -> None:
    yard.no_copies = "the edge makes no copies"
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        for ask in (replace(ASK, strategy="mirror"), replace(ASK, strategy="mirror", to="nowhere")):
            with pytest.raises(Misconfigured, match="that can be carried out, got mirror: the edge makes"):
                _ = await releasing.release(ask)
        assert (await releasing.rollout(RolloutAsk())).rollouts == ()
        assert (await releasing.release(ASK)).new == "web-2"


async def test_a_folder_comes_to_its_place_and_is_there_after_a_restart(yard: Yard, tmp_path: Path) -> None:
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        row = await releasing.release(ASK)
        assert (row.old, row.new, row.new_source) == (BASE, "web-2", str(tmp_path / "web-2"))
        assert await over(releasing) == "done"
        told = await releasing.rollout(RolloutAsk())
        assert told.releases == {"web": "web-2"}
        assert (told.rollouts[0].rollout.who, told.rollouts[0].verdict is not None) == ("ada", True)
        with pytest.raises(Conflict, match="has release web-2 already"):
            await releasing.release(ASK)
    again = Yard(tmp_path / "web")
    async with Releasing(again, tmp_path / ".hanse", Host.system()) as releasing:
        standing = await releasing.standing()
        assert standing["web"].source == str(tmp_path / "web-2")


async def test_one_on_its_way_is_recalled_before_anything_is_started(yard: Yard, tmp_path: Path) -> None:
    """Else a machine that comes up begins with what the settings say, and ends that a moment later."""
    yard.hook = ("waiting", "")
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        await releasing.release(ASK)
    again = Yard(tmp_path / "web")
    again.hook = ("waiting", "")
    async with Releasing(again, tmp_path / ".hanse", Host.system()) as releasing:
        await releasing.recall()
        assert (again.overlays["web"].release, again.overlays["web"].new) == (BASE, "web-2")


def of_two(yard: Yard, folder: Path) -> ReleaseAsk:
    """A release of a service and of the one that it calls, as one."""
    command = Command(("serve",), directory=str(folder / "web"))
    yard.services["stock"] = Desired("stock", command, instances=1)
    yard.services["web"] = Desired("web", command, instances=2, needs=("stock",))
    return replace(ASK, also=(("stock", "../web-2"),))


async def set_over(releasing: Releasing, id: str) -> ReleasesTold:
    """All of a release set, once it is over."""
    async with asyncio.timeout(60.0):
        while True:
            told = await releasing.rollout(RolloutAsk(release_set=id))
            if told.sets[0].state not in LIVE_SETS:
                return told
            await asyncio.sleep(0.05)


async def test_several_are_released_as_one_those_that_are_called_first(yard: Yard, tmp_path: Path) -> None:
    ask = of_two(yard, tmp_path)
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        begun = await releasing.release_set(ask)
        assert [one.service for one in begun.members] == ["stock", "web"]
        assert (await releasing.rollout(RolloutAsk(service="web"))).sets[0].id == begun.id
        told = await set_over(releasing, begun.id)
        assert told.sets[0].state == "done"
        assert told.releases == {"stock": "web-2", "web": "web-2"}
        began = {one.rollout.service: one.rollout.began_at for one in told.rollouts}
        assert began["stock"] < began["web"]
        assert (await releasing.rollout(RolloutAsk())).sets == (), (
            "those that are over are told when they are asked for"
        )


async def test_where_one_of_a_set_is_bad_all_go_back(yard: Yard, tmp_path: Path) -> None:
    ask = of_two(yard, tmp_path)
    yard.hooks["web"] = ("failed", "exit code 1")
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        told = await set_over(releasing, (await releasing.release_set(ask)).id)
        assert (told.sets[0].state, told.sets[0].why) == ("rolled_back", "web: exit code 1")
        assert {one.rollout.service: one.rollout.state for one in told.rollouts} == dict.fromkeys(
            ("stock", "web"), "rolled_back"
        )


async def test_of_a_set_that_makes_no_sense_nothing_is_begun(yard: Yard, tmp_path: Path) -> None:
    ask = of_two(yard, tmp_path)
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        with pytest.raises(NotFound, match="stoc; did you mean stock"):
            _ = await releasing.release_set(replace(ask, also=(("stoc", "../web-2"),)))
        with pytest.raises(Misconfigured, match="each service once, got web, web"):
            _ = await releasing.release_set(replace(ask, also=(("web", "../web-2"),)))
        assert (await releasing.rollout(RolloutAsk())).rollouts == ()


async def test_a_hook_that_fails_takes_the_release_back_and_vetoes_it(yard: Yard, tmp_path: Path) -> None:
    yard.hook = ("failed", "exit code 1")
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        await releasing.release(ASK)
        assert await over(releasing) == "rolled_back"
        with pytest.raises(Vetoed, match="web web-2 was rolled back: exit code 1"):
            await releasing.release(ASK)
        told = await releasing.rollout(RolloutAsk(service="web", lift="web-2"))
        assert told.vetoes == ()
        with pytest.raises(NotFound, match="veto"):
            await releasing.rollout(RolloutAsk(service="web", lift="web-2"))


async def test_what_does_not_fit_is_refused_before_anything_is_started(yard: Yard, tmp_path: Path) -> None:
    yard.fit = ("failed", "shop (base) calls what is gone: web")
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        await releasing.release(ASK)
        assert await over(releasing) == "refused"
        told = await releasing.rollout(RolloutAsk(service="web"))
    assert told.rollouts[0].rollout.why == "shop (base) calls what is gone: web"
    assert told.vetoes == ()
    assert yard.overlays["web"].new_count == 0


async def test_what_cannot_be_released_says_why(yard: Yard, tmp_path: Path) -> None:
    async with Releasing(yard, tmp_path / ".hanse", Host.system()) as releasing:
        with pytest.raises(NotFound, match="did you mean web"):
            await releasing.release(ReleaseAsk(service="webb", to="x"))
        with pytest.raises(Misconfigured, match="there is no folder"):
            await releasing.release(ReleaseAsk(service="web", to="nowhere"))
        with pytest.raises(Misconfigured, match="it insists on port 80"):
            await releasing.release(ReleaseAsk(service="old", to="../web-2"))
        with pytest.raises(Misconfigured, match="one percent for ab"):
            await releasing.release(ReleaseAsk(service="web", to="../web-2", strategy="ab", steps=(1, 2)))
        with pytest.raises(NotFound, match="on its way"):
            await releasing.rollout(RolloutAsk(service="web", command="abort"))
