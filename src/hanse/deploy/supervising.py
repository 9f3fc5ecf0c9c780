"""The process of a supervisor: `python -m hanse.deploy.supervising`, which the keeper starts."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial

import msgspec
from msgspec.structs import replace

from hanse.control.edge_shown import needs_http2, routes_of
from hanse.control.neighbours import ADDRESS
from hanse.deploy.checks import Checks
from hanse.deploy.control_server import ControlServer
from hanse.deploy.edge.base import Engine, Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine
from hanse.deploy.edge.certificate import shown_certificate
from hanse.deploy.edge.driver import Driver, Launch
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.haproxy.engine import HaproxyEngine
from hanse.deploy.images import swept
from hanse.deploy.keeper import environment_of
from hanse.deploy.keeper_words import Greeting
from hanse.deploy.live import Looked, rows_of, table_of
from hanse.deploy.logs import Follower, LogLine
from hanse.deploy.project import Plan, Project, promises_of, read, stamps_of
from hanse.deploy.releasing import Releasing
from hanse.deploy.screen import HEIGHT, WIDTH, Screen
from hanse.deploy.supervisor import Supervisor
from hanse.deploy.usage import usage_by_session
from hanse.deploy.yard import SupervisorYard
from hanse.kernel.faults import Fault, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

WATCH_SECONDS = 0.5
"""Between two looks at whether the settings have changed."""

FOLLOW_SECONDS = 0.1
"""Between two looks at what services have printed."""

LIVE_SECONDS = 0.25
"""Between two looks at what the table shows; it is drawn anew where that has changed."""

USAGE_SECONDS = 2.0
"""Between two looks at what processes take: to ask of all of them costs some milliseconds."""

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""Of the names of instances, in turn."""


class Wanted(msgspec.Struct, frozen=True):
    """What the process is told, as JSON.

    Attributes:
        project: What to run.
        quiet: Whether what services print is not shown.
        colour: Whether what is shown may be coloured.
        live: Whether it is shown on a terminal, with a table that is kept up to date.
    """

    project: Project
    quiet: bool = False
    colour: bool = False
    live: bool = False


def command_of(wanted: Wanted) -> list[str]:
    """What starts such a process."""
    return [sys.executable, "-m", "hanse.deploy.supervising", msgspec.json.encode(wanted, enc_hook=str).decode()]


async def supervise(wanted: Wanted, host: Host) -> int:
    """Supervise until all has ended; the exit code."""
    inherited = environment_of(os.environ)
    assert inherited is not None, "started by something else than a keeper"
    keeper, control = (socket.socket(fileno=fd) for fd in inherited)
    supervisor = Supervisor(wanted.project, host, _say)
    greeting = await supervisor.meet(lambda link: link.open(keeper))
    try:
        plan = await _first_plan(wanted.project, supervisor, greeting, host)
        for line in plan.made:
            _say(line)
        if not greeting.memory and (left := await swept(plan.desired.values(), wanted.project.home.system(host))):
            _say(f"took away what was left of an earlier run: {left} containers")
        supervisor.take_over(greeting, plan)
        checks = Checks(lambda source: promises_of(supervisor.app, wanted.project.folder, source))
        yard = SupervisorYard(supervisor, checks, host)
        node = replace(plan.settings.node, transport=plan.transport)
        releasing = Releasing(yard, wanted.project.home.folder, host, app=plan.parts.name, node=node)
        async with checks, releasing, Tasks(_complain) as tasks:
            await releasing.recall()
            server = ControlServer(supervisor, wanted.project, host, releasing)
            serving = await server.serve(control)
            _ = tasks.start(_watch(supervisor, server, wanted.project, host), name="settings")
            if not wanted.quiet:
                _ = tasks.start(_follow(wanted), name="logs")
            if wanted.live:
                _ = tasks.start(_live(wanted, supervisor, host), name="table")
            engine = _engine(plan, wanted.project, supervisor, host)
            await supervisor.run(engine, _egress(wanted.project, supervisor))
            serving.close()
    except Fault as fault:
        with suppress(OSError):
            print(f"hanse: {fault}", file=sys.stderr, flush=True)  # noqa: T201 - a person started it
        supervisor.leave(fault.exit_code)
        return fault.exit_code
    _say("all has ended")
    supervisor.leave(0)
    return 0


async def _first_plan(project: Project, supervisor: Supervisor, greeting: Greeting, host: Host) -> Plan:
    """What should run. With something that runs already, settings that cannot be read are waited for."""
    running = {one.process.rpartition("-")[0] for one in greeting.kept if not one.ended}
    said = ""
    while True:
        try:
            return await read(project, os.environ, host, running)
        except Fault as fault:
            if not greeting.memory or greeting.stopping or supervisor.memory.wishes.down:
                raise
            if str(fault) != said:
                said = str(fault)
                _say(f"what runs is left as it is until this is mended: {said}")
            await asyncio.sleep(WATCH_SECONDS)


