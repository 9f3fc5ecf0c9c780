"""Carries out what is planned to go wrong, and takes it back when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never, final

from hanse.kernel import fault_point
from hanse.node.app import App
from hanse.sim.machine import Ground, Machine
from hanse.sim.plan import (
    DOWN_SECONDS,
    Clock,
    Cut,
    Delay,
    FullDisk,
    Incident,
    Kill,
    KillAt,
    Loss,
    LostFlush,
    Pause,
    Plan,
    PowerLoss,
    Repeat,
    Replace,
    SlowDisk,
)
from hanse.sim.twin import Appliance

Undo = Callable[[], object]

_AtMachine = Kill | PowerLoss | LostFlush | Pause | SlowDisk | FullDisk | Clock | Replace


@final
class Troubles:
    """What goes wrong in one world.

    Attributes:
        count: Incidents that have begun.
        kinds: How many of each kind have.
        passed: How often each fault point was passed.
    """

    def __init__(
        self,
        ground: Ground,
        machines: Mapping[str, Machine],
        passed: Callable[[str, str], object],
        upgrade: App | None = None,
    ) -> None:
        """Let nothing go wrong yet.

        Args:
            ground: What the machines have in common.
            machines: Those of the world, by name.
            passed: Told of each fault point that a process passes, by its machine and the point.
            upgrade: The version of the app that takes the place of the first where a process is replaced.
        """
        self.count: int = 0
        self.kinds: dict[str, int] = {}
        self.passed: dict[str, int] = {}
        self._ground = ground
        self._machines = machines
        self._told = passed
        self._upgrade = upgrade
        self._undo: dict[int, Undo] = {}
        self._traps: dict[int, KillAt] = {}
        self._over = False

    def begin(self, plan: Plan) -> None:
        """Have a plan carried out, from now on."""
        loop = self._ground.loop
        fault_point.arm(self._pass)
        for incident in plan:
            _ = loop.at(loop.now + incident.at, self._start, incident)

    def end(self) -> None:
        """Nothing goes wrong any more, and what is wrong is put right."""
        self._over = True
        self._traps.clear()
        fault_point.arm(None)
        for number in list(self._undo):
            self._finish(number)

    def close(self) -> None:
        """The world has ended: leave everything as it is."""
        self._over = True
        fault_point.arm(None)

    def _start(self, incident: Incident) -> None:
        if self._over:
            return
        self.count += 1
        self.kinds[incident.tag] = self.kinds.get(incident.tag, 0) + 1
        number, ground = self.count, self._ground
        ground.trace.add(ground.loop.now, "", "incident", incident.words)
        self._undo[number] = self._carry_out(incident, number)
        _ = ground.loop.at(ground.loop.now + incident.seconds, self._finish, number)

    def _finish(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            _ = undo()

    def _carry_out(self, incident: Incident, number: int) -> Undo:
        """Let it happen; what takes it back."""
        match incident:
            case Cut() | Delay() | Loss() | Repeat():
                return self._disturb(incident)
            case KillAt():
                self._traps[number] = incident
                return lambda: self._traps.pop(number, None)
            case _:
                if (machine := self._machines.get(incident.machine)) is not None:
                    return self._befall(incident, machine)
                appliance = self._ground.medium.appliances.get(incident.machine)
                return _nothing if appliance is None else _befall_appliance(incident, appliance)

    def _befall(self, incident: _AtMachine, machine: Machine) -> Undo:
        match incident:
            case Kill() | PowerLoss():
                machine.kill(dark=isinstance(incident, PowerLoss))
                return machine.start
            case Replace():
                machine.app = self._upgrade or machine.app
                machine.stop(incident.seconds, machine.start)
                return machine.start
            case Pause():
                machine.pause(incident.seconds)
                return _nothing
            case Clock():
                machine.jump += incident.jump
                return lambda: setattr(machine, "jump", machine.jump - incident.jump)
            case LostFlush() | SlowDisk() | FullDisk():
                return self._spoil(incident, machine)
            case _:
                assert_never(incident)

    def _spoil(self, incident: LostFlush | SlowDisk | FullDisk, machine: Machine) -> Undo:
        """Make a machine's disk worse."""
        disk = machine.disk
        match incident:
            case LostFlush():
                disk.lie()
                return lambda: self._darken(machine)
            case SlowDisk():
                disk.factor *= incident.factor
                return lambda: setattr(disk, "factor", disk.factor / incident.factor)
            case FullDisk():
                disk.fill(full=True)
                return lambda: disk.fill(full=False)
            case _:
                assert_never(incident)

    def _disturb(self, incident: Cut | Delay | Loss | Repeat) -> Undo:
        net = self._ground.network
        names = [*self._machines, *self._ground.medium.appliances, self._ground.loop.home.name]
        if isinstance(incident, Cut):
            there = [net.link(one, other) for one in incident.machines for other in incident.others]
            back = [] if incident.one_way else [net.link(link.peer, link.source) for link in there]
            net.cut([*there, *back])
            return lambda: net.mend([*there, *back])
        links = net.links_of(incident.machine, names)
        for link in links:
            link.disturb(incident)

        def undo() -> None:
            for link in links:
                link.calm(incident)

        return undo

    def _darken(self, machine: Machine) -> None:
        machine.kill(dark=True)
        _ = self._ground.loop.at(self._ground.loop.now + DOWN_SECONDS, machine.start)

    def _pass(self, point: str) -> None:
        """Code passes a fault point."""
        self.passed[point] = self.passed.get(point, 0) + 1
        lane = self._ground.loop.lane
        if not lane.alive:
            return
        self._told(lane.name, point)
        if not self._traps:
            return
        for number, trap in self._traps.items():
            if trap.point == point and trap.machine == lane.name:
                machine = self._machines[trap.machine]
                self._ground.trace.add(self._ground.loop.now, machine.name, "trap", point)
                machine.kill()
                del self._traps[number]
                self._undo[number] = machine.start
                _ = self._ground.loop.at(self._ground.loop.now + DOWN_SECONDS, self._finish, number)
                return


def _befall_appliance(incident: _AtMachine, appliance: Appliance) -> Undo:
    """What a broker's machine suffers; it has no disk and no clock that anybody could see, and no version."""
    match incident:
        case Kill() | PowerLoss() | Replace():
            appliance.kill(dark=isinstance(incident, PowerLoss))
            return appliance.start
        case Pause():
            appliance.pause(incident.seconds)
        case _:
            pass
    return _nothing


def _nothing() -> None:
    """There is nothing to take back."""
