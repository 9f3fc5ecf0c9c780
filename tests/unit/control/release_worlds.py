"""Releases while the controller, the ground and the network between them break:

hanse sim tests/unit/control/release_worlds.py:releases --seeds 100
"""

from __future__ import annotations

from msgspec.structs import replace

from hanse import App, Collection, Conflict, Fault, Resource, Service, Setup, Unavailable, World, every, simulation
from hanse.control.edge_table import WHOLE
from hanse.control.ground import Ground, Sight, Wanted
from hanse.control.judged import Tally
from hanse.control.plan import Plan, blue_green, canary, rolling
from hanse.control.releases import Asked, Releases, Standing
from hanse.control.rollout import ENDED, Crew, Rollout
from hanse.control.window import Both, Outcomes
from hanse.kernel.message import Headers, Identity
from hanse.node.kept_routes import KeptRoute

OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"releases:write"})))

PLANS: dict[str, Plan] = {
    "users": canary(3, (5, 50), every=3.0, requests=20, bake=6.0),
    "orders": rolling(3, every=3.0, bake=6.0),
    "mails": blue_green(2, bake=6.0),
}
OLD, GOOD, BAD = "1", "2-good", "2-bad"


class Plot(Resource):
    """The instances and the edge of one service; its id is the service's name."""

    wanted: Wanted
    old: Crew
    new: Crew
    share: int = 0
    asked: int = 0
    asked_old: int = 0
    failed: int = 0
    worst: int = 0
    fewest: int = 100


class Machine(Service, Ground, name="machine", owns=(Plot,)):
    """Does what is wanted, in its own time."""

    plots: Collection[Plot]

    async def carry(self, wanted: Wanted) -> Sight:
        found = await self.plots.find(lambda plot: plot.id == wanted.service)
        n = wanted.old_count + wanted.new_count
        row = found.items[0] if found.items else Plot(id=wanted.service, wanted=wanted, old=Crew(n, n), new=Crew())
        if wanted.position >= row.wanted.position:
            row = await self.plots.put(replace(row, wanted=wanted))
        both = Both(new={"n": Outcomes(row.asked, row.failed)}, old={"o": Outcomes(row.asked_old)})
        return Sight(
            old=row.old,
            new=row.new,
            share=row.share,
            mirrored=0,
            came="passed",
            tally=Tally(wanted.rollout, {"GET /": both}),
        )

    async def settle(self, service: str, release: str, source: str, position: int) -> None:
        found = await self.plots.find(lambda plot: plot.id == service)
        for row in found.items:
            if position >= row.wanted.position:
                n, is_new = PLANS[service].steps[-1].new, release == row.wanted.new
                counts = {"new_count": n if is_new else 0, "old_count": 0 if is_new else n}
                wanted = replace(row.wanted, **counts, share=WHOLE if is_new else 0, position=position)
                _ = await self.plots.put(replace(row, wanted=wanted))

    @every("1s")
    async def move(self) -> None:
        async for row in self.plots.scan():
            wanted = row.wanted
            moved = replace(
                row,
                old=_moved(row.old, wanted.old_count),
                new=_moved(row.new, wanted.new_count),
                share=wanted.share,
                asked=row.asked + (10 if row.share else 0),
                asked_old=row.asked_old + (40 if row.share < WHOLE else 0),
                failed=row.failed + (5 if row.share and wanted.new == BAD else 0),
                worst=max(row.worst, row.share) if wanted.new == BAD else row.worst,
            )
            total = moved.old.ready + moved.new.ready
            await self.plots.put(replace(moved, fewest=min(row.fewest, total)))


def _moved(crew: Crew, wanted: int) -> Crew:
    running = crew.running + (wanted > crew.running) - (wanted < crew.running)
    return Crew(min(crew.running, running), running)


SETUP = Setup(app=App("platform", Releases, Machine))


@simulation(SETUP, seconds=60.0, seeds=4, sometimes=("a good one is there", "a bad one went back"))
async def releases(world: World) -> None:
    world.always("at most one rollout of a service is on its way", lambda: one_at_a_time(world))
    world.always("a bad release never gets more than its first share", lambda: bad_is_held(world))
    world.eventually("whatever was begun is over, and all agree on it", lambda: all_agree(world))
    service = world.chance.choice(sorted(PLANS))
    for name in (service, *sorted(set(PLANS) - {service})):
        new = world.chance.choice((GOOD, BAD))
        await insist(world, name, new)
        await world.advance(world.chance.random() * 10.0)
        if world.chance.random() < 0.2:
            await abort(world, name)
    await world.advance(world.seconds)


async def insist(world: World, service: str, new: str) -> None:
    """Begin a rollout, however often it has to be asked for."""
    plan = PLANS[service]
    asked = Asked(service=service, new=new, plan=plan, instances=plan.steps[-1].new, old=OLD)
    for _ in range(50):
        try:
            with world.context(OPERATOR):
                await world.client(Releases).begin(asked)
        except Conflict:
            return
        except Fault:
            await world.advance(1.0)
        else:
            return


async def abort(world: World, service: str) -> None:
    live = [row for row in world.rows(Rollout) if row.service == service and row.state not in ENDED]
    for row in live:
        try:
            with world.context(OPERATOR):
                await world.client(Releases).command(row.id, "abort", who="ada")
        except (Conflict, Unavailable, Fault):
            pass


def one_at_a_time(world: World) -> None:
    live = [row.service for row in world.rows(Rollout) if row.state not in ENDED]
    assert len(live) == len(set(live)), live
    standing = {row.id: row.rollout for row in world.rows(Standing) if row.rollout}
    assert sorted(standing) == sorted(live)


def bad_is_held(world: World) -> None:
    for row in world.rows(Rollout):
        if row.new == BAD and row.plan.strategy == "canary":
            assert row.step == 0, f"{row.service} went on to step {row.step}"
        assert row.new != BAD or row.state != "done", f"{row.service} has {row.new}"


def all_agree(world: World) -> None:
    for row in world.rows(Rollout):
        assert row.state in ENDED, f"{row.service} {row.new}: {row.state} at {row.step}, {row.why}"
        release = row.new if row.state == "done" else row.old
        standing = next(one for one in world.rows(Standing) if one.id == row.service)
        assert (standing.release, standing.rollout) == (release, "")
        route = next(one for one in world.rows(KeptRoute) if one.id == row.service)
        assert set(route.route.releases) == {release}
        plot = next(one for one in world.rows(Plot) if one.id == row.service)
        crews = (plot.new, plot.old) if release == plot.wanted.new else (plot.old, plot.new)
        assert [crew.running for crew in crews] == [row.instances, 0], f"{row.service}: {plot}"
        assert plot.fewest >= row.instances, f"{row.service} had {plot.fewest} of {row.instances} at its worst"
        world.sometimes("a good one is there" if row.state == "done" else "a bad one went back")
