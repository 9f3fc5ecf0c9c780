"""One process of Envoy: started with all that it shows, told of changes by files, and asked what it has taken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import final

import h11
import msgspec

from hanse.deploy.edge.envoy.bootstrap import ADMIN, PROBE
from hanse.deploy.edge.envoy.pools import Resource
from hanse.deploy.edge.foreign_process import answers, end, launched, put, said_in
from hanse.kernel.faults import CouldNotStart, Unavailable

ASK_SECONDS = 5.0
"""That one answer may take."""

LOOK_SECONDS = 0.002
"""Between two looks at what has changed."""

FLUSH_MILLISECONDS = 10
"""After which lines of log are told at the latest."""

SAID = "envoy.log"
"""What Envoy says of itself, since its last start."""

_SAID_MAX = 5


class Standing(msgspec.Struct, frozen=True):
    """How a server is, in one cluster.

    Attributes:
        busy: Requests and tunnels under way.
        errors: Attempts that failed there, and answers of 500 or more, since Envoy knows it.
        refused: Connections among these that it did not take.
    """

    busy: int
    errors: int
    refused: int


class _Number(msgspec.Struct):
    name: str = ""
    value: int | str = 0


class _Socket(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class _Address(msgspec.Struct):
    socket_address: _Socket = msgspec.field(default_factory=_Socket)


class _Host(msgspec.Struct):
    address: _Address = msgspec.field(default_factory=_Address)
    stats: list[_Number] = []


class _Cluster(msgspec.Struct):
    name: str
    host_statuses: list[_Host] = []


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = []


Where = tuple[str, str, int]
"""Cluster, address and port."""


@final
class Worker:
    """A process of Envoy.

    Attributes:
        process: The process.
    """

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        """Know a process that was started.

        Args:
            folder: Where its sockets and files are.
            process: Which.
        """
        self.process: asyncio.subprocess.Process = process
        self._folder = folder

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    async def revision(self, number: int) -> str:
        """The revision of the routes that its worker shows to requests that come from now on.

        Args:
            number: Is told in a line of log, behind those of all requests that were over before.
        """
        return (await asked(self._folder / PROBE, f"/{number}")).decode(errors="replace")

    async def versions(self) -> dict[str, str]:
        """Which version of which files it has taken: `cds`, and clusters by name."""
        told = (await asked(self._folder / ADMIN, "/stats?type=TextReadouts&filter=version_text$")).decode()
        found = dict[str, str]()
        for line in told.splitlines():
            name, _, value = line.partition(": ")
            parts = name.split(".")
            if parts[0] in {"cluster", "cluster_manager"}:
                found[parts[1]] = value.strip('"')
        return found

    async def standings(self) -> dict[Where, Standing]:
        """How servers are."""
        told = msgspec.json.decode(await asked(self._folder / ADMIN, "/clusters?format=json"), type=_Clusters)
        found = dict[Where, Standing]()
        for cluster in told.cluster_statuses:
            for host in cluster.host_statuses:
                where = host.address.socket_address
                numbers = {number.name: int(number.value) for number in host.stats}
                busy = numbers.get("rq_active", 0) + numbers.get("rq_pending_active", 0)
                found[cluster.name, where.address, where.port_value] = Standing(
                    busy, numbers.get("rq_error", 0), numbers.get("cx_connect_fail", 0)
                )
        return found

    async def leave(self) -> None:
        """Take no new connections."""
        with suppress(Unavailable):
            _ = await asked(self._folder / ADMIN, "/drain_listeners", method="POST")

    async def end(self) -> None:
        """End it at once."""
        await end(self.process)


def write(folder: Path, name: str, told: object) -> None:
    """Put a file over the one that Envoy watches."""
    put(folder, name, msgspec.json.encode(told))


async def asked(path: Path, target: str, *, method: str = "GET") -> bytes:
    """The body of an answer at a socket.

    Raises:
        Unavailable: Nobody answers there, or not with 200.
    """
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await _exchanged(reader, writer, method, target)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
        raise Unavailable(f"Envoy at {path} does not answer: {str(error) or type(error).__name__}") from None


async def _exchanged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, target: str) -> bytes:
    http, body = h11.Connection(h11.CLIENT), bytearray()
    headers = [("Host", "edge"), ("Connection", "close"), ("Content-Length", "0")]
    writer.write(http.send(h11.Request(method=method, target=target, headers=headers)) or b"")
    writer.write(http.send(h11.EndOfMessage()) or b"")
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            case h11.Response(status_code=status) if status != _OK:
                raise Unavailable(f"Envoy answered {target} with {status}")
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() | h11.ConnectionClosed():
                return bytes(body)
            case _:
                pass


_OK = 200


async def started(program: str, folder: Path, files: Mapping[str, Resource]) -> Worker:
    """A process that takes connections.

    Raises:
        CouldNotStart: It refuses its files, or does not come; says why.
    """
    for name in (ADMIN, PROBE):
        (folder / name).unlink(missing_ok=True)
    for name, told in files.items():
        write(folder, name, told)
    command = [
        program,
        *("-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
        *("--file-flush-interval-msec", str(FLUSH_MILLISECONDS), "--drain-strategy", "immediate"),
    ]
    worker = Worker(folder, await launched(command, folder, SAID, tells=True))
    if await answers(worker.process, lambda: worker.revision(0)):
        return worker
    raise CouldNotStart(f"Envoy could not start: {last_words(folder)}")


def last_words(folder: Path) -> str:
    """What Envoy said last of what is wrong."""
    said = said_in(folder, SAID)
    wrong = [line.partition("] ")[2] or line for line in said if "[error]" in line or "[critical]" in line]
    return "; ".join((wrong or said)[-_SAID_MAX:]) or f"it said nothing; see {folder / SAID}"
