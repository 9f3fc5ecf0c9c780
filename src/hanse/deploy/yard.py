"""The yard of a supervisor: all that releases want of it, and all that they see of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import final

from msgspec.structs import replace

from hanse.control.desired import Desired
from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_shown import routes_of
from hanse.control.ground import Wanted
from hanse.control.instances import System
from hanse.control.released import Overlay, started_from
from hanse.control.rollout import Came
from hanse.control.sighted import Looks
from hanse.control.supervisor_machine import KILL_SECONDS
from hanse.deploy.checks import Checks, Side, checks_of
from hanse.deploy.looker import Looker
from hanse.deploy.memory import HOOK, hook_begun, hook_came, hook_ended
from hanse.deploy.supervisor import Supervisor
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.settings import ServiceSettings

SOURCE = "HANSE_SOURCE"
"""Tells a release hook where the files of the new release are."""

_UNCOPIED = (
    "the edge that runs makes no copies of requests whose answers could be compared, which only "
    'edge.engine = "builtin" does; set that and start the system anew, or release by another strategy, such as canary'
)

_CALLS = (
    "no copies are made of the calls that services of an app get from each other; release it by another strategy, such "
    "as canary without copies first, and by itself where others of its set are to have them"
)


@final
class SupervisorYard:
    """See the module, and `Yard`.

    Args of the constructor:
        supervisor: Runs what releases want.
        checks: Compare what releases promise.
        host: Its clock.
    """

    def __init__(self, supervisor: Supervisor, checks: Checks, host: Host) -> None:
        self._supervisor = supervisor
        self._checks = checks
        self._looker = Looker(host)
        self._host = host
        self._ending: dict[str, float] = {}

    @property
    def system(self) -> System:
        """See `Yard.system`."""
        return self._supervisor.memory.system

    @property
    def services(self) -> Mapping[str, Desired]:
        """See `Yard.services`."""
        plan, wishes = self._supervisor.plan, self._supervisor.memory.wishes
        if plan is None or not wishes.instances:
            return {} if plan is None else plan.desired
        return {
            name: replace(one, instances=wishes.instances.get(name, one.instances))
            for name, one in plan.desired.items()
        }

    @property
    def overlays(self) -> Mapping[str, Overlay]:
        """See `Yard.overlays`."""
        return self._supervisor.memory.wishes.overlays

    @property
    def in_force(self) -> bool:
        """See `Yard.in_force`."""
        system = self.system
        return system.shape == self._supervisor.shape and system.seen >= system.shown

    def uncopied(self, service: str) -> str:
        """See `Yard.uncopied`. Whoever is not behind the edge is asked through the egress, which makes copies."""
        plan = self._supervisor.plan
        if plan is None:
            return ""
        if not any(route.service == service for route in routes_of(plan.settings, plan.desired)):
            return _CALLS if service in plan.desired and plan.desired[service].own else ""
        return "" if self._supervisor.edge.edge.mirrors else _UNCOPIED

    def overlay(self, service: str, overlay: Overlay) -> None:
        """See `Yard.overlay`."""
        wishes = self._supervisor.memory.wishes
        self._supervisor.wish(replace(wishes, overlays={**wishes.overlays, service: overlay}))

    async def figures(self) -> Figures:
        """See `Yard.figures`."""
        return await self._supervisor.edge.figures()

    async def pairs(self) -> Pairs:
        """See `Yard.pairs`."""
        return await self._supervisor.edge.pairs()

    async def looks(self, service: str) -> Looks:
        """See `Yard.looks`."""
        plan = self._supervisor.plan
        token = "" if plan is None else plan.settings.gateway.metrics_token
        return await self._looker.look(self.services.get(service), self.system.of(service), token)

    def fits(self, wanted: Wanted) -> tuple[Came, str]:
        """See `Yard.fits`. Nobody knows what foreign services promise."""
        if wanted.breaking:
            return "passed", ""
        running = {name: tuple(self._sides(name)) for name, one in self.services.items() if one.own}
        for check in checks_of(wanted, running):
            came, why = self._checks.came(check)
            service = check.new[0]
            if came != "passed":
                return came, why if not why or service == wanted.service else f"{service}: {why}"
        return "passed", ""

    def _sides(self, service: str) -> Iterator[Side]:
        """The releases of a service that run."""
        overlay = self.overlays.get(service, Overlay())
        yield service, overlay.release, overlay.directory
        if overlay.new_count:
            yield service, overlay.new, overlay.new_directory

    def once(self, name: str, service: str, directory: str) -> tuple[Came, str]:
        """See `Yard.once`."""
        plan, memory = self._supervisor.plan, self._supervisor.memory
        assert plan is not None
        hook = plan.settings.services.get(service, ServiceSettings()).release_hook
        if not hook:
            return "passed", ""
        came = hook_came(memory, name)
        if came is None:
            # Remembered first: one that may have begun is never begun again.
            self._supervisor.remember(hook_begun(memory, name))
            usual = started_from(plan.desired[service], directory)
            command = replace(usual, line=("/bin/sh", "-c", hook), shell=True)  # noqa: S604 - the settings' own command
            if directory:
                command = replace(command, environment={**command.environment, SOURCE: directory})
            try:
                self._supervisor.run_once(HOOK + name, command, service)
            except Fault as fault:
                self._supervisor.remember(hook_ended(self._supervisor.memory, HOOK + name, None, str(fault)))
        return came or ("waiting", "")

    def end_once(self, name: str, service: str) -> Came:
        """See `Yard.end_once`."""
        came = hook_came(self._supervisor.memory, name)
        if came is None or came[0] != "waiting":
            _ = self._ending.pop(name, None)
            return "passed"
        now, wanted = self._host.monotonic(), self.services.get(service)
        if name not in self._ending:
            self._ending[name] = now + (0.0 if wanted is None else wanted.stop_grace)
            self._supervisor.signal_once(HOOK + name, signal.SIGTERM)
        elif now >= self._ending[name]:
            # Nothing survives a kill but what the machine does not let go of yet, and that is killed by the next one.
            self._ending[name] = now + KILL_SECONDS
            self._supervisor.signal_once(HOOK + name, signal.SIGKILL)
        return "waiting"
