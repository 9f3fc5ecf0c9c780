"""How bad a world is, and what that comes to for one seed: which incidents, and what weather in between.

A profile is a swarm (Groce et al.: Swarm Testing, 2012): for each seed some kinds of incidents are switched off and the
others are more or less frequent, because a kind that is always there hides what only happens in its absence (a machine
that is killed every few seconds never fills a queue). So seeds differ in kind, not only in timing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.sim.chance import Draws
from hanse.sim.plan import DOWN_SECONDS, KINDS, Cut, Incident, Plan

T = TypeVar("T")

FIRST_AT = 0.5
"""Second before which nothing goes wrong, so that a world has begun."""

INCIDENTS_MAX = 500
"""Incidents of one plan at most, however long it is."""

PLACES_MAX = 20
"""Times and machines tried for one incident; where all clash with others, it is left out."""

Kind = Literal[
    "kill",
    "kill_at",
    "power",
    "lost_flush",
    "pause",
    "slow_disk",
    "full_disk",
    "clock",
    "cut",
    "delay",
    "loss",
    "repeat",
    "replace",
]
"""A kind of incident, as plans tag it."""

Range = tuple[float, float]
"""The least and the most."""


class Odds(msgspec.Struct, frozen=True):
    """How likely a kind of incident is, and how bad.

    Attributes:
        kind: Of the incident.
        weight: How often it comes, against the others of the profile.
        seconds: How long it lasts; short ones are more frequent.
        amount: Of what it takes (factor, jump, longest delay, share); small ones are more frequent.
        off: Share of seeds that do without it.
    """

    kind: Kind
    weight: float
    seconds: Range
    amount: Range = (0.0, 0.0)
    off: float = 0.5


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What the machines and the network between them are like while no incident is on.

    Attributes:
        latency_low, latency_high: Seconds that a packet takes.
        loss: Share of packets that are lost.
        repeat: Share of packets that arrive twice.
        disk_low, disk_high: Seconds that an access to a disk takes.
        skew_max: Seconds by which a machine's wall clock is off at most, either way.
        drift_max: Seconds by which a machine's clocks go wrong in a second at most, either way (0.0001 are 100 ppm).
    """

    latency_low: float
    latency_high: float
    loss: float = 0.0
    repeat: float = 0.0
    disk_low: float = 0.0001
    disk_high: float = 0.0005
    skew_max: float = 0.0
    drift_max: float = 0.0


CALM_WEATHER = Weather(latency_low=0.0002, latency_high=0.002)
"""The best weather that there is."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How bad a world is.

    Attributes:
        name: Lower-case letters, digits and underscores, so that it can be part of a token.
        per_second: Incidents in a second, on average over seeds.
        odds: The kinds of incidents; one that is not here does not happen.
        worst: The worst weather; that of a seed is between it and `CALM_WEATHER`.

    Raises:
        Misconfigured: A name, weight or range cannot be used.

    Example:
        >>> stormy = Profile(name="stormy", per_second=0.2, odds=(Odds("cut", 1.0, (0.5, 20.0)),))
        >>> {type(incident).__name__ for incident in draw_plan(stormy, 2, ["a"], [], 60.0)}
        {'Cut'}
    """

    name: str
    per_second: float = 0.0
    odds: tuple[Odds, ...] = ()
    worst: Weather = CALM_WEATHER

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise Misconfigured(f"a profile's name is lower-case letters, digits and underscores, not {self.name!r}")
        if not 0.0 <= self.per_second < math.inf:
            raise Misconfigured(f"profile {self.name}: expected incidents in a second, got {self.per_second}")
        for odds in self.odds:
            _check(self.name, odds)