def _engine(plan: Plan, project: Project, supervisor: Supervisor, host: Host) -> Engine | None:
    edge = plan.settings.edge
    if edge.engine == "none" or not any(routes_of(plan.settings, plan.desired)):
        return None
    folder, (certificate, key) = project.home.run / "edge", shown_certificate(edge, project.home, host)
    place = Place(folder=folder, host=edge.host, port=edge.port, certificate=certificate, key=key)
    engine = _ENGINES[edge.engine](place, supervisor.launch_edge)
    service = needs_http2(plan.settings, plan.desired)
    if service and not engine.features.grpc:
        raise Misconfigured(
            f'services.{service}.protocol = "h2c": the edge speaks HTTP/1.1 to servers with edge.engine = '
            f'"{edge.engine}"; set "haproxy" or "envoy", which speak HTTP/2'
        )
    return engine


_ENGINES: Mapping[str, Callable[[Place, Launch], Driver]] = {
    "auto": BuiltinEngine,
    "builtin": BuiltinEngine,
    "haproxy": HaproxyEngine,
    "envoy": EnvoyEngine,
}


def _egress(project: Project, supervisor: Supervisor) -> Engine:
    place = Place(folder=project.home.run / "egress", host=ADDRESS, port=supervisor.egress_port())
    return BuiltinEngine(place, partial(supervisor.launch_edge, label="egress"))


async def _watch(supervisor: Supervisor, server: ControlServer, project: Project, host: Host) -> None:
    """Read the settings anew whenever somebody has written them; what cannot be used changes nothing."""
    last = stamps_of(project)
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if (stamps := stamps_of(project)) == last:
            continue
        last = stamps
        try:
            running = {one.service for one in supervisor.memory.system.instances if one.is_alive}
            plan = await read(project, os.environ, host, running)
            supervisor.replan(plan)
        except Fault as fault:
            server.problem = str(fault)
            _say(f"the settings cannot be used, and those from before are in force: {fault}")
        else:
            server.problem = ""
            for line in plan.made:
                _say(line)
            _say("the settings were read anew")


async def _follow(wanted: Wanted) -> None:
    """Show what services print."""
    follower = Follower(wanted.project.home.logs)
    painted = _painter(wanted.colour)
    while True:
        if lines := follower.look():
            _show("\n".join(map(painted, lines)))
        await asyncio.sleep(FOLLOW_SECONDS)


async def _live(wanted: Wanted, supervisor: Supervisor, host: Host) -> None:
    """Keep a table of all services below what is shown."""
    looked, then = Looked(after=await asyncio.to_thread(usage_by_session)), host.monotonic()
    while True:
        rows = rows_of(supervisor.memory.system, supervisor.desired, looked)
        _screen().pin(partial(table_of, rows, colour=wanted.colour))
        await asyncio.sleep(LIVE_SECONDS)
        now = host.monotonic()
        if now - then >= USAGE_SECONDS:
            looked = Looked(looked.after, await asyncio.to_thread(usage_by_session), now - then)
            then = now


def _painter(colour: bool) -> Callable[[LogLine], str]:  # noqa: FBT001 - as it is told
    seen: dict[str, int] = {}

    def painted(line: LogLine) -> str:
        number = seen.setdefault(line.instance, COLOURS[len(seen) % len(COLOURS)])
        head = f"\x1b[{number}m{line.instance}\x1b[0m" if colour else line.instance
        return f"{head} | {line.text}"

    return painted


def _say(text: str) -> None:
    _show(f"hanse: {text}")


def _show(text: str) -> None:
    """Write to whoever started `hanse up`."""
    _screen().show(text)


@cache
def _screen() -> Screen:
    return Screen(_write, _size)


def _size() -> tuple[int, int]:
    found = shutil.get_terminal_size() if not sys.stdout.isatty() else os.get_terminal_size(sys.stdout.fileno())
    # One that was never told its size says that it has none.
    return found.columns or WIDTH, found.lines or HEIGHT


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def _complain(error: BaseException) -> None:
    _say(f"an unexpected error: {error!r}")


def main() -> int:
    """Run the process; its exit code."""
    wanted = msgspec.json.decode(sys.argv[1], type=Wanted, dec_hook=lambda kind, value: kind(value))
    code = asyncio.run(supervise(wanted, Host.system()))
    _screen().close()
    return code


if __name__ == "__main__":
    sys.exit(main())
