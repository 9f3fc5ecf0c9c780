"""What speaks for and against a new release by one metric: the comparison, and whether that can be believed.

- An event of a burst counts in part: what fails together has one cause. Events of one route within `BURST_SECONDS` may
  multiply the evidence by no more than e to the power of `BURST`, but for the few that are usual.
- What is late at one instance of the new release at once counts once, as one stall of it is enough for that; see
  `hanse.control.lateness`. Only what speaks against the release leaves that out: to be held up is no merit either.
- Where the new release has several instances, the evidence has to stand without any one of them: else it is that
  instance, or its machine, and not the release.
- The old release is compared with itself, one half of its instances with the other. Where that shows a difference, the
  same is to be borne of the new one: it says how much instances of one release differ here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import log

import msgspec
from msgspec.structs import replace

from hanse.control.comparison import Comparison, Curve
from hanse.control.evidence import BORNE, Evidence, Slice
from hanse.control.lateness import Lateness
from hanse.control.window import OTHERS, Both, Outcomes, total

BURST_SECONDS = 5.0
"""How long what fails on one route is taken for one burst."""

BURST = 20.0
"""The logarithm of what a burst may multiply the evidence by: 7 events at 5 % of the traffic, 29 events at 50 %."""

SHARE_MIN, SHARE_MAX = 0.001, 0.5
"""Shares of the new release between which an event is taken to say less the more it is asked."""

INSTANCES_MAX = 8
"""Instances of the new release that the evidence has to stand without; the rest are taken for one."""

HALVES = 100.0
"""Evidence of a difference between the halves of the old release from which on it is believed."""

BORNE_MAX = BORNE[6]
"""The most that is borne of a new release, 10 times, however much instances of the old one differ."""

MARGIN = 1.2
"""How much more than the old release's own difference is borne of the new one."""

ABSENT_SECONDS = 30.0
"""How long an instance is not asked before it is taken to have gone, and has no say."""

SHARED_MIN = 0.1
"""The part of the new release's requests that others than one instance have to have, to be asked whether they agree."""


class Metric(msgspec.Struct, frozen=True):
    """Something that is compared.

    Attributes:
        name: What it counts.
        stake: Its part of the chance of a false alarm.
        borne: How many times as often the new release may have such events before it is worse; one of `BORNE`.
        tolerated: Less than how many times as often is no worse.
        floor: The part of all that nobody minds, whatever the old release has.
        usual: The part of what is asked that nobody takes for a burst.
        stalls: Whether an instance that is held up has many of them at once.
    """

    name: str
    stake: float
    borne: float
    tolerated: float
    floor: float
    usual: float
    stalls: bool = False


METRICS = (
    Metric("failed", stake=0.5, borne=1.0, tolerated=1.5, floor=0.005, usual=0.002),
    Metric("slow", stake=0.25, borne=BORNE[1], tolerated=2.0, floor=0.1, usual=0.1, stalls=True),
    Metric("slowest", stake=0.25, borne=BORNE[1], tolerated=2.0, floor=0.03, usual=0.02, stalls=True),
)
"""What every release is judged by."""

_COUNTED: Mapping[str, Callable[[Outcomes], tuple[int, int]]] = {
    "failed": lambda one: (one.asked, one.failed),
    "slow": lambda one: (one.timed, one.slow),
    "slowest": lambda one: (one.timed, one.slowest),
}


class Count(msgspec.Struct, frozen=True):
    """Of how many there were so many events."""

    of: int = 0
    events: int = 0

    def __add__(self, other: Count) -> Count:
        """Both together."""
        return Count(self.of + other.of, self.events + other.events)