def _check(name: str, odds: Odds) -> None:
    shortest, longest = odds.seconds
    if odds.kind not in KINDS:
        raise Misconfigured(f"profile {name}: there is no incident {odds.kind!r}; the kinds are {', '.join(KINDS)}")
    if not (0.0 < odds.weight < math.inf and 0.0 <= odds.off < 1.0):
        raise Misconfigured(
            f"profile {name}: {odds.kind} needs a weight above 0 and to be off in a share of seeds below 1,"
            f" not {odds.weight} and {odds.off}; leave a kind out to have none of it"
        )
    if not (0.0 < shortest <= longest < math.inf and 0.0 <= odds.amount[0] <= odds.amount[1] < math.inf):
        raise Misconfigured(
            f"profile {name}: {odds.kind} needs ranges from the least to the most, of seconds above 0 and amounts from"
            f" 0, not {odds.seconds} and {odds.amount}"
        )


_NETWORK = (
    Odds("cut", 2.0, (0.2, 8.0)),
    Odds("delay", 1.5, (0.5, 6.0), (0.01, 1.0)),
    Odds("loss", 1.5, (0.5, 6.0), (0.02, 0.4)),
    Odds("repeat", 1.0, (0.5, 6.0), (0.02, 0.5)),
)
_SLOW_DISK = Odds("slow_disk", 1.5, (0.5, 6.0), (2.0, 200.0))
_PAUSE = Odds("pause", 1.5, (0.05, 6.0))
_KILL = Odds("kill", 3.0, (0.05, 4.0))
_HOSTILE = (
    *_NETWORK,
    _SLOW_DISK,
    _PAUSE,
    _KILL,
    Odds("kill_at", 3.0, (0.5, 6.0)),
    Odds("full_disk", 0.7, (0.2, 3.0)),
    Odds("clock", 1.0, (0.5, 10.0), (0.5, 300.0)),
)
_FLAKY_WEATHER = Weather(
    latency_low=0.0005,
    latency_high=0.02,
    loss=0.01,
    repeat=0.01,
    disk_low=0.0005,
    disk_high=0.005,
    skew_max=1.0,
    drift_max=0.00005,
)
_HOSTILE_WEATHER = Weather(
    latency_low=0.001,
    latency_high=0.02,
    loss=0.02,
    repeat=0.02,
    disk_low=0.001,
    disk_high=0.01,
    skew_max=5.0,
    drift_max=0.0002,
)

CALM = "calm"
"""The profile under which nothing goes wrong, in the best weather that there is."""

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(name=CALM),
        Profile(
            name="flaky",
            per_second=0.3,
            odds=(*_NETWORK, _SLOW_DISK, _PAUSE, Odds("kill", 0.2, (0.05, 4.0), off=0.6)),
            worst=_FLAKY_WEATHER,
        ),
        Profile(name="hostile", per_second=0.5, odds=_HOSTILE, worst=_HOSTILE_WEATHER),
        Profile(
            name="deploy",
            per_second=0.45,
            odds=(*_HOSTILE, Odds("replace", 12.0, (0.2, 5.0), off=0.05)),
            worst=_HOSTILE_WEATHER,
        ),
        Profile(
            name="power",
            per_second=0.35,
            odds=(*_NETWORK[:2], _SLOW_DISK, _KILL, Odds("power", 6.0, (0.05, 4.0), off=0.1)),
            worst=_FLAKY_WEATHER,
        ),
    )
}
"""The profiles that there are, by name: from `calm` (nothing goes wrong) to `hostile`; `deploy` replaces the code under
half of that, `power` takes what was not flushed."""


def profile_named(name: str) -> Profile:
    """A profile by its name.

    Raises:
        Misconfigured: There is none of this name.

    Example:
        >>> profile_named("calm").odds
        ()
    """
    profile = PROFILES.get(name) or _added.get(name)
    if profile is None:
        raise Misconfigured(f"there is no profile {name!r}; choose one of {', '.join((*PROFILES, *_added))}")
    return profile


def add_profile(profile: Profile) -> Profile:
    """Make a profile of one's own known by its name, in the module of the simulation that uses it.

    Raises:
        Misconfigured: The name is taken by another one.

    Example:
        >>> odds = Odds("delay", 1.0, seconds=(1.0, 9.0), amount=(0.1, 2.0))
        >>> windy = add_profile(Profile(name="windy", per_second=0.2, odds=(odds,)))
        >>> profile_named("windy") is windy
        True
    """
    known = PROFILES.get(profile.name) or _added.get(profile.name)
    if known not in (None, profile):
        raise Misconfigured(f"there is a profile {profile.name!r} already; choose another name")
    return _added.setdefault(profile.name, profile)


