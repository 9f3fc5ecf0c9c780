"""Drives an edge of Envoy, from another process."""

from __future__ import annotations

from typing import final

from hanse.deploy.edge.base import Features, Place
from hanse.deploy.edge.driver import Driver, Launch, launch
from hanse.deploy.edge.envoy.program import found

FEATURES = Features(grpc=True, cookies=True, unknown_told=True)


@final
class EnvoyEngine(Driver):
    """Envoy, and the process that drives it; see `hanse.deploy.edge.base.Engine` for what its verbs promise."""

    def __init__(self, place: Place, starts: Launch = launch, program: str = "") -> None:
        """Know where it is to be.

        Args:
            place: Where, and how.
            starts: Starts its process; by default as a child of this one.
            program: Path of Envoy; the one that is found by default.
        """
        super().__init__(
            FEATURES, place, lambda told: ["-m", "hanse.deploy.edge.envoy", told, program or found()], starts
        )