class Weighed(msgspec.Struct, frozen=True):
    """What is known by one metric; a value that does not grow.

    Attributes:
        metric: Which.
        borne: How many times as often it is borne now.
        new, old: All that was counted since the rollout began, compared or not.
        sound: Requests of the new release since the last one that came to such an event.
        whole: The two releases, as far as that may speak against the new one.
        even: The two releases, with all that was late.
        lateness: What is late at instances of the new release, by their ids.
        without: `whole` without one instance of the new one, by its id; of those that are there.
        asked_at: When these were asked last, in seconds since the rollout began.
        halves: The old release, one half against the other and the other way around.
        apart: How many times as often one half of the old release has events as the other, at least; 1 for not known.
        block, spent: The burst that is under way, and events beyond what is usual that have counted in it, by route.
        curve: The evidence over time.
    """

    metric: Metric
    borne: float
    new: Count = Count()
    old: Count = Count()
    sound: int = 0
    whole: Comparison = Comparison()
    even: Evidence = Evidence()
    lateness: dict[str, Lateness] = {}
    without: dict[str, Comparison] = {}
    asked_at: dict[str, float] = {}
    halves: tuple[Evidence, Evidence] = (Evidence(), Evidence())
    apart: float = 1.0
    block: int = 0
    spent: dict[str, float] = {}
    curve: Curve = Curve()

    @property
    def worse(self) -> float:
        """The evidence that the new release is worse, be it by one instance alone; 1 for none."""
        return self.whole.worse(self.borne)

    @property
    def agreed(self) -> float:
        """The same, without the instance that says most."""
        asked = self.whole.all.new
        others = [one for one in self.without.values() if one.all.new and one.all.new >= SHARED_MIN * asked]
        if len(self.without) == 1:
            return self.worse
        return min((one.worse(self.borne) for one in others), default=self.worse)

    @property
    def alone(self) -> str:
        """The instance without which there is least evidence; empty for none."""
        return min(self.without, key=lambda name: self.without[name].worse(self.borne), default="")


def weigh(metric: Metric) -> Weighed:
    """What is known before anything was asked."""
    return Weighed(metric, metric.borne)


def counted(known: Weighed, routes: Iterable[Both]) -> Weighed:
    """With all that was asked in a window, whether or not it can be compared yet."""
    count = _COUNTED[known.metric.name]
    new, old = Outcomes(), Outcomes()
    for both in routes:
        new += total(both.new.values())
        old += total(both.old.values())
    of, events = count(new)
    sound = 0 if events else known.sound + of
    return replace(known, new=known.new + Count(of, events), old=known.old + Count(*count(old)), sound=sound)


def compared(known: Weighed, routes: Mapping[str, Both], at: float) -> Weighed:
    """With what routes say on which both releases were asked.

    Args:
        known: What was known before.
        routes: By name.
        at: Seconds since the rollout began.
    """
    block = int(at / BURST_SECONDS)
    spent = dict(known.spent) if block == known.block else {}
    parts = {route: _part(known.metric, both, route, spent) for route, both in routes.items()}
    asked_at = _asked_at(known, routes, at)
    names = list(asked_at)
    before = {name: known.without.get(name, known.whole) for name in names}
    lateness, counts = _held_up(known, routes, names, at)
    whole = _slices(known.metric, routes, parts, counts)
    after = replace(
        known,
        whole=known.whole.after(whole),
        even=known.even.after(replace(one, excused=0.0) for one in whole.values()),
        lateness=lateness,
        without={
            name: one.after(_slices(known.metric, routes, parts, counts, without=name)) for name, one in before.items()
        },
        asked_at=asked_at,
        halves=_halves(known, routes, parts),
        block=block,
        spent=spent,
    )
    after = _contaminated(after)
    return replace(after, curve=after.curve.after(at, after.worse))


def _part(metric: Metric, both: Both, route: str, spent: dict[str, float]) -> float:
    """How much of each event of a route counts; notes in `spent` how many have, beyond what is usual."""
    new, new_events = _COUNTED[metric.name](total(both.new.values()))
    old, old_events = _COUNTED[metric.name](total(both.old.values()))
    events = new_events + old_events
    share = min(max(new / (new + old or 1), SHARE_MIN), SHARE_MAX)
    known = spent.get(route, 0.0) - metric.usual * (new + old)
    part = min(1.0, max(0.0, -BURST / log(share) - known) / events) if events else 1.0
    spent[route] = known + part * events
    return part


