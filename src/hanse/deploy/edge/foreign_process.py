"""One process of a program that others have made: started in a folder, and waited for until it answers.

It ends with whoever has started it: when that is killed, and where nobody waits for it any more before it has answered.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hanse.deploy.linux import die_with
from hanse.kernel.faults import Unavailable

START_SECONDS = 12.0
"""That a process has to answer."""

LINE_BYTES_MAX = 256 * 1024
"""Of what it tells by its output."""

_LOOK_SECONDS = 0.01


def put(folder: Path, name: str, data: bytes) -> None:
    """Put a file beside the one that a program reads, and over it."""
    beside = folder / f".{name}"
    beside.unlink(missing_ok=True)
    # Among them are keys of certificates.
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        _ = file.write(data)
    _ = beside.replace(folder / name)


async def launched(
    command: Sequence[str], folder: Path, said: str, inherited: Sequence[int] = (), *, tells: bool = False
) -> Process:
    """A process that works in a folder, and ends with this one.

    Args:
        command: What starts it.
        folder: Where.
        said: Name of the file there for what it says of itself, since this start.
        inherited: File descriptors that it has too.
        tells: Whether its output is read.
    """
    parent = os.getpid()
    end = os.open(folder / said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            pass_fds=inherited,
            stdin=DEVNULL,
            stdout=PIPE if tells else DEVNULL,
            stderr=end,
            limit=LINE_BYTES_MAX,
            preexec_fn=lambda: die_with(parent, signal.SIGKILL),
        )
    finally:
        os.close(end)


async def answers(process: Process, ask: Callable[[], Awaitable[object]]) -> bool:
    """Wait until a process answers; whether it does. One that does not is ended.

    Args:
        process: That was started.
        ask: Asks it; raises `Unavailable` as long as it does not answer.
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                with suppress(Unavailable):
                    _ = await ask()
                    return True
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        await end(process)
    except BaseException:
        # Nobody waits for it any more, and nobody else knows of it.
        await end(process)
        raise
    return False


async def end(process: Process) -> None:
    """End a process at once."""
    with suppress(ProcessLookupError):
        process.kill()
    _ = await process.wait()


def said_in(folder: Path, name: str) -> list[str]:
    """The lines that a process said of itself; none where there is no such file."""
    try:
        return (folder / name).read_text(errors="replace").splitlines()
    except OSError:
        return []
