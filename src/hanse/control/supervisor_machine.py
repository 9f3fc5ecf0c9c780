"""What is done about what runs, given what should: a pure machine, without clock, processes or chance.

Theory of operation: `System` is all that is known; `supervisor_heard` folds into it what is heard. `decided` compares
it with what is desired, and says what is to be done now, and when to ask again. It may be asked as often as anybody
likes: what it has said once, it does not say again, as the system that it returns knows of it.

An instance goes waiting -> starting -> ready -> draining -> stopping, and is gone. Whoever ends unasked backs off and
is started anew, until five ends in a minute say that it helps nobody. Who needs somebody starts after them, and stops
before them.

The protocol of a stop, for one that gets traffic: the edge is shown that it drains; the edge has taken that; nothing is
in flight there, or the time for that is over; it is told to end; its grace is over, and its group is killed; it has
ended, and the edge shows it no more.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Desired, Key
from hanse.control.instances import Instance, Serving, System, away, wanted_of
from hanse.control.slow_start import WHOLE_WEIGHT, next_change, weight_at
from hanse.control.supervisor_words import (
    Action,
    Look,
    Show,
    Signal,
    Start,
    Watch,
)

SEEN_SECONDS = 5.0
"""How long the edge may take to say that it has a table, before a stop goes on without its word."""

KILL_SECONDS = 5.0
"""Between two kills of one that does not end by the first."""

SURGE = 1
"""Instances beyond those wanted, while old ones are replaced."""


class Decision(msgspec.Struct, frozen=True):
    """What is to be done.

    Attributes:
        system: What is known then.
        actions: In their order.
        wake: Second at which to ask again, at the latest; None where only news matter.
    """

    system: System
    actions: tuple[Action, ...] = ()
    wake: float | None = None


def decided(
    system: System, desired: Mapping[Key, Desired], now: float, shape: str = "", slow_start: float = 0.0
) -> Decision:
    """What is to be done about what runs, given what should.

    Args:
        system: What is known.
        desired: What should run, by service and release; with no instances, what should go.
        now: Second of the machine's clock.
        shape: What the edge is to show beside who serves; another one has all of it shown anew.
        slow_start: Seconds after which an instance has its whole share, where others of its release are older.

    Example:
        >>> from hanse.control.desired import Command
        >>> web = Desired("web", Command(("serve",)))
        >>> first = decided(System(), {web.key: web}, 0.0)
        >>> [type(action).__name__ for action in first.actions]
        ['Start', 'Show']
        >>> decided(first.system, {web.key: web}, 0.0).actions
        ()
    """
    actions: list[Action] = []
    passes_max = 2 * len(system.instances) + sum(one.instances for one in desired.values()) + 4
    for _ in range(passes_max):
        before = system
        system = _populated(system, desired, now)
        system = _moved(system, desired, now, actions)
        system = _shown(system, actions, shape, now, slow_start)
        if system == before:
            break
    return Decision(system, tuple(actions), _wake(system, now, slow_start))


def is_met(system: System, desired: Mapping[Key, Desired]) -> bool:
    """Whether all that should run is ready or done, and nothing else is there.

    Args:
        system: What is known.
        desired: What should run, by service and release.

    Example:
        >>> from hanse.control.desired import Command
        >>> is_met(System(), {}), is_met(System(), {("web", ""): Desired("web", Command(("serve",)))})
        (True, False)
    """
    there = [one for one in system.instances if one.phase in ("ready", "done") and not one.leaving]
    numbers = Counter(one.key for one in there)
    return len(there) == len(system.instances) and all(
        numbers[key] == wanted.instances for key, wanted in desired.items()
    )


# Who there is


def _populated(system: System, desired: Mapping[Key, Desired], now: float) -> System:
    there: dict[Key, list[Instance]] = {}
    for one in system.instances:
        there.setdefault(one.key, []).append(one)
    for wanted in desired.values():
        # This is asked with each thing that is heard, and nearly always there is nothing to do.
        if not _is_peopled(there.get(wanted.key, []), wanted):
            system = _peopled(system, wanted, now)
    instances = tuple(one if one.leaving or one.key in desired else _leaving(one) for one in system.instances)
    return replace(system, instances=tuple(one for one in instances if one.is_alive or not one.leaving))


def _is_peopled(there: Sequence[Instance], wanted: Desired) -> bool:
    """Whether a release has its instances, and no others."""
    build = wanted.build
    return len(there) == wanted.instances and all(not one.leaving and one.build == build for one in there)


def _peopled(system: System, wanted: Desired, now: float) -> System:
    """The system with as many instances of a release as it should have, new ones in the place of old ones."""
    mine = [one for one in system.instances if one.key == wanted.key]
    staying = [one for one in mine if not one.leaving]
    fresh = [one for one in staying if one.build == wanted.build]
    stale = [one for one in staying if one.build != wanted.build]
    going = set(_replaced(wanted, fresh, stale)) | set(_too_many(wanted, fresh))
    others = [
        _leaving(one) if one.name in going else one for one in system.instances if one.is_alive or one.name not in going
    ]
    surge = 0 if wanted.port else SURGE
    # Whoever is on the way out counts, too: more than these never run.
    there = sum(one.is_alive for one in mine if one.leaving or one.name in going)
    there += sum(one.name not in going for one in staying)
    room = wanted.instances + (surge if stale or there > len(fresh) else 0) - there
    missing = wanted.instances - sum(one.name not in going for one in fresh)
    taken = {one.number for one in others if one.service == wanted.service}
    numbers = (number for number in count(1) if number not in taken)
    added = tuple(
        Instance(wanted.service, next(numbers), wanted.release, wanted.build, since=now)
        for _ in range(min(room, missing))
    )
    return replace(system, instances=(*others, *added))


def _replaced(wanted: Desired, fresh: Sequence[Instance], stale: Sequence[Instance]) -> Iterator[str]:
    """Old instances that can go: those that serve nobody, and as many as new ones have taken the place of."""
    serving = [one for one in stale if one.phase == "ready"]
    yield from (one.name for one in stale if one.phase != "ready")
    ready = sum(one.phase == "ready" for one in fresh) + len(serving)
    spare = len(serving) if wanted.port else min(len(serving), max(0, ready - wanted.instances))
    yield from (one.name for one in sorted(serving, key=_last_first)[:spare])


def _too_many(wanted: Desired, fresh: Sequence[Instance]) -> Iterator[str]:
    worst = sorted(fresh, key=lambda one: (one.phase == "ready", one.is_alive, -one.number))
    yield from (one.name for one in worst[: max(0, len(fresh) - wanted.instances)])


def _last_first(one: Instance) -> int:
    return -one.number


def _leaving(one: Instance) -> Instance:
    return replace(one, leaving=True, why="" if one.phase == "ready" else one.why)


# What each is at


def _moved(system: System, desired: Mapping[Key, Desired], now: float, actions: list[Action]) -> System:
    for one in system.instances:
        if one.phase in ("waiting", "backing off") or (one.phase == "crash loop" and one.until):
            system = _begun(system, one, desired, now, actions)
        elif one.is_alive:
            system = system.having(one, _carried_on(system, one, desired, now, actions))
    return system


def _begun(system: System, one: Instance, desired: Mapping[Key, Desired], now: float, actions: list[Action]) -> System:
    wanted = wanted_of(one, desired)
    if one.leaving or (one.phase != "waiting" and now < one.until):
        return system
    if needs := away(system, wanted, desired):
        return system.having(one, one.at("waiting", now, why=f"for {', '.join(needs)}"))
    run = system.runs + 1
    begun = replace(
        one.at("starting", now, until=now + wanted.probe.startup),
        run=run,
        pid=0,
        good=0,
        bad=0,
        look_at=0.0,
        looking=False,
        tail=(),
        revision=0,
        watched=False,
        idle=False,
        killed_at=0.0,
        tried=one.phase == "crash loop",
    )
    actions.append(Start(begun))
    return replace(system, runs=run).having(one, begun)


def _carried_on(
    system: System, one: Instance, desired: Mapping[Key, Desired], now: float, actions: list[Action]
) -> Instance:
    wanted = wanted_of(one, desired)
    if one.phase == "stopping":
        return _killed(one, now, actions)
    if one.phase == "draining":
        return _drained(system, one, wanted, now, actions)
    if one.leaving and not _is_needed(system, one, desired):
        if one.phase == "ready":
            return one.at("draining", now, until=now + wanted.stop_grace)
        return _stopped(one, wanted, now, actions, why=one.why)
    if one.phase != "ready" and now >= one.until:
        return _stopped(one, wanted, now, actions, why=_too_late(one, wanted))
    return _looked_at(one, now, actions)


def _too_late(one: Instance, wanted: Desired) -> str:
    word = "never healthy" if one.phase == "starting" else "unhealthy"
    return f"{word} in {wanted.probe.startup:g} s" + (f": {one.why}" if one.why else "")


def _looked_at(one: Instance, now: float, actions: list[Action]) -> Instance:
    if one.look_at and one.look_at <= now and not one.looking:
        actions.append(Look(one.process, one))
        return replace(one, looking=True)
    return one


def _drained(system: System, one: Instance, wanted: Desired, now: float, actions: list[Action]) -> Instance:
    if not one.revision:
        return one  # the table that shows it comes at the end of this pass
    if system.seen < one.revision and now < one.since + SEEN_SECONDS:
        return one
    if one.idle or now >= one.until:
        return _stopped(one, wanted, now, actions)
    if not one.watched:
        actions.append(Watch(one.process, one))
        return replace(one, watched=True)
    return one


def _stopped(one: Instance, wanted: Desired, now: float, actions: list[Action], *, why: str = "") -> Instance:
    """Told to end: by way of its group where a shell is before it."""
    actions.append(Signal(one.process, wanted.stop_signal, wanted.command.shell))
    return one.at("stopping", now, until=now + wanted.stop_grace, why=why)


def _killed(one: Instance, now: float, actions: list[Action]) -> Instance:
    if now < one.until:
        return one
    actions.append(Signal(one.process, signal.SIGKILL, group=True))
    return replace(one, killed_at=now, until=now + KILL_SECONDS)


def _is_needed(system: System, one: Instance, desired: Mapping[Key, Desired]) -> bool:
    """Whether somebody is there yet who needs it and is to go as well: they go first."""
    if any(wanted.service == one.service and wanted.instances for wanted in desired.values()):
        return False
    return any(
        other.is_alive and one.service in wanted.needs
        for key, wanted in desired.items()
        if not wanted.instances
        for other in system.instances
        if other.key == key
    )


# What the edge shows


def _shown(system: System, actions: list[Action], shape: str, now: float, slow_start: float) -> System:
    young = {one.name: one for one in _young(system, now, slow_start)}
    found = (
        _serving(one, weight_at(now - one.since, slow_start) if one.name in young else WHOLE_WEIGHT)
        for one in system.instances
    )
    serving = tuple(sorted(filter(None, found), key=lambda one: one.instance))
    untold = any(one.phase == "draining" and not one.revision for one in system.instances)
    if serving == system.serving and shape == system.shape and not untold:
        return system
    revision = system.shown + 1
    actions.append(Show(revision, serving))
    instances = tuple(
        replace(one, revision=revision) if one.phase == "draining" and not one.revision else one
        for one in system.instances
    )
    return replace(system, instances=instances, shown=revision, serving=serving, shape=shape)


def _young(system: System, now: float, slow_start: float) -> Iterator[Instance]:
    """Those that do not have their whole share yet, as others of their release had it already when they came."""
    ready = [one for one in system.instances if one.phase == "ready"]
    oldest = {one.key: one.since for one in sorted(ready, key=lambda one: -one.since)}
    for one in ready:
        if oldest[one.key] + slow_start <= one.since and next_change(now - one.since, slow_start) is not None:
            yield one


def _serving(one: Instance, weight: int) -> Serving | None:
    draining = one.phase == "draining" or (one.phase == "stopping" and one.revision > 0)
    if not one.port or not (one.phase == "ready" or draining):
        return None
    return Serving(one.name, one.service, one.release, one.port, draining, weight)


# When to ask again


def _wake(system: System, now: float, slow_start: float) -> float | None:
    """The next moment that means something; those that have passed have been looked at, and wait for news."""
    times = [at for one in system.instances for at in _times(one)]
    times += [one.since + (next_change(now - one.since, slow_start) or 0.0) for one in _young(system, now, slow_start)]
    return min((at for at in times if at > now), default=None)


def _times(one: Instance) -> Iterator[float]:
    if one.until:
        yield one.until
    if one.look_at and not one.looking and one.phase in ("starting", "ready", "unhealthy"):
        yield one.look_at
    if one.phase == "draining":
        yield one.since + SEEN_SECONDS
