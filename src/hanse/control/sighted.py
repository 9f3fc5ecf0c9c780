"""What a rollout sees of one machine: its instances, what its edge goes by, and what its requests came to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from hanse.control.edge_figures import Counts, Figures, Key
from hanse.control.edge_window import Buckets, told
from hanse.control.ground import Sight, Wanted
from hanse.control.instances import Phase, System
from hanse.control.judged import Tally
from hanse.control.ledgers import lines_of
from hanse.control.rollout import Came, Crew
from hanse.control.window import Condition
from hanse.node.ledger import Ledger

_CALLING: tuple[Phase, ...] = ("ready", "draining")
"""Phases in which a node may call others, and says which routes it goes by."""


def crew_of(system: System, service: str, release: str) -> Crew:
    """The instances of one release."""
    mine = [one for one in system.of(service) if one.release == release]
    lost = next((one for one in mine if one.phase == "crash loop"), None)
    return Crew(
        ready=sum(one.phase == "ready" for one in mine),
        running=sum(one.is_alive for one in mine),
        failed=f"{lost.name}: {lost.why}" if lost else "",
    )


class Looks(msgspec.Struct, frozen=True):
    """What a machine shows of the instances of one service.

    Attributes:
        at: Second of the machine's clock.
        memory: Bytes that each process of it uses, with all that it has started, by the name of the process.
        cpu: Processors that it uses.
        memory_max, cpu_max: What each may use; 0 where nobody says.
        ledgers: What nodes of the app have counted, by the name of the process.
    """

    at: float = 0.0
    memory: dict[str, float] = {}
    cpu: dict[str, float] = {}
    memory_max: float = 0.0
    cpu_max: float = 0.0
    ledgers: dict[str, Ledger] = {}


def tally_of(figures: Figures, wanted: Wanted, system: System, slow: Mapping[str, Buckets], looks: Looks) -> Tally:
    """What came of the requests of both releases, as the edge counted it, and how their instances are.

    Args:
        figures: Of the edge.
        wanted: Whose releases.
        system: What runs.
        slow: What is slow, by route; see `hanse.control.edge_window.frozen`.
        looks: What the machine shows of them.
    """
    # What was counted by other limits is another beginning: the two cannot be told from each other.
    limits = blake2b(repr(sorted(slow.items())).encode(), digest_size=6).hexdigest() if slow else ""
    waiting = {line.key: line.counts for line in figures.waiting}
    return Tally(
        f"{figures.since} {limits}",
        told(counted(figures), wanted.service, new=wanted.new, old=wanted.old, slow=slow, waiting=waiting),
        _condition(system, wanted.service, wanted.new, looks),
        _condition(system, wanted.service, wanted.old, looks),
    )


def counted(figures: Figures) -> dict[Key, Counts]:
    """All that was counted, by whose it is."""
    return {line.key: line.counts for line in figures.lines}


def callers_of(system: System, services: Iterable[str]) -> tuple[str, ...]:
    """The instances of services of the app that may call others now; who starts learns the routes before it does.

    Args:
        system: What runs.
        services: Names of those of the app.
    """
    among = set(services)
    return tuple(one.name for one in system.instances if one.service in among and one.phase in _CALLING)


def with_ledgers(figures: Figures, system: System, looks: Looks) -> Figures:
    """What the edge has counted, and the nodes of the app beside it."""
    return replace(figures, lines=(*figures.lines, *lines_of(system.instances, looks.ledgers)))


def sight_of(wanted: Wanted, system: System, tally: Tally, *, in_force: bool, came: Came, why: str = "") -> Sight:
    """All that is so.

    Args:
        wanted: What is wanted.
        system: What runs.
        tally: What came of requests.
        in_force: Whether the edge goes by what is wanted.
        came: What is done once in this state has come to.
        why: What that failed with.
    """
    return Sight(
        old=crew_of(system, wanted.service, wanted.old),
        new=crew_of(system, wanted.service, wanted.new),
        share=wanted.share if in_force else None,
        mirrored=wanted.mirrored if in_force else None,
        came=came,
        why=why,
        tally=tally,
    )


def _condition(system: System, service: str, release: str, looks: Looks) -> Condition:
    mine = [one for one in system.of(service) if one.release == release]
    running = [one.process for one in mine if one.phase == "ready"]
    ledgers = [looks.ledgers[one.process] for one in mine if one.process in looks.ledgers]
    return Condition(
        crashing=tuple(one.name for one in mine if one.phase == "crash loop"),
        killed=tuple(one.name for one in mine if one.starved),
        unready={one.name: max(0.0, looks.at - one.since) for one in mine if one.phase == "unhealthy"},
        contract_broken=sum(calls.broken for told in ledgers for calls in told.calls.values()),
        dead_letters=sum(messages.parked for told in ledgers for messages in told.messages.values()),
        restarts=sum(one.restarts for one in mine),
        memory={name: looks.memory[name] for name in running if name in looks.memory},
        memory_max=looks.memory_max,
        cpu={name: looks.cpu[name] for name in running if name in looks.cpu},
        cpu_max=looks.cpu_max,
        lag=max((told.lag for told in ledgers), default=0.0),
    )
