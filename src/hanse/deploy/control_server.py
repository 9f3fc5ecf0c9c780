"""Answers commands over the control socket of a system that runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import final

import msgspec

from hanse.control.desired import Desired
from hanse.control.wishes import needed, restarted, scaled
from hanse.deploy.control_words import ASK_BYTES_MAX, Answer, Ask, Refused, Row, Status, Wish
from hanse.deploy.own_socket import why_not
from hanse.deploy.project import Project
from hanse.deploy.release_words import ReleaseAsk, ReleasesTold, RolloutAsk
from hanse.deploy.releasing import Releasing
from hanse.deploy.supervisor import Supervisor
from hanse.kernel.faults import Fault, Forbidden, Malformed
from hanse.kernel.host import Host

_decode = msgspec.json.Decoder(Ask).decode


@final
class ControlServer:
    """See the module.

    Args of the constructor:
        supervisor: Whose system it is.
        project: What it runs.
        host: Whose clocks tell since when.
        releasing: Its releases.
    """

    def __init__(self, supervisor: Supervisor, project: Project, host: Host, releasing: Releasing) -> None:
        self._supervisor = supervisor
        self._project = project
        self._host = host
        self._releasing = releasing
        self.problem: str = ""

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Answer whoever connects, until the server is closed."""
        return await asyncio.start_unix_server(self._talk, sock=listener, limit=ASK_BYTES_MAX)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            why = why_not(writer.get_extra_info("socket"))
            while line := await _line(reader):
                answer = Answer(refused=_refused(Forbidden(why))) if why else await self.answer(line)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        writer.close()

    async def answer(self, line: bytes) -> Answer:
        """What an ask comes to."""
        try:
            ask = _decode(line)
        except msgspec.DecodeError as error:
            return Answer(refused=_refused(Malformed(f"expected an ask of a command, got {line[:80]!r}: {error}")))
        try:
            if ask.release is not None:
                return Answer(releases=await self._release(ask.release))
            if ask.rollout is not None:
                return Answer(releases=await self._releasing.rollout(ask.rollout))
            await self._obey(ask)
        except Fault as fault:
            return Answer(refused=_refused(fault))
        return Answer(self.status())

    async def _release(self, ask: ReleaseAsk) -> ReleasesTold:
        if ask.also:
            begun = await self._releasing.release_set(ask)
            return await self._releasing.rollout(RolloutAsk(release_set=begun.id))
        row = await self._releasing.release(ask)
        return await self._releasing.rollout(RolloutAsk(service=row.service))

    async def _obey(self, ask: Ask) -> None:
        supervisor = self._supervisor
        there = supervisor.plan.desired if supervisor.plan is not None else {}
        if ask.verb == "down":
            supervisor.stop()
        elif ask.verb == "restart":
            supervisor.wish(restarted(supervisor.memory.wishes, there, ask.services))
        elif ask.verb == "scale":
            await self._scale(there, ask.instances)
        elif ask.verb == "stop":
            _ = needed(there, ask.services)  # refuses names that are unknown
            await self._scale(there, dict.fromkeys(ask.services or there, 0))

    async def _scale(self, there: Mapping[str, Desired], instances: Mapping[str, int]) -> None:
        _ = scaled(self._supervisor.memory.wishes, there, instances)  # refuses what makes no sense
        await self._releasing.may_stop(name for name, number in instances.items() if not number)
        # Others may have wished for something meanwhile.
        self._supervisor.wish(scaled(self._supervisor.memory.wishes, there, instances))

    def status(self) -> Status:
        """How the system is."""
        supervisor = self._supervisor
        system = supervisor.memory.system
        desired = supervisor.desired if supervisor.plan is not None else {}
        apart = self._host.now() - self._host.monotonic()
        rows = tuple(
            Row(
                one.name,
                one.service,
                one.release,
                one.phase,
                one.since + apart,
                one.why,
                one.pid,
                one.port,
                one.restarts,
                one.tail if one.phase == "crash loop" else (),
            )
            for one in sorted(system.instances, key=lambda one: (one.service, one.number))
        )
        wanted = tuple(Wish(one.service, one.instances, one.is_job) for one in desired.values())
        return Status(
            str(self._project.folder),
            supervisor.edge.url,
            os.getppid(),
            os.getpid(),
            wanted,
            rows,
            supervisor.memory.wishes.down,
            # What has changed and was not told yet is a table of its own.
            system.shown + (supervisor.plan is not None and supervisor.shape != system.shape),
            system.seen,
            self.problem,
        )


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        return b""  # longer than anybody's who means well


def _refused(fault: Fault) -> Refused:
    return Refused(fault.code, str(fault))