_added: dict[str, Profile] = {}


class _Scene(msgspec.Struct, frozen=True):
    """What incidents can happen to."""

    machines: tuple[str, ...]
    points: tuple[str, ...]
    client: str


def draw_plan(
    profile: Profile,
    seed: int,
    machines: Sequence[str],
    points: Sequence[str],
    seconds: float,
    client: str = "client",
) -> Plan:
    """What goes wrong under a seed, by the time at which it begins; the same for the same arguments, everywhere.

    Nothing begins before `FIRST_AT`, and everything is over by `seconds`. A machine goes down once at a time, and
    incidents of one kind at one machine do not overlap; cuts may.

    Args:
        profile: How bad it is.
        seed: What the rest is drawn from.
        machines: Those that incidents may hit.
        points: Names of the code's fault points; without any, nothing is killed at one.
        seconds: When all is over.
        client: The world's own machine: it can be cut off, and nothing else.

    Example:
        >>> plan = draw_plan(profile_named("hostile"), 17, ["orders", "mailer"], ["unit.after_commit"], 20.0)
        >>> max(incident.at + incident.seconds for incident in plan) <= 20.0
        True
    """
    scene = _Scene(tuple(machines), tuple(points), client)
    draws = Draws(seed, "plan", profile.name)
    odds = _swarm(profile, scene, draws)
    wanted = profile.per_second * draws.between(0.4, 1.6) * max(0.0, seconds - FIRST_AT)
    count = min(INCIDENTS_MAX, int(wanted + draws.draw()))
    plan: list[Incident] = []
    for number in range(count if odds else 0):
        incident = _placed(odds, scene, seconds, plan, Draws(seed, "plan", profile.name, number))
        if incident is not None:
            plan.append(incident)
    return tuple(sorted(plan, key=lambda incident: incident.at))


def draw_weather(profile: Profile, seed: int) -> Weather:
    """What it is like between the incidents; half of the troubles that a profile knows are off under each seed.

    Example:
        >>> draw_weather(profile_named("calm"), 7) == CALM_WEATHER
        True
    """
    draws = Draws(seed, "weather", profile.name)
    worst = profile.worst
    drawn = {
        name: _between(draws, getattr(CALM_WEATHER, name), getattr(worst, name)) if _happens(draws, 0.5) else None
        for name in Weather.__struct_fields__
    }
    weather = msgspec.structs.replace(CALM_WEATHER, **{name: value for name, value in drawn.items() if value})
    return msgspec.structs.replace(
        weather,
        latency_low=min(weather.latency_low, weather.latency_high),
        disk_low=min(weather.disk_low, weather.disk_high),
    )


def _swarm(profile: Profile, scene: _Scene, draws: Draws) -> tuple[Odds, ...]:
    """The kinds that are on, each more or less frequent than usual; one at least, if there is any."""
    able = [odds for odds in profile.odds if scene.machines and (odds.kind != "kill_at" or scene.points)]
    if not able:
        return ()
    varied = [
        (msgspec.structs.replace(odds, weight=odds.weight * draws.between(0.2, 1.8)), draws.draw() >= odds.off)
        for odds in able
    ]
    return tuple(odds for odds, is_on in varied if is_on) or (_pick(draws, varied)[0],)


def _placed(
    odds: tuple[Odds, ...], scene: _Scene, seconds: float, plan: Sequence[Incident], draws: Draws
) -> Incident | None:
    for _ in range(PLACES_MAX):
        incident = _drawn(_pick_weighted(draws, odds), scene, seconds, draws)
        if incident is not None and not any(_clashes(incident, other) for other in plan):
            return incident
    return None