def _asked_at(known: Weighed, routes: Mapping[str, Both], at: float) -> dict[str, float]:
    """Instances of the new release that are there: those that are known, and others, up to a limit."""
    seen = {name for both in routes.values() for name, one in both.new.items() if one.asked or one.timed}
    there = {name: last for name, last in known.asked_at.items() if at - last <= ABSENT_SECONDS or name in seen}
    room = max(0, INSTANCES_MAX - len(there))
    fresh = sorted(seen - set(there))
    names = {*there, *fresh[:room]}
    asked = [*(seen & names), *([OTHERS] if seen - names else [])]
    return there | dict.fromkeys(sorted(asked), at)


def _held_up(
    known: Weighed, routes: Mapping[str, Both], names: Iterable[str], at: float
) -> tuple[dict[str, Lateness], dict[str, float]]:
    """What is late at each instance of the new release, and how many times each of these requests counts."""
    among = set(names)
    seen: dict[str, Outcomes] = {}
    for both in routes.values():
        for name, one in both.new.items():
            place = name if name in among else OTHERS
            seen[place] = seen.get(place, Outcomes()) + one
    if not known.metric.stalls:
        return {}, dict.fromkeys(seen, 1.0)
    lateness: dict[str, Lateness] = {}
    parts: dict[str, float] = {}
    for name in {**dict.fromkeys(one for one in known.lateness if one in among), **seen}:
        one = seen.get(name, Outcomes())
        of, late = _COUNTED[known.metric.name](one)
        usual, answered = known.metric.usual * of, one.asked > 0 or of > late
        was = known.lateness.get(name, Lateness())
        lateness[name], counts = was.after(at, of - late, late, usual, answered=answered)
        parts[name] = counts / late if late else 1.0
    return lateness, parts


def _slices(
    metric: Metric,
    routes: Mapping[str, Both],
    parts: Mapping[str, float],
    counts: Mapping[str, float],
    without: str = "",
) -> dict[str, Slice]:
    """What came of each route, but for one instance of the new release; `counts` is how often an event of each does."""
    count = _COUNTED[metric.name]
    found: dict[str, Slice] = {}
    for route, both in routes.items():
        places = ((name if name in counts else OTHERS, one) for name, one in both.new.items())
        some = [(counts[place], *count(one)) for place, one in places if place != without]
        old, old_events = count(total(both.old.values()))
        found[route] = Slice(
            sum(of for _, of, _ in some),
            old,
            sum(events for _, _, events in some),
            old_events,
            parts[route],
            sum((1.0 - part) * events for part, _, events in some),
        )
    return found


def _halves(known: Weighed, routes: Mapping[str, Both], parts: Mapping[str, float]) -> tuple[Evidence, Evidence]:
    """Every other instance of the old release, in the order of their names, against the rest of them."""
    count = _COUNTED[known.metric.name]
    there: list[Slice] = []
    for route, both in routes.items():
        of, events = count(total(both.old[name] for name in sorted(both.old)[::2]))
        others, other_events = count(total(both.old[name] for name in sorted(both.old)[1::2]))
        there.append(Slice(of, others, events, other_events, parts[route]))
    back = [Slice(one.old, one.new, one.old_events, one.new_events, one.part) for one in there]
    return known.halves[0].after(there), known.halves[1].after(back)


def _contaminated(known: Weighed) -> Weighed:
    """What the halves of the old release are known to differ by is borne of the new one too."""
    if sum(half.worse() for half in known.halves) / 2.0 < HALVES:
        return known
    # The least that it may be, as what a few failures look like says little of how large it is.
    apart = max(known.apart, *(half.interval(1.0 / HALVES)[0] for half in known.halves))
    enough = min((one for one in BORNE if one >= apart * MARGIN), default=BORNE_MAX)
    return replace(known, apart=apart, borne=max(known.borne, min(enough, BORNE_MAX)))
