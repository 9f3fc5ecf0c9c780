"""Drives the built-in edge, from another process."""

from __future__ import annotations

from typing import final

from hanse.deploy.edge.base import Features, Place
from hanse.deploy.edge.driver import Driver, Launch, launch

FEATURES = Features(mirrors=True, trailers=True, cookies=True, unknown_told=True, exact=True, waiting=True, ejects=True)


@final
class BuiltinEngine(Driver):
    """Our own edge, in a process of its own; see `hanse.deploy.edge.base.Engine` for what its verbs promise."""

    def __init__(self, place: Place, starts: Launch = launch) -> None:
        """Know where it is to be.

        Args:
            place: Where, and how.
            starts: Starts its process; by default as a child of this one.
        """
        super().__init__(FEATURES, place, lambda told: ["-m", "hanse.deploy.edge.builtin", told], starts)
