"""HAProxy as an edge: the table in force, the processes that show it, and what they tell of requests.

There is one process at a time that takes connections. Where a table does not fit into its layout, or it has refused a
command, the next one is started with all that is to be shown, at the same listening socket, before it is let go. It
ends with its last connection; until then it is told of changes too, as far as it knows what they are about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol, final

from hanse.control.edge_figures import Figures, Key
from hanse.control.edge_table import Table, checked
from hanse.deploy.edge.counted import Counted
from hanse.deploy.edge.haproxy.layout import Layout, Placement, PoolKey, Slot, fitted
from hanse.deploy.edge.haproxy.lines import ACCESS_FIELDS, Over, count, read
from hanse.deploy.edge.haproxy.log_pipe import LogPipe
from hanse.deploy.edge.haproxy.runtime import Standing
from hanse.deploy.edge.haproxy.shown import Shown, commands, shown, slot_name
from hanse.kernel.faults import Misconfigured, Unavailable
from hanse.kernel.host import Host

LOOK_SECONDS = 0.02
"""Between two looks at whether a server is drained."""

CUTS_MAX = 50
"""How often what is under way at a server is broken off, until nothing is."""

_log = logging.getLogger("hanse.edge")
_access = logging.getLogger("hanse.access")


class Process(Protocol):
    """A process of HAProxy, as the edge sees it."""

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        ...

    async def tell(self, commands: list[str], /) -> list[str]:
        """Give commands; those that were refused."""
        ...

    async def standings(self) -> dict[Slot, Standing]:
        """How its slots are."""
        ...

    async def renew(self, name: str, text: str, /) -> None:
        """Show another certificate."""
        ...

    async def leave(self) -> None:
        """Take no new connections, and end with the last."""
        ...


class Starts(Protocol):
    """Starts processes of HAProxy."""

    async def __call__(self, layout: Layout, now: Shown, /) -> Process:
        """A process that shows this, and takes connections."""
        ...


@final
class HaproxyEdge:
    """An edge of HAProxy.

    Attributes:
        table: In force.
    """

    def __init__(self, host: Host, starts: Starts, told: LogPipe) -> None:
        """Show nothing yet.

        Args:
            host: Clocks.
            starts: Starts processes.
            told: Where they tell of requests that are over.
        """
        self.table: Table = Table()
        self._starts = starts
        self._told = told
        self._host = host
        self._since = host.now()
        self._layout = Layout()
        self._placement = Placement()
        self._shown = Shown()
        self._process: Process | None = None
        self._old: list[Process] = []
        self._names: dict[Slot, tuple[PoolKey, str]] = {}
        self._releases: dict[int, PoolKey] = {}
        self._counted = Counted()
        self._retried: dict[tuple[Process, Slot], int] = {}
        self._changing = asyncio.Lock()

    async def start(self, ended: object = None) -> None:
        """Start a process that shows what is to be shown, unless another is there already.

        Args:
            ended: Instead of which; None for the first.

        Raises:
            CouldNotStart: It refuses what it is told to show.
        """
        # A table that comes meanwhile waits: shown by another process, it would be one of two that take connections.
        async with self._changing:
            if self._process is ended:
                self._process = await self._starts(self._layout, self._shown)

    def is_current(self, process: object) -> bool:
        """Whether it is the process that takes connections."""
        return process is self._process

    async def apply(self, table: Table) -> None:
        """Show another table; see `Engine`."""
        async with self._changing:
            if table.revision < self.table.revision:
                raise Misconfigured(
                    f"the edge shows revision {self.table.revision}; expected a later table, got {table.revision}"
                )
            _ = checked(table)
            busy = [slot for slot, standing in (await self._standings()).items() if standing.busy]
            layout, placement = fitted(self._layout, self._placement, table, busy)
            now = shown(table, layout, placement)
            self.read_log()
            await self._show(layout, now)
            self.table, self._layout, self._placement, self._shown = table, layout, placement, now
            self._names |= {slot: (pool, server) for (pool, server, _, _), slot in placement.servers.items()}
            self._releases |= {number: pool for pool, number in placement.pools.items()}

    async def renew(self, name: str, text: str) -> None:
        """Show another certificate, to whoever connects from now on.

        Args:
            name: Of the file that HAProxy has read.
            text: Certificate and key (PEM).

        Raises:
            Unavailable: HAProxy has not taken it; says what it said.
        """
        async with self._changing:
            if self._process is not None:
                await self._process.renew(name, text)

    async def _show(self, layout: Layout, now: Shown) -> None:
        orders = commands(self._shown, now)
        process = self._process
        if layout == self._layout and process is not None and process.lives:
            refused = await process.tell(orders)
            if not refused:
                await self._tell_old(orders)
                return
            _log.error("HAProxy refused commands, and is told all anew: %s", "; ".join(refused[:3]))
        self._process = await self._starts(layout, now)
        if process is not None:
            self._old.append(process)
            await process.leave()
        await self._tell_old(orders)

    async def _tell_old(self, orders: list[str]) -> None:
        self._old = [process for process in self._old if process.lives]
        there = {*self._old, self._process}
        self._retried = {key: count for key, count in self._retried.items() if key[0] in there}
        for process in self._old:
            # It refuses what is about backends that it does not have, and may end at any moment.
            with suppress(Unavailable):
                _ = await process.tell(orders)

    async def _standings(self) -> dict[Slot, Standing]:
        """How slots are, in all processes together."""
        together = dict[Slot, Standing]()
        for process in [*self._old, *([self._process] if self._process else [])]:
            for slot, standing in (await process.standings()).items():
                self._notice(process, slot, standing)
                known = together.get(slot, Standing(0, down=False, retried=0))
                together[slot] = Standing(known.busy + standing.busy, standing.down, standing.retried)
        return together

    def _notice(self, process: Process, slot: Slot, standing: Standing) -> None:
        """Count attempts that failed, of which no line tells where that was."""
        key = process, slot
        more = standing.retried - self._retried.get(key, 0)
        self._retried[key] = standing.retried
        if more and (name := self._names.get(slot)):
            self._counted.of(Key(*name[0], name[1], "")).failed += more

    def read_log(self) -> None:
        """Count what was told of requests that are over."""
        for line in self._told.lines():
            if over := read(line):
                self._count(over)

    def _count(self, over: Over) -> None:
        pool, server = self._names.get(over.slot, (None, "")) if over.slot else (None, "")
        if pool is None and over.backend is not None:
            pool = self._releases.get(over.backend)
        service, release = pool or (over.service, "")
        key = Key(service, release, server, over.route)
        count(self._counted.of(key), over)
        if not over.gone:
            self._counted.asked(key, over.who, self._host.monotonic(), failed=over.failed)
        if len(over.access) == ACCESS_FIELDS:
            _tell(over, server)

    async def figures(self) -> Figures:
        """What was counted."""
        standings = await self._standings()
        # What was answered before this was asked has been told of by now.
        self.read_log()
        busy = dict[str, int]()
        down = list[str]()
        for slot, standing in standings.items():
            name = self._names.get(slot)
            if name and standing.busy:
                busy[name[1]] = busy.get(name[1], 0) + standing.busy
            if name and standing.down and slot in self._shown.seats:
                down.append(name[1])
        return Figures(
            since=self._since,
            revision=self.table.revision,
            lines=self._counted.lines(),
            in_flight=busy,
            ejected=tuple(sorted(down)),
        )

    async def drained(self, server: str, seconds: float) -> bool:
        """Wait until a server has nothing under way; whether it has nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._busy(self._slots(server)):  # noqa: ASYNC110 - HAProxy is another process
                    await asyncio.sleep(LOOK_SECONDS)
                return True
        return False

    async def cut(self, server: str) -> int:
        """Break off what is under way at a server; how many these were."""
        slots = self._slots(server)
        there = left = await self._busy(slots)
        orders = [f"shutdown sessions server {slot_name(slot)}" for slot in slots]
        for _ in range(CUTS_MAX):
            if not left or self._process is None:
                break
            # What may be repeated is sent again, and to the same server where there is no other.
            _ = await self._process.tell(orders)
            await self._tell_old(orders)
            await asyncio.sleep(LOOK_SECONDS)
            left = await self._busy(slots)
        return there

    def _slots(self, server: str) -> list[Slot]:
        return [slot for slot, (_, name) in self._names.items() if name == server]

    async def _busy(self, slots: Iterable[Slot]) -> int:
        standings = await self._standings()
        return sum(standings[slot].busy for slot in slots if slot in standings)

    async def tend(self) -> None:
        """Count what is told of requests as it comes; never returns."""
        loop = asyncio.get_running_loop()
        _ = loop.add_reader(self._told, self.read_log)
        try:
            _ = await loop.create_future()
        finally:
            _ = loop.remove_reader(self._told)

    async def leave(self, grace: float) -> None:
        """Take nobody new, and wait for what is under way, for at most so many seconds."""
        if self._process is not None:
            await self._process.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while await self._busy(self._names):  # noqa: ASYNC110 - HAProxy is another process
                    await asyncio.sleep(LOOK_SECONDS)


def _tell(over: Over, server: str) -> None:
    """The line of log of a request."""
    method, path, milliseconds, address, request_id, trace_id = over.access
    about = {
        "http.request.method": method,
        "url.path": path,
        **({"http.response.status_code": over.status} if over.status else {"error.type": "cancelled"}),
        "http.server.request.duration": int(milliseconds.lstrip("+")) / 1000,
        "client.address": address,
        "server": server,
        "request_id": request_id,
        "trace_id": trace_id,
    }
    _access.info("%s %s %s %s ms %s", method, path, over.status or "gone", milliseconds, server, extra=about)
