"""Looks at the instances of a service: what they take of the machine, and what nodes among them have counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import final

from hanse.control.desired import Desired
from hanse.control.instances import Instance
from hanse.control.sighted import Looks
from hanse.deploy.ledgers import Ledgers
from hanse.deploy.usage import Usage, cpu_share, usage_by_session
from hanse.kernel.host import Host

LOOK_SECONDS_MIN = 0.5
"""Between two looks at processors, at least: in less a share of one says little, and the last one is told again."""


@final
class Looker:
    """See the module.

    Args of the constructor:
        host: Its clock.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._at = host.monotonic()
        self._taken: Mapping[int, Usage] = {}
        self._cpu: dict[int, float] = {}
        self._ledgers = Ledgers(host)

    async def look(self, wanted: Desired | None, instances: Iterable[Instance], token: str = "") -> Looks:
        """What is so now.

        Args:
            wanted: What should run of the service: what each may take; None for as much as it likes.
            instances: Of the service; the others are not told of.
            token: That nodes of the app show their figures for; empty for none.
        """
        mine = [one for one in instances if one.is_alive and one.pid]
        ledgers = await self._ledgers.heard(mine, token) if wanted is not None and wanted.own else {}
        # To read what each process takes blocks: with thousands of them, for longer than a request may wait.
        taken, now = await asyncio.to_thread(usage_by_session), self._host.monotonic()
        if now - self._at >= LOOK_SECONDS_MIN:
            known = self._taken.keys() & taken.keys()
            self._cpu = {pid: cpu_share(self._taken, taken, pid, now - self._at) for pid in known}
            self._at, self._taken = now, taken
        return Looks(
            now,
            {one.process: float(taken[one.pid].memory_bytes) for one in mine if one.pid in taken},
            {one.process: self._cpu[one.pid] for one in mine if one.pid in self._cpu},
            float(wanted.memory_max) if wanted else 0.0,
            wanted.cpu_max if wanted else 0.0,
            ledgers,
        )
