"""What is tried: releases that come to their places, that are bad or aborted, and instances that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from tests.trials.outcomes import Aborted, Bad, Deployed, Killed, Mirrored, Outcome
from tests.trials.system import BAD, Tried, tried
from tests.trials.visitors import Visit, Visitors

from hanse.control.rollout import ENDED, Rollout
from hanse.deploy.edge.driver import Driver
from hanse.deploy.release_words import ReleaseAsk, RolloutAsk, RolloutTold

PER_SECOND = 200.0
ROLLOUT_SECONDS = 240.0
OUT_LOOK_SECONDS = 0.002
"""Between two looks at whether a killed instance is out of rotation: whoever asks all the time slows the edge down."""

LOOK_SECONDS = 0.05
CALM_SECONDS = 5.0
"""Before a bad release comes, so that it is known what is slow, and what fails."""

PAUSE_SECONDS = 1.0
"""Between two kills, once all are ready."""

SLOW_SECONDS = 0.4
"""An answer that took longer has harmed whoever waited for it."""


class Part(msgspec.Struct, frozen=True):
    """One part of the trials.

    Attributes:
        does: Does it so many times, in a system.
        times: How often, for what is promised.
        instances: Of the service.
    """

    does: Callable[[Tried, int], Coroutine[Any, Any, Outcome]]
    times: int
    instances: int = 3

    def run(self, folder: Path, times: int) -> Outcome:
        """Do it in a system of its own."""
        with tried(folder, self.instances) as system:
            return asyncio.run(self.does(system, times))


ASKS: dict[str, Callable[[str], ReleaseAsk]] = {
    "rolling": lambda to: ReleaseAsk(service="web", to=to, strategy="rolling", every=0.0, bake=0.0),
    "blue-green": lambda to: ReleaseAsk(service="web", to=to, strategy="blue-green", bake=0.0),
    "canary": lambda to: ReleaseAsk(service="web", to=to, steps=(50.0, 100.0), every=1.0, requests=50, bake=0.0),
}


async def latest(system: Tried) -> RolloutTold:
    """How the rollout stands."""
    return (await asyncio.to_thread(system.rollout)).rollouts[0]


async def until(system: Tried, so: Callable[[RolloutTold], bool]) -> RolloutTold:
    """How the rollout stands, once something is so."""
    async with asyncio.timeout(ROLLOUT_SECONDS):
        while not so(told := await latest(system)):  # noqa: ASYNC110 - the system is other processes
            await asyncio.sleep(LOOK_SECONDS)
    return told


async def begun(system: Tried, ask: ReleaseAsk) -> None:
    """A rollout, as it begins."""
    _ = await asyncio.to_thread(system.release, ask)


async def ended(system: Tried) -> Rollout:
    """The rollout, once it is over."""
    return (await until(system, lambda told: told.rollout.state in ENDED)).rollout


async def other(system: Tried) -> str:
    """The good release that the service does not have."""
    told = await asyncio.to_thread(system.rollout)
    return "b" if told.releases.get("web", "a") in ("a", "base") else "a"


async def deployed(strategy: str, system: Tried, times: int) -> Deployed:
    """Release again and again, under visitors."""
    took: list[float] = []

    async def work() -> None:
        for _ in range(times):
            await begun(system, ASKS[strategy](f"../{await other(system)}"))
            row = await ended(system)
            if row.state != "done":
                raise SystemExit(f"{strategy}: {row.state}: {row.why}")
            took.append(row.ended_at - row.began_at)

    visits = await Visitors(system.status().edge, PER_SECOND).during(work)
    worst = max(visit.seconds for visit in visits) * 1_000
    return Deployed(times, len(visits), failures(visits), round(median(took), 1), round(worst))


def failures(visits: list[Visit]) -> int:
    """How many were not answered with 200."""
    return sum(visit.status != 200 for visit in visits)


async def killed(system: Tried, times: int) -> Killed:
    """Kill one instance after the other, under visitors who also write."""
    out: list[float] = []

    async def work() -> None:
        edge = system.edge()
        while len(out) < times:
            await asyncio.sleep(PAUSE_SECONDS)
            # With all of them ready, nothing but the kill changes what the edge shows.
            row = await asyncio.to_thread(system.victim, len(out))
            if row is not None:
                out.append(await out_of_rotation(edge, row.instance, row.pid))
        await asyncio.sleep(PAUSE_SECONDS)

    visits = await Visitors(system.status().edge, PER_SECOND, posts=0.4).during(work)
    safe = [visit for visit in visits if visit.method == "GET" or visit.keyed]
    others = [visit for visit in visits if visit.method == "POST" and not visit.keyed]
    lost = [visit for visit in others if visit.status != 200]
    untold = sum("outcome_unknown" not in visit.body for visit in lost)
    worst = sorted(out)
    return Killed(
        times,
        len(visits),
        len(safe),
        failures(safe),
        len(others),
        len(lost),
        untold,
        round(median(out), 1),
        round(worst[int(0.99 * (len(worst) - 1))], 1),
        round(worst[-1], 1),
    )


async def out_of_rotation(edge: Driver, instance: str, pid: int) -> float:
    """Kill a process; milliseconds until its edge goes by a table without it, or leaves it alone."""
    loop = asyncio.get_running_loop()
    before = (await edge.figures()).revision
    at = loop.time()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(ROLLOUT_SECONDS):
        figures = await edge.figures()
        while figures.revision == before and instance not in figures.ejected:
            await asyncio.sleep(OUT_LOOK_SECONDS)
            figures = await edge.figures()
    return (loop.time() - at) * 1_000


async def aborted(system: Tried, times: int) -> Aborted:
    """Abort releases that half of the visitors have, and see who gets them all the same."""
    seen: list[Visit] = []
    late: list[float] = []

    async def work(visitors: Visitors) -> None:
        release = await other(system)
        await begun(system, ReleaseAsk(service="web", to=f"../{release}", strategy="ab", steps=(50.0,)))
        async with asyncio.timeout(ROLLOUT_SECONDS):
            while not any(release_of(visit) == release for visit in visitors.visits):  # noqa: ASYNC110 - it is told nowhere
                await asyncio.sleep(LOOK_SECONDS)
        _ = await asyncio.to_thread(system.rollout, RolloutAsk(service="web", command="abort"))
        said = asyncio.get_running_loop().time()
        _ = await ended(system)
        late.extend(
            (visit.sent - said) * 1_000
            for visit in visitors.visits
            if visit.sent > said and release_of(visit) == release
        )

    for seed in range(times):
        visitors = Visitors(system.status().edge, PER_SECOND, seed=seed)
        seen += await visitors.during(partial(work, visitors))
    return Aborted(times, len(seen), failures(seen), len(late), round(max(late, default=0.0), 1))


def release_of(visit: Visit) -> str:
    """Who answered; empty for nobody, or not yet."""
    return str(msgspec.json.decode(visit.body)["release"]) if visit.status == 200 else ""


async def bad(kind: str, system: Tried, times: int) -> Bad:
    """Release what is bad, and see how soon it goes back."""
    name = name_of(kind)
    # A leak that is slow is seen after a minute; the step has to last for longer.
    every = 200.0 if "leaks" in BAD[kind] else 30.0
    ask = ReleaseAsk(service="web", to=f"../{name}", steps=(5.0, 100.0), every=every, requests=100)
    rows: list[Rollout] = []
    harmed: list[list[Visit]] = []

    async def work() -> None:
        await asyncio.sleep(CALM_SECONDS)
        await begun(system, ask)
        rows.append(await ended(system))

    for seed in range(times):
        visits = await Visitors(system.status().edge, PER_SECOND, seed=seed).during(work)
        harmed.append([visit for visit in visits if visit.status != 200 or visit.seconds > SLOW_SECONDS])
        await asyncio.to_thread(lift, system, name)
    back = [row for row in rows if row.state == "rolled_back"]
    took = [seconds_of(row) for row in back] or [0.0]
    return Bad(
        times,
        len(back),
        round(median(took), 1),
        round(max(took), 1),
        max(map(len, harmed)),
        max(len({visit.user for visit in some}) for some in harmed),
        rows[-1].why,
    )


def name_of(kind: str) -> str:
    """The folder of a bad release."""
    return f"bad{list(BAD).index(kind)}"


def lift(system: Tried, release: str) -> None:
    """Have a release that went back be tried again."""
    if any(veto.release == release for veto in system.rollout().vetoes):
        _ = system.rollout(RolloutAsk(service="web", lift=release))


def seconds_of(row: Rollout) -> float:
    """From the first share of a release until it has none."""
    shown = next(turn.at for turn in row.history if turn.share)
    return next(turn.at for turn in row.history if turn.state == "rolling_back") - shown


async def mirrored(kind: str, system: Tried, times: int) -> Mirrored:
    """Ask a release that lacks a field copies only, until it goes back by itself."""
    name = name_of(kind)
    took: list[float] = []
    rows: list[Rollout] = []
    seen: list[Visit] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        await begun(system, ReleaseAsk(service="web", to=f"../{name}", strategy="mirror", every=60.0))
        _ = await until(system, lambda told: told.rollout.mirrored > 0)
        at = loop.time()
        rows.append(await ended(system))
        took.append(loop.time() - at)

    for seed in range(times):
        seen += await Visitors(system.status().edge, PER_SECOND, seed=seed).during(work)
        await asyncio.to_thread(lift, system, name)
    harmed = sum("price" not in visit.body for visit in seen)
    back = sum(row.state == "rolled_back" and "price" in row.why for row in rows)
    return Mirrored(times, back, round(median(took), 1), round(max(took), 1), len(seen), harmed, rows[-1].why)


PARTS: dict[str, Part] = {
    **{strategy: Part(partial(deployed, strategy), 50) for strategy in ASKS},
    "kills": Part(killed, 100, instances=24),
    "aborts": Part(aborted, 20),
    **{kind: Part(partial(bad, kind), 3 if "leaks" in how else 5) for kind, how in BAD.items() if "lacks" not in how},
    **{kind: Part(partial(mirrored, kind), 5) for kind, how in BAD.items() if "lacks" in how},
}
"""All parts, in their order."""
