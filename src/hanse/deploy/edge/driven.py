"""What an engine asks its process, and the side of the process: a socket of control, and its start and end.

The socket of control takes a line of JSON, and answers with one: `{"do": "apply", "table": {...}}`. A connection is for
one question; whoever waits for a server to be drained waits on a connection of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Place
from hanse.deploy.own_socket import own_socket, why_not
from hanse.kernel.faults import Fault, Misconfigured
from hanse.kernel.logs import Labels, set_up
from hanse.kernel.settings import LogSettings

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Of one question: a table of some thousand servers is some hundred KiB."""

ASKING_SECONDS = 10.0
"""That whoever drives has for a question."""

BACKLOG = 2048
"""Connections of clients that wait to be accepted."""

SOCKET = "control.sock"
"""Name of the socket of control, in the edge's folder."""

FAILED = "failed.json"
"""Name of the file in which a process that could not start says why."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver asks.

    Attributes:
        do: The verb.
        table: To show.
        server: That is to be drained or cut.
        seconds: To wait.
    """

    do: str
    table: Table | None = None
    server: str = ""
    seconds: float = 0.0


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What it is told.

    Attributes:
        problem: What is wrong with the question; empty where nothing is.
        url: Where the edge listens.
        pid: Of its process.
        figures: What it has counted.
        pairs: What copies of requests came to.
        done: Whether a server is drained.
        count: How many were cut.
    """

    problem: str = ""
    url: str = ""
    pid: int = 0
    figures: Figures | None = None
    pairs: Pairs | None = None
    done: bool = False
    count: int = 0


Answers = Callable[[Question], Awaitable[Reply]]
"""Does what is asked."""


class Driven(Protocol):
    """What is driven where something else than our own edge moves the requests, in the verbs of an `Engine`."""

    async def apply(self, table: Table) -> None:
        """Show another table."""
        ...

    async def figures(self) -> Figures:
        """What was counted."""
        ...

    async def drained(self, server: str, seconds: float) -> bool:
        """Wait until a server has nothing under way; whether it has nothing."""
        ...

    async def cut(self, server: str) -> int:
        """Break off what is under way at a server; how many these were."""
        ...


class Serving(Protocol):
    """A process of an edge.

    Attributes:
        stopped: Set when a driver, or a signal, has asked for its end.
    """

    stopped: asyncio.Event

    async def run(self) -> None:
        """Serve until it is to stop."""
        ...


async def control(folder: Path, answers: Answers) -> asyncio.Server:
    """The socket of control of an edge in this folder; whoever closes it removes its file."""

    async def driven(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question of whoever drives."""
        with suppress(ConnectionError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            if why_not(writer.get_extra_info("socket")):
                writer.close()
                return
            async with asyncio.timeout(ASKING_SECONDS):
                line = await reader.readuntil(b"\n")
            writer.write(msgspec.json.encode(await _answer(line, answers)) + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(driven, sock=own_socket(folder / SOCKET), limit=LINE_BYTES_MAX)


async def _answer(line: bytes, answers: Answers) -> Reply:
    try:
        return await answers(msgspec.json.decode(line, type=Question))
    except msgspec.DecodeError as error:
        return Reply(problem=f"expected a question such as {{'do': 'figures'}}: {error}")
    except Fault as fault:
        return Reply(problem=fault.detail)


async def done(edge: Driven, asked: Question) -> Reply:
    """Do what is asked of an edge.

    Raises:
        Misconfigured: It knows no such verb.
    """
    match asked.do:
        case "apply" if asked.table is not None:
            await edge.apply(asked.table)
            return Reply()
        case "figures":
            return Reply(figures=await edge.figures())
        case "pairs":
            return Reply(pairs=Pairs())
        case "drained":
            return Reply(done=await edge.drained(asked.server, asked.seconds))
        case "cut":
            return Reply(count=await edge.cut(asked.server))
        case _:
            raise Misconfigured(f"the edge knows no {asked.do!r} like this")


def run(
    makes: Callable[[Place], Awaitable[Serving]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run the process of an edge until it is told to stop; its place is its first argument, as JSON.

    Args:
        makes: Makes what serves there.
        loop_factory: Makes another event loop than that of the standard library.

    Returns:
        The process's exit code. Where it could not start, a file in its folder says why.
    """
    place = msgspec.json.decode(sys.argv[1], type=Place, dec_hook=_as_path)
    _ = set_up(LogSettings(), Labels(service="edge"), sys.stderr)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_until_told(place, makes))
    except Fault as fault:
        said = place.folder / f"{FAILED}.{os.getpid()}"
        _ = said.write_bytes(msgspec.json.encode(fault.detail))
        _ = said.rename(place.folder / FAILED)
        return fault.exit_code
    return 0


async def _until_told(place: Place, makes: Callable[[Place], Awaitable[Serving]]) -> None:
    server = await makes(place)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopped.set)
    await server.run()


def _as_path(kind: type, text: object) -> object:
    return kind(text)
