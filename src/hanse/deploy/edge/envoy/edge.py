"""Envoy as an edge: the table in force, the files that show it, and what it tells of requests.

A table comes in three steps, each of which Envoy has taken before the next: everybody who comes is there, and nobody
has gone yet; then rules ask the new table; then whoever goes gets nothing more, and ends what it has. So at no moment
is a request sent to where nobody is yet, or is no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import final
from urllib.parse import unquote

import msgspec

from hanse.control.edge_figures import Figures
from hanse.control.edge_health import Ejected, checked_in_vain, eject, is_back, may_eject, still_out
from hanse.control.edge_table import Pool, Server, Table, checked
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.probe import probe
from hanse.deploy.edge.envoy import routes as rules
from hanse.deploy.edge.envoy.counting import Counting
from hanse.deploy.edge.envoy.cutting import cut_off
from hanse.deploy.edge.envoy.lines import Told, read
from hanse.deploy.edge.envoy.pools import (
    Endpoint,
    Endpoints,
    Resource,
    Shape,
    assignments,
    clusters,
    endpoints_of,
    joined,
    left,
    shapes_of,
    takes,
)
from hanse.deploy.edge.envoy.worker import LOOK_SECONDS, Standing, Where, Worker, last_words, write
from hanse.kernel.faults import Misconfigured, Unavailable
from hanse.kernel.host import Host

TAKEN_SECONDS = 4.0
"""That Envoy has to take a change."""

SWEEP_SECONDS = 0.02
"""Between two looks at who leaves, and who was left alone."""

RETRY_SECONDS = 1.0
"""Before files are written again that could not be."""

CUTS_MAX = 50
"""How often what is under way at a server is broken off, until nothing is."""

_log = logging.getLogger("hanse.edge")
_access = logging.getLogger("hanse.access")


Starts = Callable[[Mapping[str, Resource]], Awaitable[Worker]]
"""Starts a process of Envoy, which reads these files, and takes connections."""


@final
class EnvoyEdge:
    """An edge of Envoy.

    Attributes:
        table: In force.
    """

    def __init__(self, host: Host, place: Place, starts: Starts) -> None:
        """Show nothing yet.

        Args:
            host: Clocks.
            place: Where, and how.
            starts: Starts processes.
        """
        self.table: Table = Table()
        self._worker: Worker | None = None
        self._starts = starts
        self._place = place
        self._since = host.now()
        self._version = 0
        self._shapes: dict[str, Shape] = {}
        self._shown: dict[str, Endpoints] = {}
        self._wanted: dict[str, Endpoints] = {}
        self._names: dict[Where, str] = {}
        self._counting = Counting()
        self._out: dict[str, Ejected] = {}
        self._doubted: set[str] = set()
        self._barrier = 0
        self._passed = 0
        self._came = asyncio.Event()
        self._stirred = asyncio.Event()
        self._changing = asyncio.Lock()
        self._looking = asyncio.Lock()

    # What is shown

    async def start(self, ended: object = None) -> None:
        """Start a process that shows what is to be shown, unless another is there already.

        Args:
            ended: Instead of which; None for the first.

        Raises:
            CouldNotStart: It refuses what it is told to show.
        """
        # A table that comes meanwhile waits: it is said in files, and these are being read.
        async with self._changing:
            if self._worker is ended:
                self._worker = await self._starts(self._files())

    def is_current(self, process: object) -> bool:
        """Whether it is the process that takes connections."""
        return process is self._worker

    def _files(self) -> dict[str, Resource]:
        """All that Envoy reads of a table when it starts."""
        self._version += 1
        told = {f"eds-{name}.json": self._told(assignments(name, ends)) for name, ends in self._shown.items()}
        return {
            **told,
            "cds.json": self._told(clusters(self._shapes)),
            "rds.json": self._told(self._routes(self.table)),
        }

    async def apply(self, table: Table) -> None:
        """Show another table; see `Engine`."""
        async with self._changing:
            if table.revision < self.table.revision:
                raise Misconfigured(
                    f"the edge shows revision {self.table.revision}; expected a later table, got {table.revision}"
                )
            _ = checked(table)
            rules.check(table)
            told = self._routes(table)
            shapes = shapes_of(table)
            wanted = {shapes[key].name: endpoints_of(pool) for key, pool in _pools(table) if key in shapes}
            self._names |= {(name, one.host, one.port): one.id for name, ends in wanted.items() for one in ends}
            self._out = {name: self._out[name] for name in still_out(self._out, _up(table))}
            self._shapes |= {shape.name: shape for shape in shapes.values()}
            before = {name: self._shown.get(name, ()) for name in self._shapes}
            await self._show({name: joined(ends, self._seen(wanted.get(name, ()))) for name, ends in before.items()})
            self._write("rds.json", told)
            await self._taken(f"revision {table.revision}", lambda: self._shows(table))
            self.table, self._wanted = table, wanted
            self._out = {name: self._out[name] for name in still_out(self._out, _up(table))}
            await self._show({name: left(ends, self._seen(wanted.get(name, ()))) for name, ends in before.items()})
            # What was given to whoever goes before this is counted as under way there from now on.
            _ = await self._asked()
            self._stirred.set()

    def _routes(self, table: Table) -> list[Resource]:
        scheme = "https" if self._place.certificate else "http"
        return rules.routes(table, shapes_of(table), scheme=scheme, access=self._place.access_log)

    def _seen(self, endpoints: Endpoints) -> Endpoints:
        """The same, without those that are left alone."""
        return tuple(
            msgspec.structs.replace(one, status="UNHEALTHY") if one.id in self._out else one for one in endpoints
        )

    async def _show(self, ends: Mapping[str, Endpoints]) -> None:
        """Have Envoy take these endpoints, and the clusters that they are of."""
        fresh = [name for name in ends if name not in self._shown]
        changed = [name for name, endpoints in ends.items() if self._shown.get(name) != endpoints]
        versions = dict[str, str]()
        for name in changed:
            self._write(f"eds-{name}.json", assignments(name, ends[name]))
            versions[name] = str(self._version)
            self._shown[name] = ends[name]
        if fresh:
            self._write("cds.json", clusters(self._shapes))
            versions["cds"] = str(self._version)
        if versions:
            await self._taken("endpoints", lambda: self._has(versions))

    def _write(self, name: str, resources: list[Resource]) -> None:
        self._version += 1
        write(self._place.folder, name, self._told(resources))

    def _told(self, resources: list[Resource]) -> Resource:
        return {"version_info": str(self._version), "resources": resources}

    async def _has(self, versions: Mapping[str, str]) -> bool:
        there = await self._process.versions()
        return all(int(there.get(name) or 0) >= int(version) for name, version in versions.items())

    async def _shows(self, table: Table) -> bool:
        return await self._asked() == str(table.revision)

    async def _taken(self, what: str, taken: Callable[[], Awaitable[bool]]) -> None:
        """Wait until Envoy has taken a change.

        Raises:
            Misconfigured: It has not; says what it said.
        """
        try:
            async with asyncio.timeout(TAKEN_SECONDS):
                while not await taken():  # noqa: ASYNC110 - Envoy is another process
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise Misconfigured(f"Envoy has not taken {what}: {last_words(self._place.folder)}") from None

    @property
    def _process(self) -> Worker:
        if self._worker is None or not self._worker.lives:
            raise Unavailable("Envoy has ended, and is started again; ask again")
        return self._worker

    # What is told

    async def heard(self, worker: Worker) -> int:
        """Read what a process tells of requests, until it has ended; its exit code."""
        assert worker.process.stdout is not None
        while True:
            try:
                line = await worker.process.stdout.readline()
            except ValueError:
                _log.error("Envoy told of a request at too great length")
                continue
            if not line:
                return await worker.process.wait()
            told = read(line)
            if told is None:
                _log.error("expected a line of log from Envoy, got %r", line[:200])
            elif told.probe:
                self._passed = max(self._passed, int(told.probe.strip("/") or 0))
                self._came.set()
            elif told.service:
                self._count(told)

    async def _asked(self) -> str:
        """The revision that requests meet from now on."""
        self._barrier += 1
        return await self._process.revision(self._barrier)

    async def _all_told(self) -> None:
        """Wait until what was over before has been told of."""
        self._barrier += 1
        mine = self._barrier
        _ = await self._process.revision(mine)
        # Should it end meanwhile, nothing more comes.
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_SECONDS):
                while self._passed < mine:
                    self._came.clear()
                    _ = await self._came.wait()

    def _count(self, told: Told) -> None:
        shape = self._shapes.get(told.pool)
        now = asyncio.get_running_loop().time()
        self._counting.over(told, shape.release if shape is not None else "", now)
        if told.broken or told.attempts > 1:
            self._stirred.set()
        if told.path:
            _tell(told)

    async def figures(self) -> Figures:
        """What was counted."""
        busy = dict[str, int]()
        for place, standing in (await self._looked()).items():
            name = self._names.get(place)
            if name and standing.busy:
                busy[name] = busy.get(name, 0) + standing.busy
        return Figures(
            since=self._since,
            revision=self.table.revision,
            lines=self._counting.lines(),
            in_flight=busy,
            ejected=tuple(sorted(self._out)),
        )

    async def _looked(self) -> dict[Where, Standing]:
        """How servers are, with attempts that failed counted."""
        async with self._looking:
            standings = await self._process.standings()
            # Whatever had ended by then has been told of by now, so that what is left over are attempts that failed.
            await self._all_told()
            now = asyncio.get_running_loop().time()
            self._doubted |= self._counting.looked(standings, self._shapes, self._names, now)
            return standings

    async def drained(self, server: str, seconds: float) -> bool:
        """Wait until a server has nothing under way; whether it has nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._busy(server):  # noqa: ASYNC110 - Envoy is another process
                    await asyncio.sleep(SWEEP_SECONDS)
                return True
        return False

    async def _busy(self, server: str = "") -> int:
        standings = await self._process.standings()
        return sum(one.busy for place, one in standings.items() if not server or self._names.get(place) == server)

    async def cut(self, server: str) -> int:
        """Break off what is under way at a server; how many these were."""
        there = left_ = await self._busy(server)
        places = {(host, port) for (_, host, port), name in self._names.items() if name == server}
        for _ in range(CUTS_MAX):
            if not left_:
                break
            cut_off(self._process.process.pid, places)
            await asyncio.sleep(SWEEP_SECONDS)
            left_ = await self._busy(server)
        return there

    async def leave(self, grace: float) -> None:
        """Take nobody new, and wait for what is under way, for at most so many seconds."""
        worker = self._worker
        if worker is not None and worker.lives and grace:
            await worker.leave()
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(grace):
                    while await self._busy():  # noqa: ASYNC110 - Envoy is another process
                        await asyncio.sleep(SWEEP_SECONDS)

    # Who leaves, and who is left alone

    async def tend(self) -> None:
        """Let go who has ended all that it had, look after those that failed, and ask those that were left alone."""
        loop = asyncio.get_running_loop()
        while True:
            _ = await self._stirred.wait()
            self._stirred.clear()
            try:
                _ = await self._looked()
                await self._judge(loop.time())
                await self._let_go()
            except (Unavailable, Misconfigured):
                pass  # Envoy ends, or is started again: then it is stirred by what comes next
            except OSError as error:
                # Such as a disk that is full: whoever is left alone is to be let back once it is not.
                _log.error("who leaves the edge, and who is back, is not shown: %s", error)
                self._stirred.set()
                await asyncio.sleep(RETRY_SECONDS)
            if self._out or any(one.status == "DRAINING" for ends in self._shown.values() for one in ends):
                self._stirred.set()
                await asyncio.sleep(SWEEP_SECONDS)

    async def _judge(self, now: float) -> None:
        """Ask those that failed how they are, and those that are due."""
        doubted, self._doubted = self._doubted, set()
        due = {name for name, state in self._out.items() if state.due <= now}
        asked = [
            (pool, one) for pool in self.table.pools for one in pool.servers if one.id in doubted | due and takes(one)
        ]
        answers = dict[str, int | None]()
        async with asyncio.TaskGroup() as group:
            for pool, server in asked:
                _ = group.create_task(_ask(answers, pool, server))
        # Another table may have come while they were asked.
        there = {one.id: one for pool in self.table.pools for one in pool.servers if takes(one)}
        for pool, server in asked:
            if there.get(server.id) != server:
                continue
            back = is_back(answers.get(server.id))
            if server.id in self._out and back:
                del self._out[server.id]
            elif server.id in self._out and server.id in due:
                self._out[server.id] = checked_in_vain(self._out[server.id], now)
            elif not back and may_eject(server.id, [one.id for one in pool.servers if takes(one)], self._out):
                self._out[server.id] = eject(now)
        await self._again()

    async def _again(self) -> None:
        """Show who is left alone, where that has changed."""
        async with self._changing:
            shown = {name: self._seen(ends) for name, ends in self._wanted.items()}
            after = {
                name: (*ends, *(one for one in self._shown.get(name, ()) if one.status == "DRAINING"))
                for name, ends in shown.items()
            }
            await self._show(after)

    async def _let_go(self) -> None:
        """Forget those that leave and have nothing under way, with their idle connections, and clusters without any."""
        async with self._changing:
            # Nobody is sent to them any more: whoever is found idle now, stays so.
            standings = await self._process.standings()
            after = {
                name: tuple(one for one in ends if _stays(standings.get((name, one.host, one.port)), one))
                for name, ends in self._shown.items()
            }
            await self._show(after)
            gone = [name for name, ends in after.items() if not ends and name not in self._wanted]
            for name in gone:
                del self._shapes[name], self._shown[name]
            if gone:
                self._write("cds.json", clusters(self._shapes))
                told = {"cds": str(self._version)}
                await self._taken("clusters", lambda: self._has(told))
            self._names = {where: name for where, name in self._names.items() if where[0] in self._shapes}
            for name in gone:
                (self._place.folder / f"eds-{name}.json").unlink(missing_ok=True)


def _stays(standing: Standing | None, one: Endpoint) -> bool:
    return one.status != "DRAINING" or (standing is not None and standing.busy > 0)


def _pools(table: Table) -> list[tuple[tuple[str, str], Pool]]:
    return [((pool.service, pool.release), pool) for pool in table.pools]


def _up(table: Table) -> set[str]:
    return {one.id for pool in table.pools for one in pool.servers if takes(one)}


async def _ask(answers: dict[str, int | None], pool: Pool, server: Server) -> None:
    answers[server.id] = await probe(server, pool.health)


def _tell(told: Told) -> None:
    """The line of log of a request."""
    server = unquote(told.server, errors="surrogateescape")
    about = {
        "http.request.method": told.method,
        "url.path": told.path,
        **({"http.response.status_code": told.status} if told.status else {"error.type": "cancelled"}),
        "http.server.request.duration": told.took / 1000,
        "client.address": told.address,
        "server": server,
        "request_id": told.id,
        "trace_id": told.trace,
    }
    _access.info("%s %s %s %s ms %s", told.method, told.path, told.status or "gone", told.took, server, extra=about)
