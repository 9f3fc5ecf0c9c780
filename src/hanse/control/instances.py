"""What runs, as the supervisor knows it: instances and what each is at, as values that can be kept and read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Command, Desired, Key
from hanse.control.slow_start import WHOLE_WEIGHT

Phase = Literal[
    "waiting",
    "starting",
    "ready",
    "unhealthy",
    "draining",
    "stopping",
    "backing off",
    "crash loop",
    "done",
]
"""What an instance is at.

`waiting` for those it needs; `starting`, not yet healthy; `ready`, with traffic; `unhealthy`, without; `draining`, no
new traffic; `stopping`, told to end; `backing off` until it is started anew; `crash loop`, given up, and tried once
more after a long while where that could help; `done`, ended and not to be started again.
"""

ALIVE: tuple[Phase, ...] = ("starting", "ready", "unhealthy", "draining", "stopping")
"""Phases in which there is a process."""


class Instance(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of a service, through all the processes that it is one after the other.

    Attributes:
        service: Whose.
        number: Which of it; the lowest that is free.
        release: Of which of its releases.
        build: What it is started from; see `Desired.build`.
        phase: What it is at.
        since: Second of the machine's clock at which that began.
        until: Second at which it has lasted too long; 0 for never.
        run: Number of its process among all that were ever started; 0 for none yet.
        pid: Of its process; 0 where there is none.
        port: Where that listens.
        leaving: Whether it is to go, for good.
        why: What keeps it, or what ended it, in words.
        tail: The last lines of its log, where it ended.
        exits: Seconds at which it ended lately, unasked.
        tried: Whether it had been given up, and this process is the one try after it.
        failures: Ends in a row, since it last was ready for long.
        restarts: Ends in all.
        starved: Of these, those by the system, as memory had run out.
        good, bad: Looks in a row that found it healthy, or not.
        look_at: Second of the next look; 0 for none.
        looking: Whether one is under way.
        revision: Of the table that shows it as draining; 0 for none.
        watched: Whether somebody tells when nothing is in flight there.
        idle: Whether that is so.
        killed_at: Second at which it was killed last; 0 for never.
    """

    service: str
    number: int
    release: str = ""
    build: str = ""
    phase: Phase = "waiting"
    since: float = 0.0
    until: float = 0.0
    run: int = 0
    pid: int = 0
    port: int = 0
    leaving: bool = False
    why: str = ""
    tail: tuple[str, ...] = ()
    exits: tuple[float, ...] = ()
    tried: bool = False
    failures: int = 0
    restarts: int = 0
    starved: int = 0
    good: int = 0
    bad: int = 0
    look_at: float = 0.0
    looking: bool = False
    revision: int = 0
    watched: bool = False
    idle: bool = False
    killed_at: float = 0.0

    @property
    def key(self) -> Key:
        """Of what should run, it is one of these."""
        return self.service, self.release

    @property
    def name(self) -> str:
        """Its name, as people see it: `users-1`."""
        return f"{self.service}-{self.number}"

    @property
    def process(self) -> str:
        """Name of its process: no other one ever has it."""
        return f"{self.name}.{self.run}"

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self.phase in ALIVE

    def at(self, phase: Phase, now: float, *, until: float = 0.0, why: str = "") -> Instance:
        """It in a phase, since when it came to it.

        Args:
            phase: What it is at.
            now: Second of the machine's clock.
            until: Second at which it will have lasted too long; 0 for never.
            why: What keeps it there.
        """
        if (self.phase, self.why, self.until) == (phase, why, until):
            return self
        return replace(self, phase=phase, since=self.since if self.phase == phase else now, until=until, why=why)


class Serving(msgspec.Struct, frozen=True):
    """An instance, as the edge is to show it.

    Attributes:
        instance: Its name.
        service: Whose.
        release: Of which of its releases.
        port: Where it listens.
        draining: Whether it gets no more requests.
        weight: Its share, less while it is young.
    """

    instance: str
    service: str
    release: str
    port: int
    draining: bool = False
    weight: int = WHOLE_WEIGHT


class System(msgspec.Struct, frozen=True):
    """All that runs.

    Attributes:
        instances: In no order that matters.
        runs: Processes that were ever started.
        shown: Revision of the last table that the edge was given.
        seen: Revision of the last that it has taken.
        serving: What that table shows; None where nobody knows.
        shape: What else it shows, such as the shares of releases, in letters that differ where that does.
    """

    instances: tuple[Instance, ...] = ()
    runs: int = 0
    shown: int = 0
    seen: int = 0
    serving: tuple[Serving, ...] | None = None
    shape: str = ""

    def of(self, service: str) -> Iterator[Instance]:
        """The instances of a service, whatever their release."""
        return (one for one in self.instances if one.service == service)

    def having(self, old: Instance, new: Instance) -> System:
        """The system with another one in the place of one of its instances."""
        if new == old:
            return self
        return replace(self, instances=tuple(new if one.name == old.name else one for one in self.instances))


def wanted_of(one: Instance, desired: Mapping[Key, Desired]) -> Desired:
    """What an instance should be; nothing at all where nobody wants it any more.

    Args:
        one: The instance.
        desired: What should run, by service and release.
    """
    return desired.get(one.key) or Desired(one.service, Command(()), 0, one.release)


def away(system: System, wanted: Desired, desired: Mapping[Key, Desired]) -> list[str]:
    """Whom a service needs, and who is not ready; of a job, who has not ended well.

    Args:
        system: What is known.
        wanted: The service.
        desired: What should run, by service and release.
    """
    jobs = {one.service for one in desired.values() if one.is_job}
    met = {one.service for one in system.instances if one.phase == "ready" and one.service not in jobs}
    met |= {one.service for one in system.instances if one.phase == "done" and not one.failures}
    return [need for need in wanted.needs if need not in met]
