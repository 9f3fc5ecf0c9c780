"""Drives an edge of HAProxy, from another process."""

from __future__ import annotations

from typing import final

from hanse.deploy.edge.base import Features, Place
from hanse.deploy.edge.driver import Driver, Launch, launch
from hanse.deploy.edge.haproxy.program import found

FEATURES = Features(grpc=True, cookies=True)


@final
class HaproxyEngine(Driver):
    """HAProxy, and the process that drives it; see `hanse.deploy.edge.base.Engine` for what its verbs promise."""

    def __init__(self, place: Place, starts: Launch = launch, program: str = "") -> None:
        """Know where it is to be.

        Args:
            place: Where, and how.
            starts: Starts its process; by default as a child of this one.
            program: Path of HAProxy; the one that is found by default.
        """
        super().__init__(
            FEATURES, place, lambda told: ["-m", "hanse.deploy.edge.haproxy", told, program or found()], starts
        )
