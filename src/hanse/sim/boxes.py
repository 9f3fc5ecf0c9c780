"""All that can be broken in one world, together: found by what it hosts, brought up, and waited for until it rests.

A box is a machine of the app, or an appliance such as a broker's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import final

from hanse.kernel.faults import Misconfigured
from hanse.node.app import App, Part
from hanse.sim.machine import Machine, until
from hanse.sim.network import Network
from hanse.sim.setup import CLIENT, Where
from hanse.sim.twin import Appliance, Medium

Box = Machine | Appliance

START_SECONDS = 120.0
"""How long the machines may take to be up."""

SETTLE_SECONDS = 600.0
"""How long a world may take until every cascade is done."""

POLL_SECONDS = 0.1
"""How often it is looked whether they are up, or at rest."""

CALM_LOOKS = 2
"""Looks in a row that find all at rest: what one just misses, the next one sees."""


@final
class Boxes:
    """The machines and appliances of a world.

    Attributes:
        machines: By name.
    """

    def __init__(self, app: App, machines: Mapping[str, Machine], medium: Medium, net: Network) -> None:
        """Know them.

        Args:
            app: What the machines host.
            machines: By name.
            medium: Has the appliances.
            net: What connects them.

        Raises:
            Misconfigured: Two of them would have one name.
        """
        _require_own_names(medium.appliances, machines)
        self.machines: Mapping[str, Machine] = machines
        self._app = app
        self._medium = medium
        self._net = net

    @property
    def all(self) -> list[Box]:
        """Those first that others need to come up."""
        return [*self._medium.appliances.values(), *self.machines.values()]

    def box(self, service: Where) -> Box:
        """As `machine`; or what the medium has of this name."""
        appliance = self._medium.appliances.get(service) if isinstance(service, str) else None
        return appliance or self.machine(service)

    def machine(self, service: Where) -> Machine:
        """See `World.machine_of`. Raises `Misconfigured`."""
        if isinstance(service, str):
            if service not in self.machines:
                raise Misconfigured(f"there is no machine {service!r}; there are {', '.join(self.machines)}")
            return self.machines[service]
        part = self.part(service)
        machines = [machine for machine in self.machines.values() if part.name in machine.services]
        if not machines:
            raise Misconfigured(f"{part.name} is a fake by now, and on no machine")
        if len(machines) > 1:
            names = [machine.name for machine in machines]
            raise Misconfigured(f"{part.name} is on {', '.join(names)}; name the machine: {names[0]!r}")
        return machines[0]

    def part(self, service: type) -> Part:
        """What of the app is a service, or provides a contract. Raises `Misconfigured`."""
        part = self._app.providers.get(service)
        if part is None:
            raise Misconfigured(f"no service of the app {self._app.name!r} is or provides {service.__name__}")
        return part

    async def up(self, boxes: Sequence[Box] | None = None) -> None:
        """Wait until some are up, or all. Raises `TimeoutError`."""
        wanted = self.all if boxes is None else boxes
        if await until(lambda: all(box.up for box in wanted), every=POLL_SECONDS, limit=START_SECONDS):
            return
        down = [f"{one.name} ({(isinstance(one, Machine) and one.exit) or one.state})" for one in wanted if not one.up]
        raise TimeoutError(f"did not start within {START_SECONDS:g} s: {', '.join(down)}")

    def replace(self, machine: Machine, app: App | None = None) -> None:
        """Have a process finish, and another take its place, of the same code or of another's."""
        machine.app = app or machine.app
        machine.stop(machine.settings.node.grace, machine.start)

    async def stopped(self, machine: Machine) -> None:
        """Wait until a process has finished, as long as it may take."""
        _ = await until(lambda: machine.state != "stopping", every=POLL_SECONDS, limit=START_SECONDS)

    async def settle(self, limit: float = SETTLE_SECONDS) -> None:
        """See `World.settle`. Raises `TimeoutError`."""
        try:
            async with asyncio.timeout(limit):
                await self._settle()
        except TimeoutError:
            raise TimeoutError(f"the world did not come to rest within {limit:g} s: {self._restless()}") from None

    async def _settle(self) -> None:
        calm = 0
        while calm < CALM_LOOKS:
            _ = await asyncio.gather(*(machine.settled() for machine in self.machines.values()))
            idle = self._medium.idle and all(machine.idle for machine in self.machines.values())
            quiet = idle and not self._net.under_way
            calm = calm + 1 if quiet else 0
            await asyncio.sleep(POLL_SECONDS)

    def _restless(self) -> str:
        """Who keeps a world from its rest."""
        down = [f"{box.name} is {box.state}" for box in self.all if not box.up]
        busy = [f"{machine.name} is at work" for machine in self.machines.values() if machine.up and not machine.idle]
        return ", ".join([*down, *busy]) or "events go on and on, or cannot be delivered"


def _require_own_names(appliances: Iterable[str], machines: Iterable[str]) -> None:
    if taken := {*appliances} & {*machines, CLIENT}:
        raise Misconfigured(f"the transport has a machine {min(taken)!r}, as the app has; rename that of the app")
