"""What is known of what runs, once something was heard of it: a pure fold, without clock, processes or chance.

A process was launched, was found healthy or not, has nothing in flight, has ended; the edge has taken a table. Whoever
ends unasked backs off, until five ends in a minute say that it helps nobody. What is about a process of the past
changes nothing. What is to be done about it all, `supervisor_machine` decides.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

from msgspec.structs import replace

from hanse.control.desired import Desired, Key
from hanse.control.instances import Instance, System, away, wanted_of
from hanse.control.supervisor_words import Ended, Event, Idle, Launched, Looked, Seen

BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.5, 30.0
"""Between an end and the next start: it doubles with each, and chance takes up to half of it."""

CRASHES_MAX, CRASHES_SECONDS = 5, 60.0
"""So many ends unasked in so many seconds are a crash loop; ready for as long, and the next one is the first."""

AGAIN_SECONDS = 300.0
"""Between a crash loop and the next try, which is a single one: what it lacked may be back, with nobody awake."""

LOOK_SECONDS_STARTING = 0.1
"""Between looks at one that is not healthy yet."""

KILLED = (-int(signal.SIGKILL), 128 + int(signal.SIGKILL))
"""What a process ends with that was killed, and a shell whose command was."""

MISCONFIGURED = 78
"""The exit code with which a service of ours says that another start will not help."""


def observed(system: System, event: Event, desired: Mapping[Key, Desired], now: float) -> System:
    """What is known once something was heard; what is about a process of the past changes nothing.

    Args:
        system: What was known.
        event: What was heard.
        desired: What should run, by service and release.
        now: Second of the machine's clock.
    """
    if isinstance(event, Seen):
        return replace(system, seen=max(system.seen, event.revision))
    for one in system.instances:
        if one.is_alive and one.process == event.process:
            wanted = wanted_of(one, desired)
            if isinstance(event, Ended):
                alone = bool(away(system, wanted, desired))
                return system.having(one, _after_end(one, event, wanted, now, alone=alone))
            return system.having(one, _after_news(one, event, wanted, now))
    return system


def recovered(
    system: System, held: Mapping[str, int], ports: Mapping[str, int], now: float
) -> tuple[System, list[Ended | Launched]]:
    """What was kept of a system, as somebody new goes on with it, and which launches and ends nobody has heard of.

    Args:
        system: As it was kept.
        held: Process ids of the processes that live, by the name of the process.
        ports: Where each instance listens, by its name.
        now: Second of the machine's clock.
    """
    alive = [one for one in system.instances if one.is_alive]
    lost: list[Ended | Launched] = [Ended(one.process, None, why="lost") for one in alive if one.process not in held]
    # Whoever was killed as it had one launched was not told that it runs.
    lost += [
        Launched(one.process, held[one.process], ports.get(one.name, 0))
        for one in alive
        if one.process in held and not one.pid
    ]
    found = tuple(
        _found(one, held[one.process], now, seen=system.seen) if one.is_alive and one.process in held else one
        for one in system.instances
    )
    # Nobody knows which table the edge has; it is shown what serves once more, under a revision that is higher.
    return replace(system, instances=found, serving=None), lost


def _found(one: Instance, pid: int, now: float, *, seen: int) -> Instance:
    """One that lives; what it was given time for begins anew, where nobody has looked, or told the edge, meanwhile."""
    there = replace(one, looking=False, watched=False, look_at=now if one.look_at else 0.0, pid=pid)
    untold = one.phase == "draining" and one.revision > seen
    if untold or one.phase in ("starting", "unhealthy"):
        return replace(there, since=now, until=now + one.until - one.since, revision=0)
    return there


def backoff(failures: int, draw: float) -> float:
    """Seconds between an end and the next start.

    Args:
        failures: Ends in a row, this one among them.
        draw: Chance, from 0 to 1.

    Example:
        >>> backoff(1, 1.0), backoff(3, 1.0), backoff(3, 0.0), backoff(50, 1.0)
        (0.5, 2.0, 1.0, 30.0)
    """
    longest = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2.0 ** min(failures - 1, 16))
    return max(BACKOFF_SECONDS_MIN, longest * (0.5 + draw / 2))


def _after_news(one: Instance, event: Launched | Looked | Idle, wanted: Desired, now: float) -> Instance:
    match event:
        case Launched(pid=pid, port=port):
            there = replace(one, pid=pid, port=port)
            if one.phase != "starting":
                return there
            return replace(there, look_at=now) if wanted.probe.path else there.at("ready", now)
        case Idle():
            return replace(one, idle=True)
        case Looked(why=why):
            return _after_look(one, why, wanted, now)


def _after_look(one: Instance, why: str, wanted: Desired, now: float) -> Instance:
    probe = wanted.probe
    pause = probe.interval if one.phase == "ready" else min(probe.interval, LOOK_SECONDS_STARTING)
    good, bad = (0, one.bad + 1) if why else (one.good + 1, 0)
    one = replace(one, good=good, bad=bad, looking=False, look_at=now + pause)
    if one.phase in ("starting", "unhealthy"):
        if good >= probe.rise:
            return replace(one.at("ready", now), look_at=now + probe.interval)
        return replace(one, why=why)
    if one.phase == "ready" and bad >= probe.fall:
        return one.at("unhealthy", now, until=now + probe.startup, why=why)
    return one


def _after_end(one: Instance, event: Ended, wanted: Desired, now: float, *, alone: bool) -> Instance:
    why = _ending(one, event)
    steady = one.phase == "ready" and now - one.since >= CRASHES_SECONDS
    exits = tuple(at for at in (*one.exits, now) if now - at < CRASHES_SECONDS)
    ended = replace(
        one.at("backing off", now, why=why),
        pid=0,
        tail=event.tail,
        restarts=one.restarts + 1,
        starved=one.starved + _is_starved(one, event),
        look_at=0.0,
        looking=False,
        exits=exits,
        failures=1 if steady else one.failures + 1,
    )
    well = event.code == 0 and one.phase != "stopping"
    if one.leaving or wanted.restart == "never" or (wanted.restart == "on-failure" and well):
        return replace(ended, phase="done", failures=0 if well else ended.failures)
    if alone:
        # It may well have ended for that; nobody blames it.
        return replace(ended, phase="waiting", exits=one.exits, failures=one.failures)
    if wanted.own and event.code == MISCONFIGURED:
        return replace(ended, phase="crash loop", why=f"{why}: another start will not help")
    if len(exits) >= CRASHES_MAX or (one.tried and not steady):
        why += "; tried once more" if one.tried else f"; {len(exits)} times in {CRASHES_SECONDS:g} s"
        return replace(ended, phase="crash loop", why=why, until=now + AGAIN_SECONDS)
    return replace(ended, until=now + backoff(ended.failures, event.draw))


def _is_starved(one: Instance, event: Ended) -> bool:
    """Whether the system killed it for its memory: then it is killed, and not by us."""
    return event.starving and event.code in KILLED and not one.killed_at


def _ending(one: Instance, event: Ended) -> str:
    if event.why or _is_starved(one, event):
        return event.why or "killed by the system, as memory had run out"
    if one.phase == "stopping" and one.why:
        return one.why
    if event.code is None:
        return "ended, nobody knows how"
    if event.code >= 0:
        return f"exit code {event.code}"
    try:
        return f"killed by {signal.Signals(-event.code).name}"
    except ValueError:
        return f"killed by signal {-event.code}"
