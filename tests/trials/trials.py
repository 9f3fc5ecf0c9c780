"""What is tried: releases that come to their places, instances that are killed, releases that are bad."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import msgspec
from tests.trials.system import BAD, Tried, tried
from tests.trials.visitors import Visit, Visitors

from hanse.control.rollout import ENDED, Rollout
from hanse.deploy.release_words import ReleaseAsk

PER_SECOND = 200.0
ROLLOUT_SECONDS = 120.0
LOOK_SECONDS = 0.05


class Deployed(msgspec.Struct, frozen=True):
    """Releases by one strategy.

    Attributes:
        strategy: Which.
        times: How many.
        requests: From outside meanwhile.
        failed: Of these, those that were not answered with 200.
        seconds: Of one release, the median.
        worst_ms: The slowest answer.
    """

    strategy: str
    times: int
    requests: int
    failed: int
    seconds: float
    worst_ms: float


class Killed(msgspec.Struct, frozen=True):
    """Instances that were killed.

    Attributes:
        kills: How many.
        requests: From outside meanwhile.
        safe, safe_failed: Those that may be repeated (`GET`, or with a key), and those of them that failed.
        others, others_failed: The rest.
        untold: Of those that failed, those whose answer did not say that nobody knows what came of them.
    """

    kills: int
    requests: int
    safe: int
    safe_failed: int
    others: int
    others_failed: int
    untold: int


class Bad(msgspec.Struct, frozen=True):
    """Bad releases of one kind, at 5 % of the visitors.

    Attributes:
        kind: What is bad.
        times: How many.
        back: How many went back by themselves.
        seconds: From its first share until it has none, the median.
        failed, users: Requests that it failed, and visitors that they were of, the most of any.
    """

    kind: str
    times: int
    back: int
    seconds: float
    failed: int
    users: int


ASKS: dict[str, Callable[[str], ReleaseAsk]] = {
    "rolling": lambda to: ReleaseAsk(service="web", to=to, strategy="rolling", every=0.0, bake=0.0),
    "blue-green": lambda to: ReleaseAsk(service="web", to=to, strategy="blue-green", bake=0.0),
    "canary": lambda to: ReleaseAsk(service="web", to=to, steps=(50.0, 100.0), every=1.0, requests=50, bake=0.0),
}


async def over(system: Tried, ask: ReleaseAsk) -> Rollout:
    """A rollout, once it is over."""
    row = (await asyncio.to_thread(system.release, ask)).rollouts[0].rollout
    async with asyncio.timeout(ROLLOUT_SECONDS):
        while row.state not in ENDED:
            await asyncio.sleep(LOOK_SECONDS)
            row = (await asyncio.to_thread(system.rollout)).rollouts[0].rollout
    return row


async def deployed(system: Tried, strategy: str, times: int) -> Deployed:
    """Release again and again, under visitors."""
    took: list[float] = []

    async def work() -> None:
        for _ in range(times):
            told = await asyncio.to_thread(system.rollout)
            to = "../b" if told.releases.get("web", "a") in ("a", "base") else "../a"
            row = await over(system, ASKS[strategy](to))
            if row.state != "done":
                raise SystemExit(f"{strategy}: {row.state}: {row.why}")
            took.append(row.ended_at - row.began_at)

    visits = await Visitors(system.status().edge, PER_SECOND).during(work)
    failed = sum(visit.status != 200 for visit in visits)
    worst = max(visit.seconds for visit in visits) * 1_000
    return Deployed(strategy, times, len(visits), failed, round(median(took), 1), round(worst))


async def killed(system: Tried, times: int) -> Killed:
    """Kill one instance after the other, under visitors who also write."""

    async def work() -> None:
        kills = 0
        while kills < times:
            await asyncio.sleep(2.0)
            kills += bool(await asyncio.to_thread(system.kill, kills))
        await asyncio.sleep(1.0)

    visits = await Visitors(system.status().edge, PER_SECOND, posts=0.4).during(work)
    safe = [visit for visit in visits if visit.method == "GET" or visit.keyed]
    others = [visit for visit in visits if visit.method == "POST" and not visit.keyed]
    lost = [visit for visit in others if visit.status != 200]
    return Killed(
        times,
        len(visits),
        len(safe),
        sum(visit.status != 200 for visit in safe),
        len(others),
        len(lost),
        sum("outcome_unknown" not in visit.body for visit in lost),
    )


async def bad(system: Tried, kind: str, times: int) -> Bad:
    """Release what is bad, and see how soon it goes back."""
    number = list(BAD).index(kind)
    rows: list[Rollout] = []
    harmed: list[list[Visit]] = []

    async def work() -> None:
        # So that it is known what is slow, and what fails, before.
        await asyncio.sleep(5.0)
        ask = ReleaseAsk(service="web", to=f"../bad{number}", steps=(5.0, 100.0), every=30.0, requests=100)
        rows.append(await over(system, ask))

    for _ in range(times):
        visits = await Visitors(system.status().edge, PER_SECOND, seed=len(rows)).during(work)
        slow = [visit for visit in visits if visit.seconds > 0.4]
        harmed.append([visit for visit in visits if visit.status != 200] or slow)
        await asyncio.to_thread(lift, system, f"bad{number}")
    back = [row for row in rows if row.state == "rolled_back"]
    return Bad(
        kind,
        times,
        len(back),
        round(median([_seconds(row) for row in back] or [0.0]), 1),
        max(map(len, harmed)),
        max(len({visit.user for visit in some}) for some in harmed),
    )


def lift(system: Tried, release: str) -> None:
    """Have a release that went back be tried again."""
    from hanse.deploy.release_words import RolloutAsk

    if any(veto.release == release for veto in system.rollout().vetoes):
        _ = system.rollout(RolloutAsk(service="web", lift=release))


def _seconds(row: Rollout) -> float:
    shown = next(turn.at for turn in row.history if turn.share)
    return next(turn.at for turn in row.history if turn.state == "rolling_back") - shown


def all_of(folder: Path, deploys: int, kills: int, bads: int) -> Iterator[Deployed | Killed | Bad]:
    """Everything, one after the other, each in a system of its own."""
    for strategy in ASKS:
        with tried(_made(folder / strategy), 3) as system:
            yield asyncio.run(deployed(system, strategy, deploys))
    with tried(_made(folder / "kills"), 8) as system:
        yield asyncio.run(killed(system, kills))
    for kind in BAD:
        with tried(_made(folder / kind.replace(" ", "-")), 3) as system:
            yield asyncio.run(bad(system, kind, bads))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
