"""Drives an edge of HAProxy, from another process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import final

import msgspec

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Features, Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine, Launch, Launched, launch
from hanse.deploy.edge.haproxy.program import found


@final
class HaproxyEngine:
    """HAProxy, and the process that drives it; see `hanse.deploy.edge.base.Engine` for what its verbs promise.

    That process is driven in the same words as the built-in edge, and outlives whoever started it as that does.
    """

    def __init__(self, place: Place, starts: Launch = launch, program: str = "") -> None:
        """Know where it is to be.

        Args:
            place: Where, and how.
            starts: Starts its process; by default as a child of this one.
            program: Path of HAProxy; the one that is found by default.
        """
        self.features: Features = Features(cookies=True)
        self._place = place
        self._starts = starts
        self._program = program
        self._process = BuiltinEngine(place, self._launch)

    @property
    def pid(self) -> int:
        """Of the process that drives it, once that has started."""
        return self._process.pid

    @property
    def command(self) -> list[str]:
        """What runs it."""
        place = msgspec.json.encode(self._place, enc_hook=str).decode()
        return [sys.executable, "-m", "hanse.deploy.edge.haproxy", place, self._program or found()]

    async def _launch(self, _: Sequence[str]) -> Launched:
        return await self._starts(self.command)

    async def start(self) -> str:
        """See `Engine`."""
        return await self._process.start()

    async def apply(self, table: Table) -> None:
        """See `Engine`."""
        await self._process.apply(table)

    async def figures(self) -> Figures:
        """See `Engine`."""
        return await self._process.figures()

    async def pairs(self) -> Pairs:
        """See `Engine`: HAProxy mirrors nothing."""
        return Pairs()

    async def drained(self, server: str, timeout: float) -> bool:
        """See `Engine`."""
        return await self._process.drained(server, timeout)

    async def cut(self, server: str) -> int:
        """See `Engine`."""
        return await self._process.cut(server)

    async def stop(self, grace: float) -> None:
        """See `Engine`."""
        await self._process.stop(grace)
