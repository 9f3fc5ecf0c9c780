"""Commands to one process of HAProxy, over its socket; what it replies is read strictly."""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from hanse.deploy.edge.haproxy.layout import Slot
from hanse.deploy.edge.haproxy.shown import slot_of
from hanse.kernel.faults import Unavailable

REPLY_SECONDS = 5.0
"""That one reply may take."""

REPLY_BYTES_MAX = 64 * 1024 * 1024

_PROMPT = b"\n> "
_MOVED = re.compile(r"(no need to change the addr|IP changed from '[^']*' to '[^']*').* by 'stats socket command'")


class Standing(msgspec.Struct, frozen=True):
    """How a slot is.

    Attributes:
        busy: Requests and tunnels under way.
        down: Whether it is left alone because connections failed.
        retried: Attempts that failed there and were made again, since the process began.
    """

    busy: int
    down: bool
    retried: int


def wrong(command: str, reply: str) -> bool:
    """Whether a reply says that a command was not carried out: it is neither empty nor known to be good.

    Example:
        >>> wrong("set server b0/s0 state ready", ""), wrong("set server b0/s9 state ready", "No such server.")
        (False, True)
    """
    said = reply.strip()
    return bool(said) and not (" addr " in command and _MOVED.fullmatch(said))


async def tell(path: Path, commands: Sequence[str]) -> list[str]:
    """Give commands, in order; those that were refused, each with what was said to it.

    Raises:
        Unavailable: The process does not answer.
    """
    refused = list[str]()
    if not commands:
        return refused
    async with asyncio.timeout(None) as limit:
        reader, writer = await _connected(path, limit)
        try:
            writer.write(b"prompt\n")
            _ = await _reply(reader, limit)
            for command in commands:
                writer.write(command.encode() + b"\n")
                said = await _reply(reader, limit)
                if wrong(command, said):
                    refused.append(f"{command}: {said.strip()}")
        finally:
            writer.close()
    return refused


async def ask(path: Path, command: str) -> str:
    """One command, and all that is replied.

    Raises:
        Unavailable: The process does not answer.
    """
    async with asyncio.timeout(None) as limit:
        reader, writer = await _connected(path, limit)
        try:
            writer.write(command.encode() + b"\n")
            _later(limit)
            return (await reader.read(-1)).decode(errors="replace")
        except (OSError, TimeoutError) as error:
            raise _gone(path, error) from None
        finally:
            writer.close()


async def renew(path: Path, name: str, text: str) -> None:
    """Have another certificate shown to whoever connects from now on.

    Args:
        path: Of the socket.
        name: Of the file that was read.
        text: Certificate and key (PEM).

    Raises:
        Unavailable: It was not taken; says what was said.
    """
    # An empty line ends what is handed over.
    lines = "\n".join(line for line in text.splitlines() if line.strip())
    said = await ask(path, f"set ssl cert {name} <<\n{lines}\n")
    if "Transaction" in said:
        said = await ask(path, f"commit ssl cert {name}")
    if "Success" not in said:
        _ = await ask(path, f"abort ssl cert {name}")
        raise Unavailable(f"HAProxy has not taken another certificate: {said.strip()}")


async def standings(path: Path) -> dict[Slot, Standing]:
    """How all slots of a process are.

    Raises:
        Unavailable: It does not answer.
    """
    return dict(read_standings(await ask(path, "show stat -1 4 -1")))


def read_standings(text: str) -> Iterator[tuple[Slot, Standing]]:
    """How slots are, as `show stat` tells it."""
    for row in csv.DictReader(text.removeprefix("# ").splitlines()):
        slot = slot_of(row.get("# pxname", row.get("pxname", "")) or "", row.get("svname") or "")
        if slot is not None:
            down = (row.get("status") or "").startswith("DOWN")
            # An attempt that is made again elsewhere counts as one or the other, or as both.
            yield (
                slot,
                Standing(int(row.get("scur") or 0), down, max(int(row.get("wretr") or 0), int(row.get("wredis") or 0))),
            )


async def _connected(path: Path, limit: asyncio.Timeout) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    _later(limit)
    try:
        return await asyncio.open_unix_connection(path, limit=REPLY_BYTES_MAX)
    except (OSError, TimeoutError) as error:
        raise _gone(path, error) from None


async def _reply(reader: asyncio.StreamReader, limit: asyncio.Timeout) -> str:
    _later(limit)
    try:
        return (await reader.readuntil(_PROMPT)).removesuffix(_PROMPT).decode(errors="replace")
    except (OSError, EOFError, TimeoutError) as error:
        raise Unavailable(f"HAProxy closed its socket amid a command: {error}") from None


def _later(limit: asyncio.Timeout) -> None:
    limit.reschedule(asyncio.get_running_loop().time() + REPLY_SECONDS)


def _gone(path: Path, error: Exception) -> Unavailable:
    return Unavailable(f"HAProxy at {path} does not answer: {str(error) or type(error).__name__}")
