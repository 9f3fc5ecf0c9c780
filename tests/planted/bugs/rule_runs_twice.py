"""A rule neither waits for the run that is at a row, nor asks for a lease.
A row that changes while it is worked on is worked on twice at once."""

from hanse import World, simulation
from hanse.service.agenda import Agenda
from hanse.service.held import Lease, Leases

from . import instead, jobs


@instead(Agenda)
def offer(self: Agenda, id: str, rev: int = 0, lane: str = "") -> None:
    self._wait(id, lane)


@instead(Agenda)
def done(self: Agenda, id: str, rev: int) -> None:
    _ = id in self._running and self._leave(id)


@instead(Agenda)
def failed(self: Agenda, id: str, now: float, draw: float) -> float:
    self.done(id, 0)
    self._wait(id, "")
    return 0.0


@instead(Leases)
def acquire(self: Leases, name: str, *, now: float, seconds: float) -> Lease | None:
    return Lease(name, 0, now + seconds)


@instead(Leases)
def holds(self: Leases, lease: Lease, *, now: float) -> bool:
    return True


@simulation(jobs.setup, seconds=jobs.SECONDS)
async def rule_runs_twice(world: World) -> None:
    await jobs.story(world)
