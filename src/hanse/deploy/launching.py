"""How an instance is started: at which port, in which network or container, and what it is told of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from hanse.control.desired import Command, Desired, Seat, filled
from hanse.control.instances import Instance
from hanse.control.neighbours import ADDRESS, goes_by_proxy, is_wanted, proxy_variables, url_of, variable_of
from hanse.deploy.boxes import ANYWHERE, Boxes
from hanse.deploy.keeper_words import Launch
from hanse.deploy.own_network import REACHES_MAX, Network, wrapped
from hanse.deploy.ports import free_port, is_free
from hanse.deploy.project import Plan, Project
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host

EGRESS = "egress"
"""Its port is remembered by this name, which is none of an instance."""


@final
class Launching:
    """What the keeper is told to start. Of each instance it is remembered which port it has.

    Attributes:
        has_egress: Whether there is one that programs of the system may ask for each other.
    """

    def __init__(
        self, project: Project, host: Host, ports: Callable[[], Mapping[str, int]], keep: Callable[[str, int], None]
    ) -> None:
        """Start nothing yet.

        Args:
            project: Whose instances these are.
            host: Its chance and its ids.
            ports: Those that are remembered.
            keep: Has the port of a name remembered.
        """
        self.has_egress: bool = False
        self._home = project.home
        self._boxes = Boxes(project.home, host)
        self._chance = host.chance
        self._ports = ports
        self._keep = keep

    def instance(self, plan: Plan, instance: Instance, wanted: Desired) -> Launch:
        """What starts an instance.

        Args:
            plan: What should run.
            instance: Which.
            wanted: What it is an instance of.

        Raises:
            CouldNotStart: It needs a container engine, or a port, and there is none.
            Misconfigured: A variable of its command stands for another one that is not there, or it reaches too much.
        """
        port = self._port(instance.name, wanted)
        host = ANYWHERE if wanted.container and wanted.inner else ADDRESS
        variables = self._variables(plan, instance.service)
        seat = Seat(instance.name, host, wanted.inner or port, instance.release, variables)
        launch = filled(wanted.command, seat)
        if wanted.container is not None:
            launch = self._boxes.launch(launch, wanted, instance.process, port, plan.variables)
        words = self._wrapped(plan, launch.arguments, wanted, port)
        log = str(self._home.log_of(instance.service))
        return Launch(instance.process, words, launch.directory, launch.environment, instance.name, log)

    def once(self, plan: Plan, process: str, command: Command, service: str) -> Launch:
        """What starts a process that is no instance, and is logged as the service.

        Raises:
            Misconfigured: A variable of the command stands for another one that is not there.
        """
        instance = process.rpartition("@")[2]
        launch = filled(command, Seat(instance, ADDRESS, 0, "", self._variables(plan, service)))
        log = str(self._home.log_of(service))
        return Launch(process, launch.arguments, launch.directory, launch.environment, instance, log)

    def egress_port(self) -> int:
        """Where the egress listens, as long as there is a system: those who ask it were told when they started."""
        port = self._ports().get(EGRESS) or self._free_port()
        self._keep(EGRESS, port)
        return port

    def egress(self, plan: Plan) -> str:
        """URL of the egress; empty where nobody asks it."""
        wanted = self.has_egress and is_wanted(plan.settings, plan.desired)
        return f"http://{ADDRESS}:{self._ports()[EGRESS]}" if wanted else ""

    def _wrapped(self, plan: Plan, words: tuple[str, ...], wanted: Desired, port: int) -> tuple[str, ...]:
        """A command as it is started: in a network of its own, for whoever has one."""
        if not wanted.inner or wanted.container is not None:
            return words
        ports = self._ports()
        machine = [*wanted.reaches, *([ports[EGRESS]] if self.egress(plan) else [])]
        machine += [plan.desired[name].port for name in plan.settings.resources if name in plan.desired]
        machine += [ports.get(f"{name}-1", 0) for name in plan.desired]
        reached = tuple(one for one in dict.fromkeys(machine) if one not in {0, port, wanted.inner})
        if len(reached) > REACHES_MAX:
            raise Misconfigured(f"services.{wanted.service}: a network of its own reaches {REACHES_MAX} ports at most")
        return wrapped(words, Network(port, wanted.inner, reached, wanted.command.shell))

    def _port(self, name: str, wanted: Desired) -> int:
        """The port of an instance: the one that it had, as long as nobody else listens there."""
        port = wanted.port or self._ports().get(name, 0)
        if not port or (not wanted.port and not is_free(ADDRESS, port)):
            port = self._free_port()
        if self._ports().get(name) != port:
            self._keep(name, port)
        return port

    def _free_port(self) -> int:
        return free_port(ADDRESS, self._chance, set(self._ports().values()))

    def _variables(self, plan: Plan, service: str) -> dict[str, str]:
        """What an instance has in its environment: what all have, and where its neighbours are found."""
        egress = self.egress(plan)
        found = dict(plan.variables)
        for name, wanted in plan.desired.items():
            if name in plan.settings.resources:
                continue  # whoever needs it has its URL, which is none of HTTP
            first = f"{name}-1"
            straight = f"http://{ADDRESS}:{self._ports().get(first) or self._port(first, wanted)}"
            found[variable_of(name)] = url_of(name, plan.settings, plan.desired, egress, straight)
        if egress and goes_by_proxy(plan.settings, service):
            found |= proxy_variables(egress, plan.variables)
        return found