def _drawn(odds: Odds, scene: _Scene, seconds: float, draws: Draws) -> Incident | None:
    """An incident somewhere in time, or None where there is no time for one."""
    tail = DOWN_SECONDS if odds.kind == "lost_flush" else 0.0
    # A millisecond less than there is, so that no sum of rounded numbers ends after the end.
    room = seconds - FIRST_AT - tail - 0.001
    shortest, longest = odds.seconds
    if room < shortest:
        return None
    lasting = _between(draws, shortest, min(longest, room))
    at = _rounded(FIRST_AT + draws.draw() * (room - lasting))
    if odds.kind == "cut":
        return _cut(at, lasting, scene, draws)
    return _on_machine(odds, at, lasting, scene, draws)


def _on_machine(odds: Odds, at: float, seconds: float, scene: _Scene, draws: Draws) -> Incident:
    fields: dict[str, object] = {"at": at, "seconds": seconds, "machine": _pick(draws, scene.machines)}
    if odds.kind == "kill_at":
        fields["point"] = _pick(draws, scene.points)
    elif odds.kind in _AMOUNTS:
        fields[_AMOUNTS[odds.kind]] = amount = _between(draws, *odds.amount)
        if odds.kind == "clock" and not _happens(draws, 0.5):
            fields["jump"] = -amount
        elif odds.kind == "delay":
            fields["reorder"] = _happens(draws, 0.5)
    return msgspec.convert(fields, KINDS[odds.kind])


_AMOUNTS = {"slow_disk": "factor", "clock": "jump", "delay": "most", "loss": "share", "repeat": "share"}
"""What there may be more or less of, of each kind that has that."""


def _cut(at: float, seconds: float, scene: _Scene, draws: Draws) -> Cut:
    """One machine or a random half, from all others, from its peers only, or from the client only; either way round."""
    shuffled = _shuffled(draws, scene.machines)
    size = 1 if _happens(draws, 0.5) else max(1, len(shuffled) // 2)
    inside = tuple(name for name in scene.machines if name in shuffled[:size])
    peers = tuple(name for name in scene.machines if name not in inside)
    outside = _pick(draws, ((*peers, scene.client), peers or (scene.client,), (scene.client,)))
    one_way = _happens(draws, 0.35)
    if one_way and _happens(draws, 0.5):
        inside, outside = outside, inside
    return Cut(at=at, seconds=seconds, machines=inside, others=outside, one_way=one_way)


_DOWN = frozenset({"kill", "kill_at", "power", "lost_flush", "replace"})


def _clashes(one: Incident, other: Incident) -> bool:
    """Whether two incidents would get in each other's way: a machine that is down cannot go down."""
    if isinstance(one, Cut) or isinstance(other, Cut) or one.machine != other.machine:
        return False
    alike = one.tag == other.tag or {one.tag, other.tag} <= _DOWN
    return alike and one.at <= _end(other) and other.at <= _end(one)


def _end(incident: Incident) -> float:
    return incident.at + incident.seconds + (DOWN_SECONDS if incident.tag == "lost_flush" else 0.0)


def _between(draws: Draws, low: float, high: float) -> float:
    """A number in a range, more often near its lower end: trouble is mostly small."""
    share = draws.draw()
    return min(high, max(low, _rounded(low + (high - low) * share * share)))


def _rounded(value: float) -> float:
    """Rounded down, so that plans are short to write; where a number is small, more of its digits count."""
    scale = 10_000 if value >= 0.01 else 10_000_000  # noqa: PLR2004 - either way three digits or more
    return math.floor(value * scale) / scale


def _happens(draws: Draws, share: float) -> bool:
    return draws.draw() < share


def _pick(draws: Draws, items: Sequence[T]) -> T:
    return items[int(draws.draw() * len(items))]


def _pick_weighted(draws: Draws, items: Sequence[Odds]) -> Odds:
    left = draws.draw() * sum(odds.weight for odds in items)
    for odds in items[:-1]:
        left -= odds.weight
        if left < 0.0:
            return odds
    return items[-1]


def _shuffled(draws: Draws, items: Sequence[str]) -> list[str]:
    keyed = [(draws.draw(), name) for name in items]
    return [name for _, name in sorted(keyed)]
