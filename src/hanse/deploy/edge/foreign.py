"""What engines that others have made have in common: a program of some version, and tables that can be said to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec

from hanse.control.edge_table import Table
from hanse.kernel.faults import CouldNotStart

SAID_MAX = 80
"""Characters of what a program says of itself that are told on."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Program(msgspec.Struct, frozen=True):
    """A program that somebody has to install.

    Attributes:
        title: What people call it.
        asked: The option by which it tells its version.
        told: Finds the first two numbers of that in what it says.
        least: The oldest version that will do.
        install: How it is had.
    """

    title: str
    asked: str
    told: str
    least: tuple[int, int]
    install: str

    async def usable(self, path: str) -> str:
        """The same path, if its version will do.

        Raises:
            CouldNotStart: It is too old, or cannot be run; says which version is needed.
        """
        try:
            process = await asyncio.create_subprocess_exec(path, self.asked, stdout=asyncio.subprocess.PIPE)
            said, _ = await process.communicate()
        except OSError as error:
            raise CouldNotStart(f"{path} cannot be run: {error}; {self.install}") from None
        text = said.decode(errors="replace")
        version = self.version_of(text)
        if version is None or version < self.least:
            raise CouldNotStart(
                f"{path}: expected {self.title} {'.'.join(map(str, self.least))} or later, "
                f"got {text[:SAID_MAX].strip()!r}; {self.install}"
            )
        return path

    def version_of(self, said: str) -> tuple[int, int] | None:
        """The version that it tells; None where it tells none."""
        match = re.search(self.told, said)
        return (int(match[1]), int(match[2])) if match else None


def problems_of(table: Table) -> Iterator[str]:
    """What of a table can be said to no such program: names that may mean something else there, and hosts' names."""
    for what, name in _names(table):
        if not _NAME.fullmatch(name):
            yield f"{what} {name!r}: expected letters, digits, '.', '_' and '-', 128 at most"
    for server in (one for pool in table.pools for one in pool.servers):
        if not _is_address(server.host):
            yield f"the server {server.id}: expected an IP address, got {server.host!r}"


def _names(table: Table) -> Iterator[tuple[str, str]]:
    for target in table.targets:
        yield f"the header by which a release of {target.service} is chosen,", target.forced_by
        if target.split.cookie:
            yield f"the cookie of {target.service}", target.split.cookie
        for source in target.split.sticks_to:
            kind, _, name = source.partition(".")
            if kind != "address":
                yield f"{target.service} sticks to the {kind}", name
    for pool in table.pools:
        if pool.sticky:
            yield f"the cookie of {pool.service}", pool.sticky


def _is_address(text: str) -> bool:
    # A scope, as of fe80::1%eth0, could be any text.
    if "%" in text:
        return False
    try:
        _ = ip_address(text)
    except ValueError:
        return False
    return True
