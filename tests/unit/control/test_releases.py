"""The service that has releases come to their places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from tests.unit.control import release_worlds

from hanse import App, Node
from hanse.control.ground import Ground, Sight, Wanted
from hanse.control.judged import Tally
from hanse.control.plan import blue_green, canary
from hanse.control.release_set import Member, ReleaseSet
from hanse.control.releases import Asked, Releases, Standing, Vetoed
from hanse.control.rollout import ENDED, Crew, Rollout, State, Veto
from hanse.control.window import Both, Outcomes
from hanse.kernel.faults import Conflict, Forbidden, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.node.kept_routes import SAYS_SECONDS, KeptRoute
from hanse.service.change import Created, Deleted, Existing, Updated
from hanse.service.service import Service

pytestmark = pytest.mark.virtual_time

OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"releases:write"})))
PLAN = canary(2, (10,), every=2.0, requests=0, bake=2.0)
ASKED = Asked(service="users", new="2", plan=PLAN, instances=2, source="/releases/2", digest="d2", old="1")


class Obedient(Service, Ground, name="ground"):
    """Everything wanted is so at once; it remembers what was wanted."""

    async def started(self) -> None:
        self.said: list[tuple[State, int]] = []
        self.bad = ""
        self.settled: dict[str, tuple[str, str]] = {}
        self.asked: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.away = False
        self.among: dict[str, list[str]] = {}
        self.callers: tuple[str, ...] = ()
        self.news = asyncio.Event()

    async def hears(self, state: State, share: int) -> None:
        while self.said[-1:] != [(state, share)]:
            self.news.clear()
            _ = await self.news.wait()

    async def settle(self, service: str, release: str, source: str, position: int) -> None:
        self.settled[service] = (release, source)

    async def carry(self, wanted: Wanted) -> Sight:
        if self.away:
            raise Unavailable("the machine is away")
        self.said.append((wanted.state, wanted.share))
        self.news.set()
        name = wanted.service
        if wanted.state == "checking":
            self.among[name] = [f"{one.service} {one.release}" for one in wanted.among]
        if wanted.share:
            self.asked[name] = self.asked.get(name, 0) + 50
            self.failed[name] = self.failed.get(name, 0) + 50 * (name == self.bad)
        asked, failed = self.asked.get(name, 0), self.failed.get(name, 0)
        both = Both(new={"n": Outcomes(asked, failed)}, old={"o": Outcomes(asked * 9)})
        return Sight(
            old=Crew(wanted.old_count, wanted.old_count),
            new=Crew(wanted.new_count, wanted.new_count),
            share=wanted.share,
            mirrored=wanted.mirrored,
            came="passed",
            tally=Tally(wanted.rollout, {"GET /": both}),
            callers=self.callers,
            hosts=("front",) if self.callers else (),
        )


class Platform:
    """A node with the service and its ground, and an operator who asks."""

    def __init__(self, node: Node, ground: Obedient) -> None:
        self.node = node
        self.ground = ground
        self.releases = node.client(Releases)

    async def begin(self, asked: Asked = ASKED) -> Rollout:
        with self.node.context(OPERATOR):
            return await self.releases.begin(asked)

    async def until(self, id: str, *states: State) -> Rollout:
        async with asyncio.timeout(3_600.0):
            async for told in self.node.collection(Rollout).follow(lambda row: row.id == id):
                match told:
                    case Existing(value=row) | Created(after=row) | Updated(after=row) if row.state in states:
                        return row
                    case _:
                        pass
        raise AssertionError("a feed ended")

    async def route(self, service: str) -> KeptRoute:
        return await self.node.collection(KeptRoute).get(service)

    async def standing(self) -> Standing:
        return await self.node.collection(Standing).get("users")


@pytest.fixture
async def platform(host: Host) -> AsyncIterator[Platform]:
    async with Node(App("platform", Releases, Obedient), host=host) as node:
        ground = next(one.instance for one in node.hosted if one.part.cls is Obedient)
        assert isinstance(ground, Obedient)
        yield Platform(node, ground)


def test_releases_hold_whatever_breaks() -> None:
    release_worlds.releases()


async def test_a_release_comes_to_its_place_and_callers_follow(platform: Platform) -> None:
    row = await platform.begin()
    row = await platform.until(row.id, *ENDED)
    assert row.state == "done"
    assert [turn.share for turn in row.history] == sorted(turn.share for turn in row.history)
    assert await platform.standing() == replace(await platform.standing(), release="2", rollout="")
    route = await platform.node.collection(KeptRoute).get("users")
    assert route.route.releases == {"2": 10_000}
    await asyncio.sleep(1.0)
    assert platform.ground.settled == {"users": ("2", "/releases/2")}


async def test_a_bad_one_is_vetoed_until_somebody_lifts_that(platform: Platform) -> None:
    platform.ground.bad = "users"
    row = await platform.until((await platform.begin()).id, *ENDED)
    assert row.state == "rolled_back"
    assert row.why.endswith("requests of GET / all failed")
    assert (await platform.standing()).release == "1"
    with pytest.raises(
        Vetoed, match=r"users 3 was rolled back: the last .* requests of GET / all failed; lift that first"
    ):
        await platform.begin(replace(ASKED, new="3"))  # called otherwise, the same inside
    with platform.node.context(OPERATOR):
        assert await platform.releases.lift("users", "2") == 1
    assert await platform.node.collection(Veto).count() == 0
    platform.ground.bad = ""
    assert (await platform.until((await platform.begin()).id, *ENDED)).state == "done"


async def test_one_at_a_time(platform: Platform) -> None:
    await platform.begin()
    with pytest.raises(Conflict, match="users is on its way to 2: wait for it, or abort it first"):
        await platform.begin(replace(ASKED, new="3"))


async def test_what_a_service_has_is_not_released_again(platform: Platform) -> None:
    with pytest.raises(Conflict, match="users has release 1 already"):
        await platform.begin(replace(ASKED, new="1"))


async def test_an_abort_is_told_as_it_is_written_and_not_with_the_next_sweep(platform: Platform) -> None:
    row = await platform.begin(replace(ASKED, plan=blue_green(2, bake=3_600.0)))
    await platform.ground.hears("stepping", 10_000)
    await asyncio.sleep(0.3)  # between two sweeps
    begun = asyncio.get_running_loop().time()
    with platform.node.context(OPERATOR):
        await platform.releases.command(row.id, "abort", who="ada")
    await platform.ground.hears("rolling_back", 0)
    assert asyncio.get_running_loop().time() - begun < 0.05, "of virtual time, in which a sweep is a second away"
    row = await platform.until(row.id, *ENDED)
    assert (row.state, row.blamed, row.history[-2].who) == ("rolled_back", False, "ada")
    assert await platform.node.collection(Veto).count() == 0


async def test_nothing_changes_while_the_ground_is_away(platform: Platform) -> None:
    row = await platform.begin()
    platform.ground.away = True
    await asyncio.sleep(3_600.0)
    before = await platform.node.collection(Rollout).get(row.id)
    assert before.state not in ENDED
    platform.ground.away = False
    assert (await platform.until(row.id, *ENDED)).state == "done"


async def test_a_node_that_goes_by_an_older_route_holds_everything_up(platform: Platform) -> None:
    async def behind(position: int) -> Rollout:
        for _ in range(4):
            await platform.releases.followed("front", position)
            await asyncio.sleep(SAYS_SECONDS)
        return await platform.node.collection(Rollout).get(row.id)

    await platform.releases.followed("front", 0)
    row = await platform.begin(replace(ASKED, plan=blue_green(2)))
    held = await behind(0)
    # It would ask an instance of the new release as soon as it is there.
    assert (held.state, held.new_count) == ("preparing", 0)
    assert held.why == "not every edge and node knows yet that it has no share"
    held = await behind((await platform.route("users")).rev)
    assert (held.state, held.shown, held.watched) == ("stepping", True, 0.0)
    await platform.releases.followed("front", (await platform.route("users")).rev)
    assert (await platform.until(row.id, *ENDED)).state == "done"


async def test_nodes_that_the_ground_knows_have_to_say_so_even_if_none_was_heard_yet(platform: Platform) -> None:
    platform.ground.callers = ("front-1",)
    row = await platform.begin(replace(ASKED, plan=blue_green(2)))
    await platform.releases.followed("front-2", 10_000)
    await asyncio.sleep(SAYS_SECONDS)
    assert (await platform.node.collection(Rollout).get(row.id)).state == "preparing"
    for _ in range(4):
        await platform.releases.followed("front-1", (await platform.route("users")).rev)
        await asyncio.sleep(SAYS_SECONDS)
    assert (await platform.until(row.id, *ENDED)).state == "done"


async def test_only_who_may_release_does(platform: Platform) -> None:
    with platform.node.context(Headers(identity=Identity("eve"))), pytest.raises(Forbidden):
        await platform.releases.begin(ASKED)


def member(service: str, *needs: str) -> Member:
    return Member(service=service, old="1", new="2", plan=blue_green(1, bake=2.0), instances=1, needs=needs)


async def test_a_set_goes_one_after_the_other_and_ends_together(platform: Platform) -> None:
    with platform.node.context(OPERATOR):
        one = await platform.releases.begin_set([member("shop", "stock"), member("stock")], who="ada")
    sets = platform.node.collection(ReleaseSet)
    async with asyncio.timeout(3_600.0):
        async for told in sets.changes(lambda row: row.state == "done", after=await sets.cursor()):
            assert not isinstance(told, Deleted)
            break
    rollouts = [row async for row in platform.node.collection(Rollout).scan(lambda row: row.release_set == one.id)]
    assert {row.service: row.state for row in rollouts} == {"shop": "done", "stock": "done"}
    began = {row.service: row.began_at for row in rollouts}
    assert began["stock"] + 2.0 < began["shop"], "who is called was there, and was watched, before who calls it began"
    assert len({row.ended_at for row in rollouts}) == 1
    assert platform.ground.among == {one: ["stock 2", "shop 2"] for one in ("stock", "shop")}


async def test_where_one_of_a_set_fails_all_go_back(platform: Platform) -> None:
    platform.ground.bad = "shop"
    with platform.node.context(OPERATOR):
        await platform.releases.begin_set([member("shop", "stock"), member("stock")])
    sets = platform.node.collection(ReleaseSet)
    async with asyncio.timeout(3_600.0):
        async for told in sets.changes(lambda row: row.state == "rolled_back", after=await sets.cursor()):
            assert isinstance(told, Created)
            assert told.after.why.startswith("shop: the last ")
            break
    states = [(row.service, row.state, row.blamed) async for row in platform.node.collection(Rollout).scan()]
    assert sorted(states) == [("shop", "rolled_back", True), ("stock", "rolled_back", False)]


async def test_who_calls_one_of_a_set_that_turns_out_bad_goes_back_in_the_same_moment(platform: Platform) -> None:
    with platform.node.context(OPERATOR):
        one = await platform.releases.begin_set([member("shop", "stock"), member("stock")])
    rollouts, sets = platform.node.collection(Rollout), platform.node.collection(ReleaseSet)
    turns: dict[str, float] = {}
    async with asyncio.timeout(3_600.0):
        async for told in rollouts.changes(lambda row: row.release_set == one.id, after=await rollouts.cursor()):
            assert not isinstance(told, Deleted)
            if told.after.service == "shop" and told.after.share:
                platform.ground.bad = "stock"
            if told.after.state == "rolling_back":
                turns.setdefault(told.after.service, told.after.history[-1].at)
            if len(turns) == 2:
                break
        assert turns["shop"] == turns["stock"]
        async for done in sets.changes(lambda row: row.state == "rolled_back", after=await sets.cursor()):
            assert isinstance(done, Created)
            assert done.after.why.startswith("stock: ")
            break


async def test_a_set_of_which_one_cannot_begin_does_not_begin(platform: Platform) -> None:
    await platform.begin()
    with platform.node.context(OPERATOR), pytest.raises(Conflict, match="users is on its way"):
        await platform.releases.begin_set([member("stock"), member("users", "stock")])
    assert await platform.node.collection(ReleaseSet).count() == 0
